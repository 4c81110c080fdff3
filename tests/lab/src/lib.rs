//! Real parts for tests, demo and benchmarks: a Kubernetes API server, a GitHub stand-in, the operator as a process.

pub mod browser;
pub mod cert_manager;
pub mod cluster;
pub mod error;
pub mod flux;
pub mod github;
pub mod golden;
pub mod gtm;
pub mod helm;
pub mod keys;
pub mod monitor;
pub mod mounted;
pub mod node;
pub mod pod;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod tools;
pub mod wait;
