//! github-token-manager: short-lived GitHub credentials for Kubernetes workloads.

pub mod api;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod controller;
pub mod domain;
pub mod github;
pub mod run;
pub mod signer;
pub mod telemetry;
