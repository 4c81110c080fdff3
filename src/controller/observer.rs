//! What the controllers tell whoever records metrics.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::Reason;
use crate::domain::intent::{AppKey, Key, SecretKey};

/// Records what the controllers do. Called from tasks: it must not block.
pub trait Observer: Send + Sync {
    /// GitHub was asked for a token.
    fn minted(&self, key: &Key, ok: bool, took: Duration);
    /// A token was issued and written, or was not; `refresh`: there was one before.
    fn issued(&self, key: &Key, refresh: bool, ok: bool, took: Duration);
    /// A Secret was written: `create`, `update` or `delete`.
    fn secret_written(&self, key: &Key, operation: &'static str, ok: bool);
    /// Something went wrong.
    fn failed(&self, key: &Key, reason: Reason);
    /// The token in this Secret expires then; `None`: there is none any more.
    fn expiry(&self, key: &Arc<Key>, live: Option<(&SecretKey, Timestamp)>);
    /// So many Tokens wait for their turn with this App.
    fn waiting(&self, app: &AppKey, count: usize);
    /// The token of a deleted Token was revoked, or not.
    fn revoked(&self, ended: Revocation);
    /// The App that a Token needs is missing, or cannot work.
    fn app_missing(&self, key: &Key);
}

/// How an attempt to revoke a token ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// The token is good for nothing any more.
    Done,
    /// It is tried again.
    Again,
    /// The token is left to expire.
    GivenUp,
}
