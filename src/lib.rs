//! github-token-manager: short-lived GitHub credentials for Kubernetes workloads.

pub mod allocator;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod controller;
pub mod github;
pub mod run;
pub mod signer;
pub mod telemetry;
pub mod webhook;

pub use gtm_core::{api, domain};
