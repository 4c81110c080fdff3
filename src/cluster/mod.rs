//! The Kubernetes API: observe, publish, patch the status, tell events. Decides nothing.

mod client;
mod error;
mod events;
mod packed;
mod secrets;
mod tokens;
mod watch;

pub use client::connect;
pub use error::ClusterError;
pub use events::{Events, Note};
pub use secrets::{Held, Metadata, OwnerRef, SecretDraft, Secrets, metadata_of};
pub use tokens::{TokenRecord, Tokens};
pub use watch::{Change, watch};
