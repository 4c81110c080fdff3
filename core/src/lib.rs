//! What is decided, and about what: no clock, no environment, no network.
//!
//! A crate of its own, since every review of a pod passes through here: it is compiled for speed, the rest for size.

pub mod api;
pub mod domain;
