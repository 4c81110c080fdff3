//! From configuration to a working App, and again whenever the configuration, its file or its key changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client as Cluster};
use secrecy::SecretString;

use crate::api::Reason;
use crate::config::{AppConfig, AppIdentity, CaBundle, Config, KeySource, variables};
use crate::controller::{App, StartupApp};
use crate::domain::intent::invalid;
use crate::domain::plan::AppFacts;
use crate::domain::schedule::Retry;
use crate::domain::secret::Site;
use crate::domain::{BaseUrl, Problem, SignError};
use crate::github::{AppSettings, Client, Error, HttpClients, Limits, Observe};
use crate::signer::{Ambient, KeySpec, Signer};
use crate::telemetry::metrics::{ConfigSource, Controller, Metrics};

use super::clock;

/// Soon enough for people, and not a hot loop.
pub const SOON: Duration = Duration::from_secs(1);
/// How long GitHub may take to say whether it accepts a new key, before the new key is used unseen.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What the fields are called by which an App is described, for messages.
#[derive(Clone, Copy, PartialEq)]
pub struct Fields {
    /// Where the key is.
    pub key: &'static str,
    /// Which key of the Secret it is, where that has a field of its own.
    pub secret_key: Option<&'static str>,
    /// The certificates to trust, where an App object has its own.
    pub ca_bundle: Option<&'static str>,
}

impl Fields {
    /// Those of the startup configuration.
    pub const CONFIGURATION: Self = Fields {
        key: "key",
        secret_key: None,
        ca_bundle: None,
    };
}

/// Everything an App is made of, for telling whether something has changed.
#[derive(Clone, PartialEq)]
pub struct Ingredients {
    app: AppConfig,
    base_url: BaseUrl,
    api_version: String,
    limits: Limits,
    ca_bundle: Option<Authorities>,
    probe_tokens: bool,
    quotes: bool,
    key: KeySpec,
    fields: Fields,
}

impl Ingredients {
    /// Reads the key and the CA bundle from wherever the configuration says they are; `None` without an App.
    ///
    /// # Errors
    /// A [`Problem`] that names the file or Secret.
    pub async fn gather(config: &Config, cluster: Option<(&Cluster, &str)>) -> Result<Option<Self>, Problem> {
        Self::described(config, cluster, Fields::CONFIGURATION, true).await
    }

    /// The same of an App whose fields are called so; `quotes` says whether errors may quote what its GitHub answers.
    ///
    /// # Errors
    /// A [`Problem`] that names the file or Secret.
    pub async fn described(
        config: &Config,
        cluster: Option<(&Cluster, &str)>,
        fields: Fields,
        quotes: bool,
    ) -> Result<Option<Self>, Problem> {
        let Some(app) = &config.app else { return Ok(None) };
        Ok(Some(Ingredients {
            app: app.clone(),
            base_url: config.base_url.clone(),
            api_version: config.api_version.clone(),
            limits: config.rate_limit.limits_for(&config.base_url),
            ca_bundle: ca_bundle(config).await?,
            probe_tokens: config.probe_tokens,
            quotes,
            key: key(&app.key, cluster, fields).await?,
            fields,
        }))
    }

    /// The Secret that holds the key, if one does.
    pub fn key_secret(config: &Config) -> Option<&str> {
        match config.app.as_ref().map(|app| &app.key) {
            Some(KeySource::Secret { name, .. }) => Some(name),
            _ => None,
        }
    }

    /// Whether nothing but the key makes the difference: then what signs with either is the same App.
    pub fn differs_in_key_alone(&self, other: &Self) -> bool {
        self.app.identity == other.app.identity && self.base_url == other.base_url && self.ca_bundle == other.ca_bundle
    }

    /// Whether the key is in a service, which has versions of it and may be away.
    pub fn key_is_remote(&self) -> bool {
        matches!(self.key, KeySpec::Service(_))
    }

    /// Connects to the key and builds the App, which has one of the HTTP clients. GitHub is not asked.
    ///
    /// # Errors
    /// A [`Problem`] of the key, the base URL or the CA bundle.
    pub async fn build(&self, http: &HttpClients, observe: Arc<dyn Observe>) -> Result<App<Signer>, Problem> {
        let base_url = &self.base_url;
        let signer = Signer::connect(&self.key, &Ambient::new(variables(), clock::now)).await;
        let signer = signer.map_err(|error| key_problem(&error))?;
        let http = https(http, self.ca_bundle.as_ref(), self.fields)?;
        let issuer = self.app.identity.issuer();
        let settings = AppSettings {
            app_id: self.app.identity.app_id().unwrap_or_default(),
            client_id: match &self.app.identity {
                AppIdentity::AppId(_) => None,
                AppIdentity::ClientId(id) | AppIdentity::Both { client_id: id, .. } => Some(id.clone()),
            },
            limits: self.limits,
            base_url: base_url.clone(),
            api_version: self.api_version.clone(),
            quotes: self.quotes,
        };
        Ok(App {
            facts: AppFacts {
                github: base_url.to_string(),
                identity: format!("{base_url} {issuer}"),
                installation: self.app.installation_id,
                owner: self.app.owner.clone(),
                installations: None,
            },
            site: Site {
                host: base_url.web_host(),
                web_url: base_url.web_url(),
                api_url: base_url.to_string(),
            },
            probe_tokens: self.probe_tokens,
            client: Arc::new(Client::new(settings, signer, http, Arc::new(clock::steady), observe)),
        })
    }
}

/// Certificates to trust beside the system's.
#[derive(Clone, PartialEq)]
pub(super) struct Authorities {
    pem: Vec<u8>,
    /// The file that they were read from.
    file: Option<PathBuf>,
}

/// The certificates to trust beside the system's.
pub(super) async fn ca_bundle(config: &Config) -> Result<Option<Authorities>, Problem> {
    let (pem, file) = match &config.ca_bundle {
        None => return Ok(None),
        Some(CaBundle::Pem(pem)) => (pem.clone().into_bytes(), None),
        Some(CaBundle::File(path)) => (read("ca_bundle", path).await?, Some(path.clone())),
    };
    Ok(Some(Authorities { pem, file }))
}

/// A client that trusts them.
///
/// # Errors
/// A [`Problem`] that names the field, or the file that they were read from.
pub(super) fn https(
    clients: &HttpClients,
    ca_bundle: Option<&Authorities>,
    fields: Fields,
) -> Result<Arc<reqwest::Client>, Problem> {
    let http = clients.trusting(ca_bundle.map(|bundle| bundle.pem.as_slice()));
    http.map_err(|error| {
        let file = ca_bundle.and_then(|bundle| bundle.file.as_ref());
        let message = match (fields.ca_bundle, file) {
            (Some(field), _) => return invalid(error.in_field(field)),
            (None, Some(file)) => format!("{}: {error}", file.display()),
            (None, None) => error.to_string(),
        };
        Problem::new(Reason::AppNotReady, Retry::Every(Duration::from_secs(600)), message)
    })
}

async fn key(source: &KeySource, cluster: Option<(&Cluster, &str)>, fields: Fields) -> Result<KeySpec, Problem> {
    let field = fields.key;
    let text = match source {
        KeySource::Service(key) => return Ok(KeySpec::Service(key.clone())),
        KeySource::Pem(pem) => return Ok(KeySpec::Pem(pem.secret().clone())),
        KeySource::File(path) => String::from_utf8(read(field, path).await?).ok(),
        KeySource::Secret { name, key } => {
            let Some((cluster, namespace)) = cluster else {
                return Err(unavailable(
                    "provider: secret needs a cluster; use provider: file here".to_owned(),
                ));
            };
            let secrets: Api<Secret> = Api::namespaced(cluster.clone(), namespace);
            let found = secrets.get_opt(name).await.map_err(|error| {
                unavailable(format!(
                    "{field}: the Secret {namespace}/{name} cannot be read: {}",
                    crate::cluster::ClusterError::from(error)
                ))
            })?;
            let Some(secret) = found else {
                return Err(unavailable(format!(
                    "{field}: the Secret {namespace}/{name} does not exist; create it with the key {key}"
                )));
            };
            let bytes = secret.data.and_then(|mut data| data.remove(key)).ok_or_else(|| {
                let other = match fields.secret_key {
                    Some(field) => format!("name the key in {field}"),
                    None => format!("name the key as {name}/KEY"),
                };
                unavailable(format!(
                    "{field}: the Secret {namespace}/{name} has no key {key}; write the PEM there, or {other}"
                ))
            })?;
            String::from_utf8(bytes.0).ok()
        }
    };
    text.map(SecretString::from).map(KeySpec::Pem).ok_or_else(|| {
        key_problem(&SignError::InvalidKey(format!(
            "{field}: it is no text, so no PEM; use the .pem file as GitHub gave it"
        )))
    })
}

async fn read(field: &str, path: &Path) -> Result<Vec<u8>, Problem> {
    tokio::fs::read(path).await.map_err(|error| {
        unavailable(format!(
            "{field}: {} cannot be read: {error}; check the path and what is mounted there",
            path.display()
        ))
    })
}

fn unavailable(message: String) -> Problem {
    key_problem(&SignError::Unavailable(message))
}

fn key_problem(error: &SignError) -> Problem {
    Problem::new(error.reason(), error.retry(), error.to_string())
}

/// What the controllers are told.
pub fn startup_app(built: Result<Option<App<Signer>>, Problem>) -> StartupApp<Signer> {
    match built {
        Ok(Some(app)) => Some(Ok(Arc::new(app))),
        Ok(None) => None,
        Err(problem) => Some(Err(problem)),
    }
}

/// Whether the key signs, and the signature is right.
///
/// # Errors
/// A [`Problem`] of the key.
pub async fn signs(app: &App<Signer>) -> Result<(), Problem> {
    app.client.signer().check().await.map_err(|error| key_problem(&error))
}

/// Whether a connection of its own may bring more than the App has: its key service has a newer version of the key, or gives no signature.
/// The App's own connection is asked: a login for each question would be one a minute, for ever. What signs goes on, whatever the service
/// says of new versions.
pub async fn outdated(app: &App<Signer>) -> bool {
    let signer = app.client.signer();
    signer.fails()
        || signer.has_newer().await.unwrap_or_else(|error| {
            let app = &app.facts.identity;
            tracing::warn!(app, reason = %error.reason(), "whether the App's key has a newer version is not known: {error}");
            false
        })
}

/// Tells that there is no startup App that works.
pub fn broken(problem: &Problem, metrics: &Metrics) {
    metrics.config_failed(Controller::App, ConfigSource::Startup);
    tracing::error!(reason = %problem.reason, "the startup App does not work: {}", problem.message);
}

/// Whether GitHub takes the App's JWT. An outage says nothing about the key.
pub async fn accepted(app: &App<Signer>) -> Result<(), Problem> {
    match tokio::time::timeout(PATIENCE, app.client.app()).await {
        Ok(Err(error @ (Error::AppRefused { .. } | Error::Sign(_)))) => {
            Err(Problem::new(error.reason(), error.retry(), error.to_string()))
        }
        _ => Ok(()),
    }
}
