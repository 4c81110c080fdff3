#!/bin/sh
# An operator that says its process id, and then hangs.
echo $$ >"$PID_FILE.new" && mv "$PID_FILE.new" "$PID_FILE"
exec sleep 600
