#!/bin/sh
# Stands where the operator would, in the tests of its wrapper.
echo "args: $*"
env
exit 2
