//! The operator as its users run it: the real binary against a real API server and the GitHub stand-in.

mod failover;
mod faults;
mod issue;
mod revocation;
mod rotation;
mod world;
