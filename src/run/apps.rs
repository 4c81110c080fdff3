//! From configuration to a working App, and again whenever the configuration, its file or its key changes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client as Cluster};
use secrecy::SecretString;

use crate::api::Reason;
use crate::config::{AppConfig, AppIdentity, Config, KeySource, variables};
use crate::controller::{App, StartupApp};
use crate::domain::plan::AppFacts;
use crate::domain::schedule::Retry;
use crate::domain::secret::Site;
use crate::domain::{BaseUrl, Problem, SignError};
use crate::github::{AppSettings, Client, HttpClients, Limits, Observe};
use crate::signer::{Ambient, KeySpec, Signer};

use super::clock;
use super::discovery;
use super::settings::{Authorities, Settings, https};

/// Soon enough for people, and not a hot loop.
pub const SOON: Duration = Duration::from_secs(1);
/// How long GitHub may take to say whether it accepts a key.
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

/// Everything an App is made of but its key: which App it is, and how it is asked.
#[derive(Clone, PartialEq)]
pub struct Outline {
    app: AppConfig,
    base_url: BaseUrl,
    api_version: String,
    limits: Limits,
    authorities: Option<Authorities>,
    probe_tokens: bool,
    quotes: bool,
    fields: Fields,
}

impl Outline {
    /// An App, whose fields are called so, by what is configured beside it; `quotes` says whether errors may quote what its GitHub answers.
    pub fn of(
        app: &AppConfig,
        config: &Config,
        authorities: Option<Authorities>,
        fields: Fields,
        quotes: bool,
    ) -> Self {
        Outline {
            app: app.clone(),
            base_url: config.base_url.clone(),
            api_version: config.api_version.clone(),
            limits: config.rate_limit.limits_for(&config.base_url),
            authorities,
            probe_tokens: config.probe_tokens,
            quotes,
            fields,
        }
    }

    /// Reads the key from wherever it is said to be; a Secret is in that namespace of the cluster.
    ///
    /// # Errors
    /// A [`Problem`] that names the file or Secret.
    pub async fn with_key(self, cluster: Option<(&Cluster, &str)>) -> Result<Ingredients, Problem> {
        let key = key(&self.app.key, cluster, self.fields).await?;
        Ok(Ingredients { outline: self, key })
    }

    /// Whether its tokens are what those of the other are: of the same App and installation, from the same GitHub. Their keys may differ.
    pub fn is_the_app_of(&self, other: &Self) -> bool {
        let place = |outline: &Self| (outline.app.installation_id, outline.app.owner.clone());
        self.app.identity == other.app.identity
            && place(self) == place(other)
            && self.base_url == other.base_url
            && self.authorities == other.authorities
    }
}

/// Everything an App is made of, for telling whether something has changed.
#[derive(Clone, PartialEq)]
pub struct Ingredients {
    /// All but the key.
    pub outline: Outline,
    key: KeySpec,
}

impl Ingredients {
    /// What the configuration says of its own App; `None` without one.
    ///
    /// # Errors
    /// A [`Problem`] that names the file or Secret.
    pub async fn gather(settings: &Settings, cluster: Option<(&Cluster, &str)>) -> Result<Option<Self>, Problem> {
        let Some(app) = &settings.config.app else {
            return Ok(None);
        };
        let authorities = settings.authorities.clone()?;
        let outline = Outline::of(app, &settings.config, authorities, Fields::CONFIGURATION, true);
        outline.with_key(cluster).await.map(Some)
    }

    /// The Secret that holds the key, if one does.
    pub fn key_secret(config: &Config) -> Option<&str> {
        match config.app.as_ref().map(|app| &app.key) {
            Some(KeySource::Secret { name, .. }) => Some(name),
            _ => None,
        }
    }

    /// Whether GitHub is told the same as of the other: what differs is how much and what else the operator asks by itself.
    pub fn asks_as(&self, other: &Self) -> bool {
        let outline = Outline {
            limits: other.outline.limits,
            probe_tokens: other.outline.probe_tokens,
            ..self.outline.clone()
        };
        outline == other.outline && self.key == other.key
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
        let outline = &self.outline;
        let (app, base_url) = (&outline.app, &outline.base_url);
        let signer = Signer::connect(&self.key, &Ambient::new(variables(), clock::now)).await;
        let signer = signer.map_err(|error| key_problem(&error))?;
        let http = https(http, outline.authorities.as_ref(), outline.fields)?;
        let issuer = app.identity.issuer();
        let settings = AppSettings {
            app_id: app.identity.app_id().unwrap_or_default(),
            client_id: match &app.identity {
                AppIdentity::AppId(_) => None,
                AppIdentity::ClientId(id) | AppIdentity::Both { client_id: id, .. } => Some(id.clone()),
            },
            limits: outline.limits,
            base_url: base_url.clone(),
            api_version: outline.api_version.clone(),
            quotes: outline.quotes,
        };
        Ok(App {
            facts: AppFacts {
                github: base_url.to_string(),
                identity: format!("{base_url} {issuer}"),
                installation: app.installation_id,
                owner: app.owner.clone(),
                installations: None,
            },
            site: Site {
                host: base_url.web_host(),
                web_url: base_url.web_url(),
                api_url: base_url.to_string(),
            },
            probe_tokens: outline.probe_tokens,
            client: Arc::new(Client::new(settings, signer, http, Arc::new(clock::steady), observe)),
        })
    }
}

/// What a configuration comes to, with what its files and Secrets hold.
#[derive(Clone, PartialEq)]
pub struct Gathered {
    /// The configuration.
    pub settings: Arc<Settings>,
    /// What its own App is made of; `None` without one.
    pub app: Result<Option<Ingredients>, Problem>,
}

impl Gathered {
    /// Reads whatever the configuration names.
    pub async fn of(config: Config, cluster: (&Cluster, &str)) -> Self {
        let settings = Settings::gather(config).await;
        Gathered {
            app: Ingredients::gather(&settings, Some(cluster)).await,
            settings: Arc::new(settings),
        }
    }
}

/// What the controllers are told of an App that is made of this.
pub async fn built(
    made_of: &Result<Option<Ingredients>, Problem>,
    http: &HttpClients,
    observe: Arc<dyn Observe>,
) -> StartupApp<Signer> {
    match made_of {
        Ok(Some(made_of)) => Some(made_of.build(http, observe).await.map(Arc::new)),
        Ok(None) => None,
        Err(problem) => Some(Err(problem.clone())),
    }
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

pub(super) async fn read(field: &str, path: &Path) -> Result<Vec<u8>, Problem> {
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

/// The App with its installations, if GitHub takes its key and lists the installation that it names.
///
/// # Errors
/// A [`Problem`] of the key, of GitHub, or of the installation.
pub async fn proved(app: &Arc<App<Signer>>) -> Result<Arc<App<Signer>>, Problem> {
    let (_, found) = discovery::found(app).await?;
    let proved = discovery::with_installations(app, &found).unwrap_or_else(|| app.clone());
    match proved.facts.installation {
        Some(id) if !found.iter().any(|installation| installation.id == id) => Err(Problem::new(
            Reason::InstallationNotFound,
            Retry::Every(Duration::from_secs(600)),
            format!(
                "installation_id: GitHub lists no installation {id} of the App; check the number at the end of the installation's URL, or install the App"
            ),
        )),
        None if proved.facts.owner.is_some() => proved.facts.default_installation().map(|_| proved),
        _ => Ok(proved),
    }
}
