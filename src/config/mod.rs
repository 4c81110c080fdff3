//! The startup configuration: `gtm.yaml`, the environment and flags become one typed, checked [`Config`].
//!
//! [`parse`] is pure; [`load`] reads the file and the environment and calls it. What is found in more than one place is
//! taken from the first of: flag, `GTM_<KEY>`, the alias variable, file, default: the order that
//! isometry/github-token-manager has (`internal/ghapp/config.go`), with flags added.

mod fields;
mod limits;
mod load;
mod parse;
mod problem;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use crate::domain::BaseUrl;
use crate::domain::jwt::Issuer;
use crate::signer::ServiceKey;

pub use limits::{HIGHEST_LIMIT, RateLimit};
pub use load::{DEFAULT_PATH, LoadError, environment, load, namespace, variables};
pub use parse::parse;
pub use problem::{ConfigError, Origin, Problem, Warning};
pub use source::{Environment, Flags};

/// The key of a Secret that holds an App's private key where none is named: the name GitHub's download has in the docs.
pub const DEFAULT_SECRET_KEY: &str = "private-key.pem";

/// The version of GitHub's API that is spoken where none is named.
pub const DEFAULT_API_VERSION: &str = "2022-11-28";

/// Everything that is configured before start, checked. Two are equal when a reload has nothing to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Whether there is no file, or one that says nothing.
    pub file_is_empty: bool,
    /// The App that serves Tokens without `spec.appRef`; `None` when nothing of it is configured.
    pub app: Option<AppConfig>,
    /// Where GitHub's API is; an `App` object may name another.
    pub base_url: BaseUrl,
    /// `X-GitHub-Api-Version`, a date (<https://docs.github.com/en/rest/about-the-rest-api/api-versions>).
    pub api_version: String,
    /// Certificate authorities to trust beside the system's, for GitHub alone.
    pub ca_bundle: Option<CaBundle>,
    /// Which keys of a key service the `App` objects of a namespace may use: namespace pattern to key patterns.
    /// Empty: none is confined.
    pub allowed_keys: BTreeMap<String, Vec<String>>,
    /// The limits that the operator keeps to by itself.
    pub rate_limit: RateLimit,
    /// Write a new token to its Secret only when GitHub takes it: it can take GitHub some seconds to know its own token.
    pub probe_tokens: bool,
}

/// The App of the startup configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct AppConfig {
    /// Who the App is.
    pub identity: AppIdentity,
    /// The installation that is meant where a Token names none.
    pub installation_id: Option<u64>,
    /// The account (organization, user or enterprise) whose installation is meant where no ID is known.
    pub owner: Option<String>,
    /// Where the private key is.
    pub key: KeySource,
    /// Sign something at start, so that a wrong key is found before the first Token needs it.
    pub validate_key: bool,
}

/// An App by its client ID, its numeric ID, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppIdentity {
    /// Only the numeric App ID.
    AppId(u64),
    /// Only the client ID (`Iv23li...`).
    ClientId(String),
    /// Both.
    Both {
        /// The numeric App ID.
        app_id: u64,
        /// The client ID.
        client_id: String,
    },
}

impl AppIdentity {
    /// The issuer of the App's JWT: the client ID where there is one, as GitHub recommends.
    #[must_use]
    pub fn issuer(&self) -> Issuer {
        match self {
            AppIdentity::AppId(id) => Issuer::AppId(*id),
            AppIdentity::ClientId(client_id) | AppIdentity::Both { client_id, .. } => {
                Issuer::ClientId(client_id.clone())
            }
        }
    }

    /// The numeric App ID, where it is known.
    #[must_use]
    pub fn app_id(&self) -> Option<u64> {
        match self {
            AppIdentity::AppId(app_id) | AppIdentity::Both { app_id, .. } => Some(*app_id),
            AppIdentity::ClientId(_) => None,
        }
    }
}

/// Where the App's private key is.
#[derive(Clone, Debug, PartialEq)]
pub enum KeySource {
    /// A PEM file.
    File(PathBuf),
    /// The PEM itself.
    Pem(PemText),
    /// A key of a Secret in the operator's own namespace.
    Secret {
        /// The Secret's name.
        name: String,
        /// The key within it.
        key: String,
    },
    /// A key service.
    Service(ServiceKey),
}

/// A private key's PEM text: never shown by `Debug`.
#[derive(Clone, Debug)]
pub struct PemText(SecretString);

impl PemText {
    /// Takes a PEM text whose line ends are real or, as in a variable of one line, written `\n`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        PemText(text.replace("\\n", "\n").into())
    }

    /// The text, for the signer.
    #[must_use]
    pub fn secret(&self) -> &SecretString {
        &self.0
    }
}

impl PartialEq for PemText {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

/// Certificate authorities in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaBundle {
    /// A file of certificates.
    File(PathBuf),
    /// The certificates themselves.
    Pem(String),
}

#[cfg(test)]
mod tests;
