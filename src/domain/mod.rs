//! Every decision, pure: no clock, no environment, no network.

pub mod schedule;
mod sign;

pub use sign::{Sign, SignError};
