//! What an App object says, as the startup configuration would have said it.

use std::path::{Component, Path};
use std::time::Duration;

use crate::api::{AppSpec, Provider, Reason};
use crate::cluster::AppObject;
use crate::config::{AppConfig, AppIdentity, Config, KeySource};
use crate::domain::app::may_use;
use crate::domain::facts::AppFacts;
use crate::domain::intent::invalid;
use crate::domain::name::{NAMES, is_object_name};
use crate::domain::schedule::Retry;
use crate::domain::{BaseUrl, Problem, quote};
use crate::signer::ServiceKey;

use super::apps::{Fields, Outline};
use super::settings::{Authorities, Settings};

/// What the App object and the configuration together say of the App, but for its key.
///
/// # Errors
/// A [`Problem`] of the spec, of what is allowed, or of the configuration's certificates.
pub fn outline(object: &AppObject, settings: &Settings, own: &str) -> Result<Outline, Problem> {
    let app = object.read.as_ref().map_err(Problem::clone)?;
    let config = &settings.config;
    let configured = Config {
        base_url: base_url(&app.spec, config)?,
        ..config.clone()
    };
    let authorities = match &app.spec.ca_bundle {
        None => settings.authorities.clone()?,
        Some(pem) => Some(Authorities::of_text(pem)),
    };
    // Error texts are read in the App's namespace; what answers at an address of the tenant's choice may be meant for the operator alone.
    let theirs = configured.base_url.is_enterprise_server()
        && configured.base_url.web_host() != config.base_url.web_host()
        && object.namespace != own;
    let app_config = app_config(&app.spec, config, own, &object.namespace)?;
    let fields = fields(&app.spec);
    Ok(Outline::of(&app_config, &configured, authorities, fields, !theirs))
}

fn fields(spec: &AppSpec) -> Fields {
    Fields {
        key: match spec.provider {
            Provider::Secret => "spec.keyRef",
            _ => "spec.key",
        },
        secret_key: Some("spec.keyRef.key"),
        ca_bundle: spec.ca_bundle.as_ref().map(|_| "spec.caBundle"),
    }
}

/// What the spec alone says of the App; `None` where it contradicts itself.
pub fn facts(spec: &AppSpec, config: &Config) -> Option<AppFacts> {
    let (identity, base_url) = (identity(spec).ok()?, base_url(spec, config).ok()?);
    let installation = spec.installation_id.and_then(|id| u64::try_from(id).ok());
    Some(AppFacts {
        github: base_url.to_string(),
        identity: format!("{base_url} {}", identity.issuer()),
        installation: installation.filter(|id| *id > 0),
        owner: spec.owner.clone().filter(|owner| !owner.is_empty()),
        installations: None,
    })
}

fn base_url(spec: &AppSpec, config: &Config) -> Result<BaseUrl, Problem> {
    match &spec.base_url {
        None => Ok(config.base_url.clone()),
        Some(text) => text.parse().map_err(|error| invalid(format!("spec.baseURL: {error}"))),
    }
}

/// The App as the startup configuration would have it.
fn app_config(spec: &AppSpec, config: &Config, own: &str, namespace: &str) -> Result<AppConfig, Problem> {
    let installation = spec.installation_id.filter(|id| *id != 0);
    Ok(AppConfig {
        identity: identity(spec)?,
        installation_id: installation.map(|number| id("installationID", number)).transpose()?,
        owner: spec.owner.clone().filter(|owner| !owner.is_empty()),
        key: key_source(spec, config, own, namespace)?,
        validate_key: true,
    })
}

fn id(field: &str, id: i64) -> Result<u64, Problem> {
    let id = u64::try_from(id).ok().filter(|id| *id > 0);
    id.ok_or_else(|| invalid(format!("spec.{field}: an ID is a whole number from 1")))
}

fn identity(spec: &AppSpec) -> Result<AppIdentity, Problem> {
    let app_id = spec.app_id.map(|app_id| id("appID", app_id)).transpose()?;
    let client_id = spec.client_id.clone().filter(|client_id| !client_id.is_empty());
    match (app_id, client_id) {
        (Some(app_id), Some(client_id)) => Ok(AppIdentity::Both { app_id, client_id }),
        (Some(app_id), None) => Ok(AppIdentity::AppId(app_id)),
        (None, Some(client_id)) => Ok(AppIdentity::ClientId(client_id)),
        (None, None) => {
            let cure = "set one of them: both are on the App's settings page at GitHub";
            Err(invalid(format!("spec.appID and spec.clientID are not set; {cure}")))
        }
    }
}

/// Where the key is. What is reached with the operator's own identity or files has to be allowed for the App's namespace.
fn key_source(spec: &AppSpec, config: &Config, own: &str, namespace: &str) -> Result<KeySource, Problem> {
    let key = spec.key.clone().unwrap_or_default();
    let (source, name) = match spec.provider {
        Provider::Secret => {
            let Some(named) = &spec.key_ref else {
                return Err(invalid(
                    "spec.keyRef: provider secret needs the name of a Secret".to_owned(),
                ));
            };
            if !is_object_name(&named.name) {
                let name = quote(&named.name);
                return Err(invalid(format!("spec.keyRef.name: '{name}' is no name: {NAMES}")));
            }
            return Ok(KeySource::Secret {
                name: named.name.clone(),
                key: named.key.clone(),
            });
        }
        Provider::File => {
            let path = Path::new(&key);
            let plain = path.is_absolute()
                && path
                    .components()
                    .all(|part| !matches!(part, Component::ParentDir | Component::CurDir));
            if !plain || key.contains('\n') {
                let cure = "give an absolute path without . and .., or use provider secret";
                return Err(invalid(format!(
                    "spec.key: with provider file it is the path of a file; {cure}"
                )));
            }
            (KeySource::File(path.to_owned()), key)
        }
        Provider::Aws | Provider::Azure | Provider::Gcp | Provider::Vault => {
            let Some(service) = crate::signer::Provider::named(spec.provider.as_str()) else {
                return Err(invalid(format!(
                    "spec.provider: {} is not known",
                    spec.provider.as_str()
                )));
            };
            let named = ServiceKey::parse(service, &key)
                .map_err(|cure| invalid(format!("spec.key: it names no key; {cure}")))?;
            let name = named.to_string();
            (KeySource::Service(named), name)
        }
    };
    if may_use(&config.allowed_keys, own, namespace, &name) {
        return Ok(source);
    }
    Err(Problem::new(
        Reason::KeyNotAllowed,
        Retry::Every(Duration::from_secs(600)),
        format!(
            "spec.key: Apps of the namespace {namespace} may not use this key of provider {}; the operator's configuration has to allow it: allowed_keys: {{\"{namespace}\": [\"KEY\"]}}",
            spec.provider.as_str()
        ),
    ))
}

/// The Secret that holds the key, if one does.
pub fn key_secret(object: &AppObject) -> Option<&str> {
    let spec = &object.read.as_ref().ok()?.spec;
    let key = spec.key_ref.as_ref().filter(|_| spec.provider == Provider::Secret)?;
    Some(&key.name)
}
