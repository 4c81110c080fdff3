//! From texts to a [`Config`]: pure, and every problem is told at once.

use serde_json::Value;

use super::fields::{self, Checked, Provider};
use super::problem::{ConfigError, Origin, Problem, Warning};
use super::source::{self, Environment, Flags, Key, Sources};
use super::{AppConfig, AppIdentity, Config, DEFAULT_API_VERSION, KeySource};
use crate::domain::BaseUrl;

/// Makes a [`Config`] of the file's text (`None`: there is no file), the environment and the flags.
///
/// # Errors
/// Everything that is wrong or missing, each with its key, its place, its value unless it is a secret, and the cure.
pub fn parse(
    text: Option<&str>,
    environment: &Environment,
    flags: &Flags,
) -> Result<(Config, Vec<Warning>), ConfigError> {
    let (sources, mut warnings) = Sources::new(text, environment, flags).map_err(|problem| ConfigError {
        problems: vec![problem],
    })?;
    let mut reader = Reader {
        sources,
        problems: Vec::new(),
    };
    let mut app = reader.app();
    if let Some(app) = &mut app
        && app.installation_id.is_some()
        && app.owner.take().is_some()
    {
        // Of one place, where neither is stronger: the number is what was always taken.
        warnings.push(Warning::OwnerUnused);
    }
    let base_url = reader.base_url();
    let api_version = reader.get(&source::API_VERSION, fields::api_version);
    let ca_bundle = reader.get(&source::CA_BUNDLE, fields::ca_bundle);
    let allowed_keys = reader.get(&source::ALLOWED_KEYS, fields::allowed_keys);
    let rate_limit = reader.get(&source::RATE_LIMIT, fields::rate_limit);
    let probe_tokens = reader.get(&source::PROBE_TOKENS, fields::flag);
    match base_url {
        Some(base_url) if reader.problems.is_empty() => Ok((
            Config {
                file_is_empty: reader.sources.file_is_empty(),
                app,
                base_url,
                api_version: api_version.unwrap_or_else(|| DEFAULT_API_VERSION.to_owned()),
                ca_bundle,
                allowed_keys: allowed_keys.unwrap_or_default(),
                rate_limit: rate_limit.unwrap_or_default(),
                probe_tokens: probe_tokens.unwrap_or_default(),
            },
            warnings,
        )),
        _ => Err(ConfigError {
            problems: reader.problems,
        }),
    }
}

struct Reader<'a> {
    sources: Sources<'a>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// The checked value; `None` where it is not given, and where it is wrong, which is noted.
    fn get<T>(&mut self, key: &Key, check: impl FnOnce(&Value) -> Checked<T>) -> Option<T> {
        let given = self.sources.get(key)?;
        match check(&given.value) {
            Ok(value) => Some(value),
            Err(text) => {
                self.note(key, Some(given.origin), text);
                None
            }
        }
    }

    /// The API's place, github.com's where none is given.
    fn base_url(&mut self) -> Option<BaseUrl> {
        match self.sources.get(&source::BASE_URL) {
            None => BaseUrl::GITHUB_COM.parse().ok(),
            Some(_) => self.get(&source::BASE_URL, fields::base_url),
        }
    }

    fn note(&mut self, key: &Key, origin: Option<Origin>, text: String) {
        self.problems.push(Problem {
            key: key.name,
            origin,
            text,
        });
    }

    /// The App, if anything of it is given. The provider alone is not: charts write it always.
    fn app(&mut self) -> Option<AppConfig> {
        let app_id = self.get(&source::APP_ID, fields::app_id);
        let client_id = self.get(&source::CLIENT_ID, fields::client_id);
        let installation_id = self.get(&source::INSTALLATION_ID, fields::installation_id);
        let owner = self.get(&source::OWNER, fields::owner);
        let provider = match self.sources.get(&source::PROVIDER) {
            None => Some(Provider::File),
            Some(_) => self.get(&source::PROVIDER, fields::provider),
        };
        // What a key should be is known only where the provider is.
        let key = provider.and_then(|provider| self.get(&source::KEY, |value| fields::key(value, provider)));
        let validate_key = self.get(&source::VALIDATE_KEY, fields::flag).unwrap_or(false);
        self.require_all(provider.unwrap_or(Provider::File));
        let identity = match (app_id, client_id) {
            (Some(app_id), Some(client_id)) => AppIdentity::Both { app_id, client_id },
            (Some(app_id), None) => AppIdentity::AppId(app_id),
            (None, Some(client_id)) => AppIdentity::ClientId(client_id),
            (None, None) => return None,
        };
        let key: KeySource = key?;
        Some(AppConfig {
            identity,
            installation_id,
            owner,
            key,
            validate_key,
        })
    }

    /// Notes what is missing of an App that is given in part.
    fn require_all(&mut self, provider: Provider) {
        let given = |key: &Key| self.sources.get(key).is_some();
        let identified = given(&source::APP_ID) || given(&source::CLIENT_ID);
        let keyed = given(&source::KEY);
        let placed = given(&source::INSTALLATION_ID) || given(&source::OWNER);
        let started = identified || keyed || placed;
        if started && !identified {
            self.note(
                &source::APP_ID,
                None,
                missing("give the App ID or client_id of the App's settings page"),
            );
        }
        if started && !keyed {
            self.note(&source::KEY, None, missing(fields::key_cure(provider)));
        }
    }
}

fn missing(cure: &str) -> String {
    format!("it is missing, and other keys of an App are given: {cure}")
}
