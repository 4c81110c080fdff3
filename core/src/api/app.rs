//! The kind `App`: a GitHub App that tokens come from, and where its private key is.
#![allow(
    clippy::duplicated_attributes,
    reason = "each column of a table has a type, and many have the same"
)]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, Time};

/// Default of `spec.keyRef.key`.
pub const DEFAULT_KEY: &str = "private-key.pem";

fn default_key() -> String {
    DEFAULT_KEY.into()
}

/// Who holds an App's private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// A Secret of the App's namespace.
    Secret,
    /// A file of the operator's.
    File,
    /// AWS KMS.
    Aws,
    /// Azure Key Vault.
    Azure,
    /// Google Cloud KMS.
    Gcp,
    /// Vault or OpenBao, its transit engine.
    Vault,
}

impl Provider {
    /// As it is written in a manifest and in gtm.yaml.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Provider::Secret => "secret",
            Provider::File => "file",
            Provider::Aws => "aws",
            Provider::Azure => "azure",
            Provider::Gcp => "gcp",
            Provider::Vault => "vault",
        }
    }
}

/// A key of a Secret in the App's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the Secret. Default: private-key.pem.
    #[serde(default = "default_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// An App of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolMember {
    /// Name of the App.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A GitHub App, and where its private key is.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "github.as-code.io",
    version = "v1",
    kind = "App",
    namespaced,
    status = "AppStatus",
    shortname = "gha",
    category = "github",
    doc = "An App is a GitHub App that Tokens name by appRef, with its private key in a key service or a Secret.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Slug", type_ = "string", json_path = ".status.slug"),
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.provider"),
    printcolumn(
        name = "Key valid",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"KeyValid\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.appID) || has(self.clientID)")
        .message("set appID or clientID: both are on the App's settings page at GitHub"),
    validation = Rule::new("self.provider == 'secret' ? has(self.keyRef) : has(self.key) && size(self.key) > 0")
        .message("provider secret needs keyRef.name, every other provider needs key"),
    validation = Rule::new("!(has(self.installationID) && self.installationID != 0 && has(self.owner))")
        .message("set installationID or owner, not both")
)]
pub struct AppSpec {
    /// ID of the App. Either this or clientID.
    #[serde(rename = "appID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub app_id: Option<i64>,
    /// Client ID of the App, such as Iv23liABCDEF.
    #[serde(rename = "clientID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub client_id: Option<String>,
    /// ID of the installation that Tokens get which name none. Either this or owner; 0 stands for not set.
    #[serde(rename = "installationID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub installation_id: Option<i64>,
    /// Account (organization or user) whose installation Tokens get which name none; its ID is found, and found again
    /// after the App was installed anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub owner: Option<String>,
    // Its description in the schema is the one of the enum.
    /// Who holds the private key.
    pub provider: Provider,
    /// Where the provider finds the private key: a key ID, ARN or alias (aws), a key or key version (gcp), a key URL (azure), a key of
    /// the transit engine (vault), a path (file).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub key: Option<String>,
    /// The Secret that holds the private key, for provider secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_ref: Option<KeyRef>,
    /// Kept for isometry/github-token-manager's manifests: the key is always validated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate_key: Option<bool>,
    /// GitHub's API: https://HOST/api/v3 of an Enterprise Server. Default: the operator's base_url.
    #[serde(rename = "baseURL", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub base_url: Option<String>,
    /// Certificates (PEM) that the API server of GitHub may be signed by, beside the system's, at most
    /// 32,768 characters. Default: the operator's ca_bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32_768))]
    pub ca_bundle: Option<String>,
    /// Apps of the same namespace that share this one's load: a new token of its Tokens comes from whichever has most of GitHub's
    /// budget left. They are at the same GitHub, and installed for the same account with the same permissions and repositories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub pool: Vec<PoolMember>,
}

/// What was last observed of an App.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AppStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The App's name in URLs, as GitHub says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// The public key's fingerprint, as the App's settings page shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Where the App is installed: at most 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub installations: Vec<InstallationStatus>,
    /// Ready: GitHub takes the App's key. KeyValid: the key signs, and its public key says that the signature is right. Pool: every
    /// App of the pool takes its share of the load.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl AppStatus {
    /// The condition of this type.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.kind == kind)
    }
}

/// One installation of an App.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InstallationStatus {
    /// ID of the installation.
    #[schemars(required)]
    pub id: i64,
    /// The account that it is installed for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// `Organization` or `User`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_type: Option<String>,
    /// `all` or `selected` repositories.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository_selection: Option<String>,
    /// What it grants: name -> level.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub permissions: BTreeMap<String, String>,
    /// Since when it has been suspended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended_at: Option<Time>,
}
