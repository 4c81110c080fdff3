//! The Kubernetes API: observe, publish, patch the status, tell events. Decides nothing.

mod altered;
mod apps;
mod client;
mod configurations;
mod error;
mod events;
mod follow;
mod lanes;
mod owner;
mod packed;
mod policies;
mod record;
mod scope;
mod secrets;
mod served;
mod status;
mod tokens;
mod watch;
mod wire;

pub use apps::{AppChange, AppObject, AppObjects};
pub use client::{connect, for_bulk};
pub use configurations::{Authorities, Configuration, Configurations, Hook};
pub use error::ClusterError;
pub use events::{Events, Note};
pub use owner::{OwnerRef, possession};
pub use policies::follow_policies;
pub use record::Record;
pub use scope::Scope;
pub use secrets::{Held, SecretDraft, Secrets};
pub use served::{is_served, schemas, unserved};
pub use tokens::{TokenRecord, Tokens};
pub use watch::{Change, watch, watch_both};
pub use wire::{Metadata, RawToken};
