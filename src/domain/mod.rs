//! Every decision, pure: no clock, no environment, no network.

pub mod base_url;
pub mod jwt;
pub mod schedule;
mod sign;

pub use base_url::BaseUrl;
pub use sign::{Sign, SignError};
