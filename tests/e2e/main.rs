//! The operator in pods on a real node, with pods that clone and push. `make e2e` runs it: one node for all, one test at a time.

mod disruption;
mod end;
mod kubelet;
mod memory;
mod pods;
mod uninstall;
mod world;
