//! github-token-manager: short-lived GitHub credentials for Kubernetes workloads.

pub mod allocator;
pub mod api;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod controller;
pub mod domain;
pub mod github;
#[cfg(test)]
mod golden;
pub mod run;
pub mod signer;
pub mod telemetry;
pub mod webhook;
