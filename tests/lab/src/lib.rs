//! x

pub mod cluster;
pub mod error;
pub mod github;
pub mod gtm;
pub mod process;
pub mod tools;
pub mod wait;
