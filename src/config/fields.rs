//! One function for each kind of value: an untyped value becomes a checked one, or a text that says what would be right.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;

use serde_json::Value;

use super::problem::{is_plain, shown};
use super::source::yaml;
use super::{CaBundle, DEFAULT_SECRET_KEY, HIGHEST_LIMIT, KeySource, PemText, RateLimit};
use crate::domain::BaseUrl;
use crate::domain::base_url::BaseUrlError;
use crate::signer::{self, ServiceKey};

/// What a checker gives: the text goes into a [`super::Problem`].
pub(super) type Checked<T> = Result<T, String>;

/// Where a private key is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    File,
    Secret,
    Service(signer::Provider),
}

/// `what` names the number and where to find it.
pub(super) fn id(value: &Value, what: &str) -> Checked<u64> {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.filter(|number| *number > 0).ok_or_else(|| {
        format!(
            "{} is no ID: give {what}, a whole number above 0, such as 123456",
            shown(value)
        )
    })
}

pub(super) fn app_id(value: &Value) -> Checked<u64> {
    id(value, "the App ID of the App's settings page")
}

pub(super) fn installation_id(value: &Value) -> Checked<u64> {
    id(
        value,
        "the number at the end of the installation's URL (.../settings/installations/NUMBER)",
    )
}

/// A text; a number is taken as the text it was written as.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

pub(super) fn client_id(value: &Value) -> Checked<String> {
    text(value)
        .filter(|id| {
            id.chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        })
        .ok_or_else(|| {
            format!(
                "{} is no client ID: give the one of the App's settings page, such as Iv23liAbCdEf",
                shown(value)
            )
        })
}

pub(super) fn owner(value: &Value) -> Checked<String> {
    let fits = |name: &String| {
        name.len() <= 100
            && !name.starts_with('-')
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    text(value).filter(fits).ok_or_else(|| {
        format!(
            "{} is no account: give the login of the organization or user, or an enterprise's slug, such as my-org",
            shown(value)
        )
    })
}

pub(super) fn provider(value: &Value) -> Checked<Provider> {
    match value.as_str() {
        Some("file") => Ok(Provider::File),
        Some("secret") => Ok(Provider::Secret),
        name => name
            .and_then(signer::Provider::named)
            .map(Provider::Service)
            .ok_or_else(|| {
                format!(
                    "{} is no provider: give file, secret, aws, azure, gcp or vault",
                    shown(value)
                )
            }),
    }
}

/// The value is never shown: it may be the private key.
pub(super) fn key(value: &Value, provider: Provider) -> Checked<KeySource> {
    let Value::String(value) = value else {
        return Err(format!("it must be a text: {}", key_cure(provider)));
    };
    match provider {
        Provider::File if value.contains("-----BEGIN") => {
            if value.contains("PRIVATE KEY-----") && value.contains("-----END") {
                Ok(KeySource::Pem(PemText::new(value)))
            } else {
                Err(
                    "it is a PEM, but not a whole private key: give the file that GitHub's \"Generate a private key\" \
                     downloads, from the BEGIN line to the END line"
                        .to_owned(),
                )
            }
        }
        Provider::File if !is_path(value) => Err(format!("it is neither a path nor a PEM: {}", key_cure(provider))),
        Provider::File => Ok(KeySource::File(PathBuf::from(value))),
        Provider::Secret => {
            let (name, key) = value.split_once('/').unwrap_or((value, DEFAULT_SECRET_KEY));
            if is_object_name(name) && is_secret_key(key) {
                Ok(KeySource::Secret {
                    name: name.to_owned(),
                    key: key.to_owned(),
                })
            } else {
                Err(format!("it does not name a Secret: {}", key_cure(provider)))
            }
        }
        Provider::Service(service) => ServiceKey::parse(service, value)
            .map(KeySource::Service)
            .map_err(|cure| format!("it names no key: {cure}")),
    }
}

/// What a key should be.
pub(super) fn key_cure(provider: Provider) -> &'static str {
    match provider {
        Provider::File => {
            "with provider file give the path of the App's private key, such as /config/private-key.pem, or the PEM itself"
        }
        Provider::Secret => {
            "with provider secret give NAME or NAME/KEY of a Secret in the operator's namespace (KEY is private-key.pem by default)"
        }
        Provider::Service(service) => service.key_cure(),
    }
}

/// Whether a text may be a path. A key that was pasted without its first line, or whose lines were joined, is none: paths are
/// shown in messages, and read from files that do not exist.
fn is_path(text: &str) -> bool {
    let dashed = text.contains("----") || text.contains("PRIVATE KEY");
    !text.is_empty() && !text.contains(['\n', '\0']) && !dashed && text.len() <= LONGEST_PATH
}

/// In bytes: longer than paths are, and shorter than the base64 of a key of 2048 bits, which has some 1,600.
const LONGEST_PATH: usize = 1000;

/// A DNS subdomain, as Kubernetes wants the name of a Secret.
fn is_object_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 253
        && name.split('.').all(|label| {
            label.starts_with(inner) && label.ends_with(inner) && label.chars().all(|c| inner(c) || c == '-')
        })
}

/// A key of a Secret, as Kubernetes wants it.
fn is_secret_key(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= 253
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

pub(super) fn flag(value: &Value) -> Checked<bool> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") || text == "1" => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") || text == "0" => Ok(false),
        _ => Err(format!("{} is neither true nor false: give one of them", shown(value))),
    }
}

pub(super) fn base_url(value: &Value) -> Checked<BaseUrl> {
    const CURE: &str = "give https://api.github.com, https://HOST/api/v3 of an Enterprise Server, \
                        or https://api.SUBDOMAIN.ghe.com";
    // A text that is not shown is none that may be repeated by the error of a URL's parser.
    match value.as_str().filter(|text| is_plain(text)) {
        Some(text) => text
            .parse()
            .map_err(|error: BaseUrlError| error.to_string().replacen("base_url ", "", 1)),
        None => Err(format!("{} is no URL: {CURE}", shown(value))),
    }
}

pub(super) fn api_version(value: &Value) -> Checked<String> {
    let text = value
        .as_str()
        .filter(|text| text.parse::<jiff::civil::Date>().is_ok() && text.len() == "2022-11-28".len());
    let wrong = || {
        format!(
            "{} is no version of GitHub's API: give a date such as 2022-11-28",
            shown(value)
        )
    };
    text.map(str::to_owned).ok_or_else(wrong)
}

pub(super) fn ca_bundle(value: &Value) -> Checked<CaBundle> {
    const CURE: &str = "give the path of a PEM file of certificates, or the PEM itself";
    let Value::String(text) = value else {
        return Err(format!("{} is no CA bundle: {CURE}", shown(value)));
    };
    if text.contains("PRIVATE KEY") {
        return Err(format!("it holds a private key: {CURE}"));
    }
    if text.contains("-----BEGIN CERTIFICATE-----") {
        return Ok(CaBundle::Pem(text.replace("\\n", "\n")));
    }
    if !is_path(text) {
        return Err(format!(
            "{} is neither a path nor a certificate in PEM: {CURE}",
            shown(value)
        ));
    }
    Ok(CaBundle::File(PathBuf::from(text)))
}

/// A map may be given as a text, since that is all that a variable can hold.
fn untext(value: &Value) -> Value {
    match value {
        Value::String(text) => yaml(text).unwrap_or_else(|| value.clone()),
        _ => value.clone(),
    }
}

pub(super) fn allowed_keys(value: &Value) -> Checked<BTreeMap<String, Vec<String>>> {
    const CURE: &str =
        "give a map of namespace patterns to lists of key patterns, such as {\"team-*\": [\"alias/team-*\"]}";
    let Value::Object(map) = untext(value) else {
        return Err(format!("{} is no map: {CURE}", shown(value)));
    };
    map.into_iter()
        .map(|(namespace, keys)| {
            let is_namespace = !namespace.is_empty()
                && namespace.len() <= 63
                && namespace
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '*' | '?'));
            if !is_namespace {
                return Err(format!(
                    "{} is no namespace pattern: {CURE}",
                    shown(&Value::String(namespace))
                ));
            }
            let keys = match &keys {
                Value::Array(keys) => keys.iter().map(key_pattern).collect::<Option<Vec<_>>>(),
                _ => None,
            };
            let keys = keys.ok_or_else(|| format!("{namespace:?} has no list of key patterns: {CURE}"))?;
            Ok((namespace, keys))
        })
        .collect()
}

fn key_pattern(value: &Value) -> Option<String> {
    let pattern = value.as_str()?;
    (!pattern.is_empty() && !pattern.contains(char::is_whitespace)).then(|| pattern.to_owned())
}

pub(super) fn rate_limit(value: &Value) -> Checked<RateLimit> {
    match untext(value) {
        Value::Bool(false) => Ok(RateLimit::Off),
        Value::String(word) if word.eq_ignore_ascii_case("off") => Ok(RateLimit::Off),
        Value::String(word) if word.eq_ignore_ascii_case("auto") => Ok(RateLimit::Auto),
        Value::Number(number) if number.as_u64() == Some(0) => Ok(RateLimit::Off),
        number @ Value::Number(_) => Ok(RateLimit::Fixed {
            mints_per_minute: Some(limit(&number)?),
            concurrent: None,
        }),
        Value::Object(map) => {
            let (mut mints_per_minute, mut concurrent) = (None, None);
            for (name, value) in &map {
                let number = limit(value).map_err(|error| format!("{name}: {error}"));
                match name.as_str() {
                    "mints_per_minute" => mints_per_minute = Some(number?),
                    "concurrent" => concurrent = Some(number?),
                    _ => {
                        let name = shown(&Value::String(name.clone()));
                        return Err(format!("{name} is no limit: {RATE_LIMIT_CURE}"));
                    }
                }
            }
            Ok(RateLimit::Fixed {
                mints_per_minute,
                concurrent,
            })
        }
        _ => Err(format!("{} is no rate limit: {RATE_LIMIT_CURE}", shown(value))),
    }
}

const RATE_LIMIT_CURE: &str = "give auto, off, the tokens a minute (such as 180), \
                               or a map of mints_per_minute and concurrent";

fn limit(value: &Value) -> Checked<NonZeroU32> {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| *number <= HIGHEST_LIMIT)
        .and_then(NonZeroU32::new)
        .ok_or_else(|| {
            format!(
                "{} is no limit: give a whole number from 1 to {HIGHEST_LIMIT}",
                shown(value)
            )
        })
}
