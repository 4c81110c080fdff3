//! A stand-in for GitHub, as a GitHub App sees it: a real HTTP server on loopback.
//!
//! It verifies the App's JWT, mints installation tokens with the rights that were granted, lets them expire, enforces
//! rate limits, serves git over HTTP with the token's rights, and fails in every way of the table of answers when it is
//! told to. Everything that happened is recorded for assertions. Its answers are checked against GitHub's OpenAPI
//! description by a test.
//!
//! The same API is served at `/` (github.com) and below `/api/v3` (Enterprise Server). Below `/_lab` another process
//! can do what this module's API does: see [`GitHub::admin_url`].

#![expect(
    clippy::result_large_err,
    reason = "a refusal is an answer like any other, and just as large"
)]

mod admin;
mod answer;
mod api;
mod call;
pub(crate) mod digest;
mod fault;
mod git;
mod jwt;
mod key;
mod limit;
mod listen;
mod memory;
mod object;
mod pull;
mod record;
mod registration;
mod serve;
mod settings;
mod shared;
pub(crate) mod tls;
mod world;

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use fault::{Fault, FaultRule, NotAToken, Route};
pub use key::AppKey;
pub use record::{Counts, Grant, Mint, MintRequest, RequestRecord, Revocation, TokenState};
pub use registration::Registration;
pub use settings::{
    AccountKind, Installation, Knobs, Level, Limits, Permissions, PrimaryLimit, Repository, SecondaryLimit, Settings,
    TokenShape, permissions,
};
use shared::{Shared, State};

/// Why a stand-in does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The App's key.
    #[error("the App's key: cannot {0}")]
    Key(&'static str),
    /// The certificate for HTTPS.
    #[error("the certificate for HTTPS: {0}")]
    Certificate(String),
    /// Someone wants to serve it to a network.
    #[error("listen: {0} may be an address of a network; use 127.0.0.1")]
    NotLoopback(SocketAddr),
    /// The socket, or the directory for the repositories.
    #[error("the GitHub stand-in cannot start: {0}")]
    Io(#[from] io::Error),
}

/// A running stand-in. It stops when the last clone is dropped.
#[derive(Clone)]
pub struct GitHub {
    shared: Arc<Shared>,
    ca_pem: Option<Arc<str>>,
    _server: Arc<Server>,
}

struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl GitHub {
    /// Starts a stand-in on loopback.
    ///
    /// # Errors
    /// When it cannot listen, or has no key or certificate.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        if !listen::of_this_machine_alone(settings.listen.ip()) {
            return Err(StartError::NotLoopback(settings.listen));
        }
        let key = match &settings.key {
            Some(key) => key.clone(),
            None => AppKey::of_this_process()?,
        };
        let hosts = ["github.com", &settings.listen.ip().to_string()];
        let (tls, ca_pem) = settings.tls.then(|| tls::acceptor(&hosts)).transpose()?.unzip();
        let listener = TcpListener::bind(settings.listen).await?;
        let scheme = if settings.tls { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr()?);
        let shared = Arc::new(Shared::new(settings, key, url, Arc::new(git::GitStore::new()?)));
        let server = tokio::spawn(listen::listen(listener, Arc::clone(&shared), tls));
        Ok(Self {
            shared,
            ca_pem: ca_pem.map(Arc::from),
            _server: Arc::new(Server(server)),
        })
    }

    /// Base URL of the API, as `https://api.github.com`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Base URL of the API as an Enterprise Server has it, with `/api/v3`.
    #[must_use]
    pub fn enterprise_url(&self) -> String {
        format!("{}/api/v3", self.shared.url)
    }

    /// Base URL of what other processes use to drive this stand-in: `GET state`, `GET key`, `GET mints?since=N`,
    /// `GET requests`, `GET revocations`, `GET tokens`, `POST token-state {"token"}`, `POST would-issue
    /// {"installation"}`, `PATCH knobs`, `POST faults`, `DELETE faults`, `POST installations`,
    /// `POST installations/{id}/{suspend,unsuspend,uninstall,reinstall,grant}`, `POST rotate-key`, `POST reset-limits`.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("{}/_lab", self.shared.url)
    }

    /// What `git clone` takes.
    #[must_use]
    pub fn clone_url(&self, owner: &str, repository: &str) -> String {
        format!("{}/{owner}/{repository}.git", self.shared.url)
    }

    /// The CA to trust, when it serves HTTPS.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// The App's number.
    #[must_use]
    pub fn app_id(&self) -> u64 {
        self.shared.app_id
    }

    /// The `gtm.yaml` of an operator that mints here, with the key that this provider knows by this name.
    #[must_use]
    pub fn gtm_yaml(&self, provider: &str, key: impl Display) -> String {
        let (app, url) = (self.app_id(), self.url());
        format!("app_id: {app}\ninstallation_id: 67890\nprovider: {provider}\nkey: {key}\nbase_url: {url}\n")
    }

    /// The App's client ID.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.shared.client_id
    }

    /// The App's newest key; `None` after `remove_keys`.
    #[must_use]
    pub fn key(&self) -> Option<AppKey> {
        self.state().keys.last().cloned()
    }

    /// A JWT that the stand-in accepts for the next five minutes of its clock.
    ///
    /// # Errors
    /// When the App has no key, or the crypto library fails.
    pub fn jwt(&self) -> Result<String, StartError> {
        let now = self.now().as_second();
        let key = self
            .key()
            .ok_or(StartError::Key("sign with it, since the App has none"))?;
        key.sign(&json!({"iss": self.client_id(), "iat": now - 60, "exp": now + 300}))
    }

    /// Replaces all keys of the App by a new one.
    ///
    /// # Errors
    /// When the crypto library fails.
    pub fn rotate_key(&self) -> Result<AppKey, StartError> {
        let key = AppKey::generate()?;
        self.state().keys = vec![key.clone()];
        Ok(key)
    }

    /// Adds a key of the App; the older ones go on working.
    pub fn add_key(&self, key: AppKey) {
        self.state().keys.push(key);
    }

    /// Removes all keys of the App.
    pub fn remove_keys(&self) {
        self.state().keys.clear();
    }

    /// The stand-in's idea of now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.now()
    }

    /// Fails the next `times` requests of `route` (any, if `None`).
    pub fn fail_next(&self, times: u32, route: Option<Route>, fault: Fault) {
        self.shared.add_fault(FaultRule {
            fault,
            route,
            times: Some(times),
        });
    }

    /// Fails all requests of `route` (any, if `None`) until the faults are cleared.
    pub fn fail_while(&self, route: Option<Route>, fault: Fault) {
        self.shared.add_fault(FaultRule {
            fault,
            route,
            times: None,
        });
    }

    /// Ends all faults; requests that hang are served.
    pub fn clear_faults(&self) {
        self.shared.clear_faults();
    }

    /// Installs the App, or replaces the installation of that ID.
    pub fn install(&self, installation: Installation) {
        let mut state = self.state();
        let now = state.now();
        state.world.install(installation, now);
    }

    /// The installation as it is.
    #[must_use]
    pub fn installation(&self, id: u64) -> Option<Installation> {
        self.state().world.get(id).map(world::Installed::describe)
    }

    /// Suspends an installation; `false` when there is none.
    pub fn suspend(&self, id: u64) -> bool {
        let mut state = self.state();
        let now = state.now();
        state.world.change(id, |installed| installed.suspended_at = Some(now))
    }

    /// Ends a suspension; `false` when there is no such installation.
    pub fn unsuspend(&self, id: u64) -> bool {
        self.state().world.change(id, |installed| installed.suspended_at = None)
    }

    /// Removes an installation: its tokens stop working. `false` when there is none.
    pub fn uninstall(&self, id: u64) -> bool {
        self.state().world.uninstall(id)
    }

    /// Uninstalls and installs again: the new ID, or `None` when there never was such an installation.
    #[must_use]
    pub fn reinstall(&self, id: u64) -> Option<u64> {
        let mut state = self.state();
        let now = state.now();
        state.world.reinstall(id, now)
    }

    /// Replaces what an installation is granted; tokens that were issued keep what they have.
    pub fn grant(&self, id: u64, permissions: Permissions) -> bool {
        self.state()
            .world
            .change(id, |installed| installed.permissions = permissions)
    }

    /// Adds a repository to an installation.
    pub fn add_repository(&self, installation: u64, repository: Repository) -> bool {
        self.state().world.add_repository(installation, repository)
    }

    /// Renames a repository: its old name answers 301.
    pub fn rename_repository(&self, owner: &str, old: &str, new: &str) -> bool {
        self.state().world.rename_repository(owner, old, new)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state()
    }
}

/// What GitHub's audit log calls `hashed_token`: base64 of SHA-256 of the token.
#[must_use]
pub fn hashed(token: &str) -> String {
    digest::sha256_base64(token.as_bytes())
}
