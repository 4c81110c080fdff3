//! What a call tells whoever records metrics.

use std::fmt;
use std::time::Duration;

use crate::api::Reason;

/// The kind of a call: a closed list, fit for a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Route {
    /// `POST /app/installations/{id}/access_tokens`
    Mint,
    /// `DELETE /installation/token`
    Revoke,
    /// `GET /app`
    App,
    /// `GET /app/installations`
    Installations,
    /// `GET /installation/repositories`, as the probe of a new token
    Verify,
}

impl Route {
    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Route::Mint => "mint",
            Route::Revoke => "revoke",
            Route::App => "app",
            Route::Installations => "installations",
            Route::Verify => "verify",
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One request to GitHub and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What was asked.
    pub route: Route,
    /// Why it failed; `None` for success.
    pub failure: Option<Reason>,
    /// From sending the request until its answer was read; no waiting for a turn.
    pub took: Duration,
}

/// Records what the client does.
pub trait Observe: Send + Sync {
    /// Called once after each request, from the task that made it: it must not block.
    fn request(&self, observation: Observation);

    /// The App's private key was asked to sign.
    fn signed(&self, ok: bool);

    /// GitHub asked the whole App to wait.
    fn held(&self);
}

impl Observe for () {
    fn request(&self, _: Observation) {}

    fn signed(&self, _: bool) {}

    fn held(&self) {}
}
