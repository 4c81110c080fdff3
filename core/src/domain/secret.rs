//! A token, put into the form that a Secret's readers expect.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use secrecy::{ExposeSecret, SecretString};

use crate::api::names::{MANAGER, annotation, label, secret_type};
use crate::api::{Format, Time};

use super::digest::base64_sha256;
use super::intent::{Intent, Key, Kind, SecretIntent};
use super::plan::Content;
use super::problem::Problem;

mod formats;

/// How Argo CD finds credentials for all repositories below a URL
/// (<https://argo-cd.readthedocs.io/en/stable/operator-manual/declarative-setup/#repository-credentials>).
const ARGO_CD_LABEL: (&str, &str) = ("argocd.argoproj.io/secret-type", "repo-creds");

/// Where GitHub is, for formats that name a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Host, with port if it is not the scheme's own: `github.com`.
    pub host: String,
    /// Scheme and host for git: `https://github.com`.
    pub web_url: String,
    /// Root of the REST API: `https://api.github.com`.
    pub api_url: String,
}

/// A token and its life.
#[derive(Clone, Debug)]
pub struct IssuedToken {
    /// The token itself.
    pub token: SecretString,
    /// By GitHub's clock.
    pub issued_at: Timestamp,
    /// By GitHub's clock.
    pub expires_at: Timestamp,
}

/// A Secret as it is to be written. `Debug` shows no values.
pub struct Rendered {
    /// The Secret's type.
    pub kind: &'static str,
    /// Labels: the user's and ours.
    pub labels: BTreeMap<String, String>,
    /// Annotations: the user's and ours.
    pub annotations: BTreeMap<String, String>,
    /// Keys and values.
    pub data: BTreeMap<String, SecretString>,
}

impl std::fmt::Debug for Rendered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rendered")
            .field("kind", &self.kind)
            .field("keys", &self.data.keys())
            .finish_non_exhaustive()
    }
}

/// The type of the Secret in this format.
#[must_use]
pub const fn kind(format: Format) -> &'static str {
    match format {
        Format::Token => secret_type::TOKEN,
        Format::BasicAuth => secret_type::BASIC_AUTH,
        Format::DockerConfigJson => secret_type::DOCKER_CONFIG_JSON,
        Format::GitCredentials
        | Format::GitConfig
        | Format::Netrc
        | Format::ArgoCdRepoCreds
        | Format::GithubProviderJson
        | Format::Template => secret_type::OPAQUE,
    }
}

/// What the annotation [`annotation::FORMAT`] says of a Secret in this form.
#[must_use]
pub fn format_mark(secret: &SecretIntent) -> String {
    let hash = |texts| base64_sha256(serde_json::json!(texts).to_string().as_bytes());
    let mut mark = secret.format.as_str().to_owned();
    if secret.format == Format::Template {
        mark = format!("{mark}:{}", hash(&secret.template));
    }
    if !secret.extra.is_empty() {
        mark = format!("{mark}+{}", hash(&secret.extra));
    }
    mark
}

/// What was wanted of a Secret with this mark, as far as what is wanted now tells: `None` for a template, or texts beside the token, that
/// are not known any more.
#[must_use]
pub fn in_form_of(secret: &SecretIntent, mark: &str) -> Option<SecretIntent> {
    let forms = Format::ALL.into_iter().flat_map(|format| {
        [secret.extra.clone(), BTreeMap::new()].map(|extra| SecretIntent {
            format,
            extra,
            ..secret.clone()
        })
    });
    forms.into_iter().find(|form| format_mark(form) == mark)
}

/// Identifies the labels and annotations that the spec asks for: a changed hash also shows that one was taken away.
#[must_use]
pub fn metadata_hash(secret: &SecretIntent) -> String {
    base64_sha256(
        serde_json::json!([secret.labels, secret.annotations])
            .to_string()
            .as_bytes(),
    )
}

/// The labels of the Secret: the user's, and ours over them.
#[must_use]
pub fn labels(intent: &Intent) -> BTreeMap<String, String> {
    let mut labels = intent.secret.labels.clone();
    if intent.secret.format == Format::ArgoCdRepoCreds {
        labels.insert(ARGO_CD_LABEL.0.into(), ARGO_CD_LABEL.1.into());
    }
    labels.extend(own_labels(&intent.key));
    labels
}

/// The labels by which a Secret of this Token is known, as isometry/github-token-manager sets them.
#[must_use]
pub fn own_labels(key: &Key) -> BTreeMap<String, String> {
    // A label's value has at most 63 characters, an object's name up to 253.
    let instance: String = key.name.chars().take(63).collect();
    let instance = instance.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    let labels = [
        (label::NAME, key.kind.as_str()),
        (label::INSTANCE, instance),
        (label::PART_OF, MANAGER),
        (label::CREATED_BY, MANAGER),
    ];
    labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// The Token that these labels name, for a Secret of this namespace. Of a long name, they have the beginning.
#[must_use]
pub fn labelled(labels: &BTreeMap<String, String>, namespace: &str) -> Option<Key> {
    let kind = labels.get(label::NAME)?;
    let kind = [Kind::Token, Kind::ClusterToken]
        .into_iter()
        .find(|known| known.as_str() == kind)?;
    Some(Key {
        kind,
        namespace: (kind == Kind::Token).then(|| namespace.into()),
        name: labels.get(label::INSTANCE)?.as_str().into(),
    })
}

/// Annotations that say what is in the Secret: who changes one of them makes it untrue.
const SAID: [&str; 4] = [
    annotation::SCOPE_HASH,
    annotation::HASHED_TOKEN,
    annotation::ISSUED_AT,
    annotation::EXPIRES_AT,
];

/// Identifies a Secret's keys and values, and what its annotations say of them.
#[must_use]
pub fn content_hash<'a>(
    annotations: &BTreeMap<String, String>,
    data: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> String {
    let mut sorted: Vec<_> = data.collect();
    sorted.sort_unstable();
    let said = SAID.map(|name| (name, annotations.get(name).map_or(&[][..], String::as_bytes)));
    // Secrets of before it was noted have the hash that they had then.
    let base_url = annotations.get(annotation::BASE_URL);
    let base_url = base_url.map(|url| (annotation::BASE_URL, url.as_bytes()));
    let mut text = Vec::new();
    for (key, value) in said.into_iter().chain(base_url).chain(sorted) {
        for part in [key.as_bytes(), value] {
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part);
        }
    }
    base64_sha256(&text)
}

/// The keys that this Secret has.
#[must_use]
pub fn keys(secret: &SecretIntent) -> Vec<&str> {
    let mut keys = format_keys(secret.format, &secret.template);
    keys.extend(secret.extra.keys().map(String::as_str));
    keys
}

/// The keys that a Secret of this format has.
#[must_use]
pub fn format_keys(format: Format, template: &BTreeMap<String, String>) -> Vec<&str> {
    match format {
        Format::Token => vec!["token"],
        Format::BasicAuth => vec!["username", "password"],
        Format::GitCredentials => vec![".git-credentials"],
        Format::GitConfig => vec![".gitconfig"],
        Format::Netrc => vec![".netrc"],
        Format::DockerConfigJson => vec![".dockerconfigjson"],
        Format::ArgoCdRepoCreds => vec!["type", "url", "username", "password"],
        Format::GithubProviderJson => vec!["credentials"],
        Format::Template => template.keys().map(String::as_str).collect(),
    }
}

/// Compares a Secret's keys and values with what we wrote. A Secret of isometry/github-token-manager has no hash yet: there the
/// wanted keys must be filled.
#[must_use]
pub fn judge(
    secret: &SecretIntent,
    annotations: &BTreeMap<String, String>,
    data: &BTreeMap<String, Vec<u8>>,
) -> Content {
    let intact = match annotations.get(annotation::CONTENT_HASH) {
        Some(hash) => {
            // The keys of another format are found through the hash of everything that is there.
            let wanted = keys(secret);
            let ours = data.iter().filter(|(key, _)| wanted.contains(&key.as_str()));
            let all = |(key, value): (&'_ String, &'_ Vec<u8>)| (key.clone(), value.clone());
            let hash_of = |pairs: Vec<(String, Vec<u8>)>| {
                content_hash(
                    annotations,
                    pairs.iter().map(|(key, value)| (key.as_str(), value.as_slice())),
                )
            };
            *hash == hash_of(ours.map(all).collect()) || *hash == hash_of(data.iter().map(all).collect())
        }
        None => keys(secret)
            .iter()
            .all(|key| data.get(*key).is_some_and(|value| !value.is_empty())),
    };
    if intact { Content::Intact } else { Content::Tampered }
}

/// The annotations that say who has issued the token.
fn issuer(intent: &Intent, site: &Site) -> impl Iterator<Item = (String, String)> {
    let app = intent.app.name().map(|app| (annotation::APP, app));
    let all = [(annotation::BASE_URL, site.api_url.clone())].into_iter().chain(app);
    all.map(|(name, value)| (name.to_owned(), value))
}

/// The annotations with which a Secret of isometry/github-token-manager becomes ours: its token stays in use.
#[must_use]
pub fn adopt(
    intent: &Intent,
    site: &Site,
    scope_hash: &str,
    (issued_at, expires_at): (Timestamp, Timestamp),
    data: &BTreeMap<String, Vec<u8>>,
) -> BTreeMap<String, String> {
    let keys = keys(&intent.secret);
    let token = data
        .get("token")
        .or_else(|| data.get("password"))
        .map(Vec::as_slice)
        .unwrap_or_default();
    let ours = data.iter().filter(|(key, _)| keys.contains(&key.as_str()));
    let mut annotations = BTreeMap::from([
        (annotation::SCOPE_HASH.to_owned(), scope_hash.to_owned()),
        (annotation::FORMAT.to_owned(), format_mark(&intent.secret)),
        (annotation::ISSUED_AT.to_owned(), Time::from(issued_at).to_string()),
        (annotation::EXPIRES_AT.to_owned(), Time::from(expires_at).to_string()),
        (annotation::HASHED_TOKEN.to_owned(), base64_sha256(token)),
    ]);
    annotations.extend(issuer(intent, site));
    let hash = content_hash(&annotations, ours.map(|(k, v)| (k.as_str(), v.as_slice())));
    annotations.insert(annotation::CONTENT_HASH.to_owned(), hash);
    annotations
}

/// Names of labels and annotations that we, or isometry/github-token-manager, once put on a Secret, from its managed fields:
/// those that the spec does not want any more can be taken away without touching anyone else's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManagedMetadata {
    /// Names of labels.
    pub labels: BTreeSet<String>,
    /// Names of annotations.
    pub annotations: BTreeSet<String>,
}

/// Field managers whose labels and annotations are ours to change: our own, and the one under which
/// isometry/github-token-manager writes (the name of its binary).
const FIELD_MANAGERS: [&str; 2] = [MANAGER, "manager"];

/// Reads the managed fields (<https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>).
#[must_use]
pub fn managed_metadata(meta: &ObjectMeta) -> ManagedMetadata {
    let mut managed = ManagedMetadata::default();
    let ours = meta.managed_fields.iter().flatten().filter(|entry| {
        entry
            .manager
            .as_deref()
            .is_some_and(|manager| FIELD_MANAGERS.contains(&manager))
    });
    for fields in ours.filter_map(|entry| entry.fields_v1.as_ref()?.0.get("f:metadata").cloned()) {
        let names = |of: &str| -> BTreeSet<String> {
            let names = fields.get(of).and_then(|names| names.as_object()).into_iter().flatten();
            names
                .filter_map(|(name, _)| Some(name.strip_prefix("f:")?.to_owned()))
                .collect()
        };
        managed.labels.extend(names("f:labels"));
        managed.annotations.extend(names("f:annotations"));
    }
    managed
}

/// Puts the token into the wanted form.
///
/// # Errors
/// A [`Problem`] of the template.
pub fn render(intent: &Intent, site: &Site, issued: &IssuedToken, scope_hash: &str) -> Result<Rendered, Problem> {
    let data = formats::data(&intent.secret, site, issued)?;
    let mut annotations = intent.secret.annotations.clone();
    let mut set = |name: &str, value: String| annotations.insert(name.to_owned(), value);
    set(annotation::SCOPE_HASH, scope_hash.to_owned());
    set(annotation::FORMAT, format_mark(&intent.secret));
    set(annotation::METADATA_HASH, metadata_hash(&intent.secret));
    set(annotation::ISSUED_AT, Time::from(issued.issued_at).to_string());
    set(annotation::EXPIRES_AT, Time::from(issued.expires_at).to_string());
    set(
        annotation::HASHED_TOKEN,
        base64_sha256(issued.token.expose_secret().as_bytes()),
    );
    if let Some(request) = &intent.refresh_request {
        set(annotation::REFRESH_REQUESTED, request.clone());
    }
    annotations.extend(issuer(intent, site));
    let texts = data
        .iter()
        .map(|(key, value)| (key.as_str(), value.expose_secret().as_bytes()));
    let hash = content_hash(&annotations, texts);
    annotations.insert(annotation::CONTENT_HASH.to_owned(), hash);
    Ok(Rendered {
        kind: kind(intent.secret.format),
        labels: labels(intent),
        annotations,
        data,
    })
}

/// Finds the token in a Secret of any format: the piece whose hash is `hashed_token`. Without a hash, as
/// isometry/github-token-manager leaves its Secrets, the keys `token` and `password` are taken at their word.
#[must_use]
pub fn find_token(data: &BTreeMap<String, Vec<u8>>, hashed_token: Option<&str>) -> Option<SecretString> {
    let texts = || data.values().filter_map(|value| std::str::from_utf8(value).ok());
    let Some(hash) = hashed_token else {
        let value = data.get("token").or_else(|| data.get("password"))?;
        return String::from_utf8(value.clone())
            .ok()
            .filter(|text| !text.is_empty())
            .map(SecretString::from);
    };
    let is_it = |piece: &&str| base64_sha256(piece.as_bytes()) == hash;
    let pieces = |text: &str| -> Option<SecretString> {
        let edge = |c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c));
        std::iter::once(text)
            .chain(text.split(edge).flat_map(candidates))
            .find(is_it)
            .map(SecretString::from)
    };
    texts().find_map(pieces).or_else(|| {
        // `{{ .basicAuth }}` hides the token in base64. Its padding is an edge too: `_auth={{ .basicAuth }}`.
        let edge = |c: char| !(c.is_ascii_alphanumeric() || "+/".contains(c));
        let encoded = texts()
            .flat_map(|text| text.split(edge))
            .filter(|piece| piece.len() > 16);
        encoded
            .filter_map(|piece| String::from_utf8(STANDARD_NO_PAD.decode(piece).ok()?).ok())
            .find_map(|text| pieces(&text))
    })
}

/// What of a word may be the token: a template can put a full stop behind it, or something like `x-` before it.
fn candidates(word: &str) -> [&str; 4] {
    let tail = word.find("ghs_").and_then(|at| word.get(at..)).unwrap_or(word);
    [word, word.trim_end_matches('.'), tail, tail.trim_end_matches('.')]
}

#[cfg(test)]
mod tests;
