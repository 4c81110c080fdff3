//! A Token or ClusterToken, normalised: what the rest of the operator works with.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::ResourceExt;
use serde_json::Value;

use crate::api::names::annotation;
use crate::api::{Format, Reason, SecretSpec, TokenScope, crd};

use super::digest::base64_sha256;
use super::mistyped::mistyped_values;
use super::problem::Problem;
use super::schedule::Retry;
use super::{duration, permissions, quote, secret, template};

mod key;
mod names;
mod object;

pub use key::{AppKey, Key, Kind, SecretKey};
pub use object::TokenObject;

/// How often an object that cannot be read is looked at again, in case the operator was the cause.
const INVALID_SPEC_PERIOD: Duration = Duration::from_secs(3600);
/// At most so many repositories in one request
/// (<https://docs.github.com/en/rest/apps/apps#create-an-installation-access-token-for-an-app>).
const MAX_REPOSITORIES: usize = 500;
/// Of the values that a field does not take, so many are told.
const MOST_TOLD: usize = 5;

/// What is asked of GitHub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// `None`: everything the installation has.
    pub permissions: Option<BTreeMap<String, String>>,
    /// Bare names, sorted, each once. Empty together with `repository_ids`: all.
    pub repositories: Vec<String>,
    /// Sorted, each once.
    pub repository_ids: Vec<u64>,
}

impl Scope {
    /// Identifies App, installation and scope, whatever the order in which the spec names them.
    #[must_use]
    pub fn hash(&self, app: &str, installation: u64) -> String {
        let text = serde_json::json!([
            app,
            installation,
            self.permissions,
            self.repositories,
            self.repository_ids
        ]);
        base64_sha256(text.to_string().as_bytes())
    }
}

/// The Secret that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretIntent {
    /// Where.
    pub key: SecretKey,
    /// In which form.
    pub format: Format,
    /// The texts of [`Format::Template`].
    pub template: BTreeMap<String, String>,
    /// Texts of the user's beside the token; none has a key of the format.
    pub extra: BTreeMap<String, String>,
    /// Labels of the user's.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the user's; none of ours.
    pub annotations: BTreeMap<String, String>,
}

/// Something that looks wrong but does not stand in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The reason of the condition.
    pub reason: Reason,
    /// Names the field, the value and the cure.
    pub message: String,
}

/// A Token or ClusterToken, normalised and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Which object.
    pub key: Key,
    /// Its UID.
    pub uid: String,
    /// The generation of its spec.
    pub generation: i64,
    /// Who issues the token.
    pub app: AppKey,
    /// `None`: the owner's, or the App's own.
    pub installation: Option<u64>,
    /// The account whose installation is meant.
    pub owner: Option<String>,
    /// What is asked of GitHub.
    pub scope: Scope,
    /// 1 min to 55 min.
    pub refresh: Duration,
    /// 1 s to 1 h.
    pub retry: Duration,
    /// 10 min or more.
    pub revoke_previous_after: Option<Duration>,
    /// The Secret that is wanted.
    pub secret: SecretIntent,
    /// The value of the annotation that asks for a new token.
    pub refresh_request: Option<String>,
    /// What looks wrong.
    pub warnings: Vec<Warning>,
}

impl Intent {
    /// Reads an object.
    ///
    /// # Errors
    /// A [`Problem`] that names the field, the value and the cure.
    pub fn new<T: TokenObject>(object: &T) -> Result<Intent, Problem> {
        let scope = object.scope();
        let secret = object.secret();
        let mut warnings = Vec::new();
        let meta = object.meta();
        let namespace = object
            .secret_namespace()
            .ok_or_else(|| invalid("metadata.namespace: a Token has a namespace"))?;
        let own = object.name_any();
        names::own(&own)?;
        let named = secret.name.as_deref().filter(|name| !name.is_empty());
        named.map_or(Ok(()), |name| names::object("spec.secret.name", name))?;
        names::namespace("spec.secret.namespace", &namespace)?;
        let app = object.app();
        names::app(&app)?;
        let name = named.unwrap_or(&own).into();
        Ok(Intent {
            key: Key {
                kind: T::KIND,
                namespace: meta.namespace.as_deref().map(Into::into),
                name: own.as_str().into(),
            },
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            app,
            installation: installation(scope)?,
            owner: owner(scope)?,
            scope: read_scope(scope, &mut warnings)?,
            refresh: interval("refreshInterval", &scope.refresh_interval, (60, 55 * 60), &mut warnings)?,
            retry: interval("retryInterval", &scope.retry_interval, (1, 3600), &mut warnings)?,
            revoke_previous_after: scope
                .revoke_previous_after
                .as_deref()
                .map(|text| interval("revokePreviousAfter", text, (600, 3600), &mut warnings))
                .transpose()?,
            secret: read_secret(
                secret,
                SecretKey {
                    namespace: namespace.into(),
                    name,
                },
                &mut warnings,
            )?,
            refresh_request: meta
                .annotations
                .as_ref()
                .and_then(|all| all.get(annotation::REFRESH_REQUESTED))
                .cloned(),
            warnings,
        })
    }
}

/// A spec that nothing but another spec can mend.
#[must_use]
pub fn invalid(message: impl Into<String>) -> Problem {
    Problem::new(Reason::InvalidSpec, Retry::Every(INVALID_SPEC_PERIOD), message)
}

/// What an object is told that is not one of its kind: each value that its field does not take, or the reader's own words.
#[must_use]
pub fn unreadable(kind: &str, object: &Value, error: &serde_json::Error) -> Problem {
    let wrong = crd::schema_of(kind).map_or_else(Vec::new, |schema| mistyped_values("", object, &schema));
    let told = match wrong.len() {
        0 => quote(&error.to_string()),
        count if count > MOST_TOLD => format!("{}; and {} more", wrong[..MOST_TOLD].join("; "), count - MOST_TOLD),
        _ => wrong.join("; "),
    };
    invalid(format!("the object cannot be read: {told}"))
}

fn installation(scope: &TokenScope) -> Result<Option<u64>, Problem> {
    // 0 stands for "not set" in the manifests of isometry/github-token-manager.
    scope
        .installation_id
        .filter(|id| *id != 0)
        .map(|id| positive("installationID", id))
        .transpose()
}

fn owner(scope: &TokenScope) -> Result<Option<String>, Problem> {
    let named = scope.installation_id.is_some_and(|id| id != 0);
    match &scope.owner {
        Some(owner) if named => Err(invalid(format!(
            "spec.owner: {} and spec.installationID are both set; leave one of them out",
            quote(owner)
        ))),
        owner => Ok(owner.clone().filter(|owner| !owner.is_empty())),
    }
}

fn positive(field: &str, id: i64) -> Result<u64, Problem> {
    u64::try_from(id)
        .ok()
        .filter(|id| *id > 0)
        .ok_or_else(|| invalid(format!("spec.{field}: {id} is not an ID; IDs are whole numbers from 1")))
}

fn read_scope(scope: &TokenScope, warnings: &mut Vec<Warning>) -> Result<Scope, Problem> {
    for (field, count) in [
        ("repositories", scope.repositories.len()),
        ("repositoryIDs", scope.repository_ids.len()),
    ] {
        if count > MAX_REPOSITORIES {
            return Err(invalid(format!(
                "spec.{field}: {count} entries, but GitHub takes at most {MAX_REPOSITORIES}; leave the field out for all repositories, or split the Token"
            )));
        }
    }
    if let Some(name) = scope
        .repositories
        .iter()
        .find(|name| name.is_empty() || name.contains('/'))
    {
        return Err(invalid(format!(
            "spec.repositories: '{}' is not a bare name; write 'name' instead of 'owner/name'",
            quote(name)
        )));
    }
    let confined = !scope.repositories.is_empty() || !scope.repository_ids.is_empty();
    if let Some(asked) = &scope.permissions {
        if asked.is_empty() {
            return Err(invalid(
                "spec.permissions: {} is empty; leave the field out for everything the installation has, or name at least one permission, such as 'metadata: read'",
            ));
        }
        for (name, level) in asked {
            if let Some(message) = permissions::doubt("spec.permissions", name, level) {
                warnings.push(Warning {
                    reason: Reason::UnknownPermission,
                    message,
                });
            }
            if confined && permissions::is_organization_wide(name) {
                let message = format!(
                    "spec.permissions.{} reaches the whole organization: spec.repositories does not confine it",
                    quote(name)
                );
                warnings.push(Warning {
                    reason: Reason::ScopeWiderThanRepositories,
                    message,
                });
            }
        }
    }
    let ids: Result<BTreeSet<u64>, Problem> = scope
        .repository_ids
        .iter()
        .map(|id| positive("repositoryIDs", *id))
        .collect();
    let names: BTreeSet<&String> = scope.repositories.iter().collect();
    Ok(Scope {
        permissions: scope.permissions.clone(),
        repositories: names.into_iter().cloned().collect(),
        repository_ids: ids?.into_iter().collect(),
    })
}

fn interval(field: &str, text: &str, bounds: (u64, u64), warnings: &mut Vec<Warning>) -> Result<Duration, Problem> {
    let example = "write hours, minutes and seconds, such as '1h30m', '45m' or '90s'";
    let (parsed, text) = (duration::signed(text), quote(text));
    let parsed = parsed.ok_or_else(|| invalid(format!("spec.{field}: '{text}' is not a duration; {example}")))?;
    let asked =
        Duration::try_from(parsed).map_err(|_| invalid(format!("spec.{field}: '{text}' is negative; {example}")))?;
    let (low, high) = (Duration::from_secs(bounds.0), Duration::from_secs(bounds.1));
    let used = asked.clamp(low, high);
    if used != asked {
        let message =
            format!("spec.{field}: '{text}' is outside of {low:?} to {high:?}; {used:?} is used until it is changed");
        warnings.push(Warning {
            reason: Reason::IntervalOutOfBounds,
            message,
        });
    }
    Ok(used)
}

fn read_secret(spec: &SecretSpec, key: SecretKey, warnings: &mut Vec<Warning>) -> Result<SecretIntent, Problem> {
    let basic_auth = spec.basic_auth.unwrap_or(false);
    let format = match spec.format {
        None if basic_auth => Format::BasicAuth,
        None => Format::default(),
        Some(format) if basic_auth && format != Format::BasicAuth => {
            return Err(invalid(format!(
                "spec.secret: basicAuth: true is the old spelling of format: basicAuth, but format is '{}'; remove one of the two",
                format.as_str()
            )));
        }
        Some(format) => format,
    };
    let template = spec.template.clone().unwrap_or_default();
    if (format == Format::Template) == template.is_empty() {
        return Err(invalid(
            "spec.secret.template must be set, with at least one key, if and only if spec.secret.format is 'template'",
        ));
    }
    for (name, text) in &template {
        template::check(name, text)?;
    }
    let own = secret::format_keys(format, &template);
    let mut extra = extra(spec, warnings);
    extra.retain(|name, _| !own.contains(&name.as_str()));
    if let Some(name) = extra.keys().find(|name| !template::is_key(name)) {
        let (name, why) = (quote(name), template::KEYS);
        return Err(invalid(format!("spec.secret.extraData: {name}: {why}")));
    }
    names::labels(&spec.labels)?;
    let mut annotations = spec.annotations.clone();
    annotations.retain(|name, _| !name.starts_with(annotation::PREFIX));
    names::annotations(&annotations)?;
    Ok(SecretIntent {
        key,
        format,
        template,
        extra,
        labels: spec.labels.clone(),
        annotations,
    })
}

/// The texts of `extraData`, later ones over earlier ones.
fn extra(spec: &SecretSpec, warnings: &mut Vec<Warning>) -> BTreeMap<String, String> {
    let sources = || spec.extra_data.iter().enumerate();
    for (index, source) in sources() {
        let named = [("configMap", &source.config_map), ("secret", &source.secret)];
        for (kind, object) in named
            .into_iter()
            .filter_map(|(kind, object)| Some((kind, object.as_ref()?)))
        {
            warnings.push(Warning {
                reason: Reason::ExtraDataIgnored,
                message: format!(
                    "spec.secret.extraData[{index}].{kind}: nothing is copied out of {}; use inline, or let the workload read it itself",
                    quote(&object.name)
                ),
            });
        }
    }
    sources()
        .filter_map(|(_, source)| source.inline.clone())
        .flatten()
        .collect()
}

/// What a Token is told whose App is not in the namespace where it was looked for.
#[must_use]
pub fn app_not_found(namespace: &str, name: &str) -> Problem {
    Problem::new(
        Reason::AppNotFound,
        Retry::Every(Duration::from_secs(600)),
        format!("spec.appRef: there is no App {namespace}/{name}; leave appRef out to use the operator's own App"),
    )
}

#[cfg(test)]
mod tests;
