//! What the operator says about itself: logs, metrics, and the probes that Kubernetes asks.

pub mod http;
pub mod logs;
pub mod metrics;
