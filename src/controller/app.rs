//! The Apps that tokens come from.

use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::plan::AppFacts;
use crate::domain::secret::Site;
use crate::domain::{Problem, Sign};
use crate::github::Client;

/// An App that issues tokens.
pub struct App<S> {
    /// What the plan has to know.
    pub facts: AppFacts,
    /// Where its GitHub is.
    pub site: Site,
    /// Whether a new token is tried before it is written.
    pub probe_tokens: bool,
    /// The client.
    pub client: Client<S>,
}

impl<S: Sign> App<S> {
    /// Local time, by GitHub's clock.
    #[must_use]
    pub fn github_time(&self, local: Timestamp) -> Timestamp {
        local.checked_add(self.client.skew()).unwrap_or(local)
    }

    /// GitHub's time, by the local clock.
    #[must_use]
    pub fn local_time(&self, github: Timestamp) -> Timestamp {
        github.checked_sub(self.client.skew()).unwrap_or(github)
    }
}

/// The App of the startup configuration: none, one that works, or why it does not.
pub type StartupApp<S> = Option<Result<Arc<App<S>>, Problem>>;

/// The startup App as it is now; a change of the configuration replaces it.
pub type Startup<S> = tokio::sync::watch::Receiver<StartupApp<S>>;
