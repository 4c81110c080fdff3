//! What the controllers tell whoever records metrics.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::Reason;
use crate::domain::intent::Key;

/// Records what the controllers do. Called from tasks: it must not block.
pub trait Observer: Send + Sync {
    /// A token was asked for; `refresh`: there was one before.
    fn minted(&self, key: &Key, refresh: bool, ok: bool, took: Duration);
    /// A Secret was written: `create`, `update` or `delete`.
    fn secret_written(&self, key: &Key, operation: &'static str, ok: bool);
    /// Something went wrong.
    fn failed(&self, key: &Key, reason: Reason);
    /// A Token has a token that expires then; `None`: it has none, or is gone.
    fn expiry(&self, key: &Key, expires_at: Option<Timestamp>);
    /// So many Tokens wait for GitHub.
    fn waiting(&self, count: usize);
    /// The token of a deleted Token was revoked, or not.
    fn revoked(&self, ok: bool);
    /// The configuration, or an App that a Token names, is wrong.
    fn config_error(&self, key: &Key);
}
