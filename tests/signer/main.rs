//! Keys that never leave: every provider signs for real, against the service or stand-in that the README names, and everything that can
//! go wrong with a key has its own reason.

mod aws;
mod azure;
mod bench;
mod gcp;
mod session;
mod vault;
