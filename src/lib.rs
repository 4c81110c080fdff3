//! github-token-manager: short-lived GitHub credentials for Kubernetes workloads.

pub mod api;
pub mod cli;
pub mod config;
pub mod domain;
pub mod telemetry;
