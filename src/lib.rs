//! github-token-manager: short-lived GitHub credentials for Kubernetes workloads.

pub mod api;
pub mod cluster;
pub mod controller;
pub mod domain;
pub mod github;
pub mod signer;
