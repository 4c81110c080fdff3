//! Every decision, pure: no clock, no environment, no network.

pub mod app;
pub mod authority;
pub mod base_url;
pub mod digest;
pub mod duration;
pub mod facts;
#[cfg(test)]
mod fixtures;
mod innermost;
pub mod intent;
pub mod jwt;
pub mod manifest;
pub mod mistyped;
pub mod name;
mod nearest;
pub mod overview;
pub mod permissions;
pub mod plan;
pub mod pod;
pub mod policy;
pub mod pool;
mod problem;
mod quote;
pub mod review;
pub mod schedule;
mod schema;
pub mod secret;
mod sign;
pub mod status;
pub mod template;
pub mod unknown;

pub use base_url::BaseUrl;
pub use innermost::innermost;
pub use nearest::nearest;
pub use problem::Problem;
pub use quote::quote;
pub use sign::{Sign, SignError};
