//! The kinds `Token` and `ClusterToken`.
#![allow(
    clippy::duplicated_attributes,
    reason = "each column of a table has a type, and many have the same"
)]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ClusterSecretSpec, SecretSpec, TokenStatus};

/// Default of `spec.refreshInterval`.
pub const DEFAULT_REFRESH_INTERVAL: &str = "30m";
/// Default of `spec.retryInterval`.
pub const DEFAULT_RETRY_INTERVAL: &str = "5m";

fn refresh_interval() -> String {
    DEFAULT_REFRESH_INTERVAL.into()
}

fn retry_interval() -> String {
    DEFAULT_RETRY_INTERVAL.into()
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What the token may do, and how often it is replaced: the same for both kinds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenScope {
    /// ID of the App's installation. Default, also for 0: the installation of the App's own configuration.
    #[serde(rename = "installationID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub installation_id: Option<i64>,
    /// Account (organization or user) whose installation of the App is meant, instead of installationID: its ID is found, and found
    /// again after the App was installed anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub owner: Option<String>,
    /// Permissions of the token: name -> read, write or admin, at most what the installation has. Default: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 128))]
    #[x_kube(validation = Rule::new("size(self) > 0")
        .message("permissions must not be empty: leave the field out for everything the installation has, or name at least one, such as 'metadata: read'"))]
    pub permissions: Option<BTreeMap<String, String>>,
    /// Names of the repositories that the token may reach, without their owner. Default: all of the installation's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500), inner(length(min = 1, max = 100)))]
    #[x_kube(validation = Rule::new("self.all(r, !r.contains('/'))")
        .message("repositories are bare names: write 'name' instead of 'owner/name' (the owner is the installation's account)"))]
    pub repositories: Vec<String>,
    /// IDs of the repositories that the token may reach.
    #[serde(rename = "repositoryIDs", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500), inner(range(min = 1)))]
    pub repository_ids: Vec<i64>,
    /// How long a token is used before a new one is issued: 1m to 55m. A token is never kept for longer than a quarter
    /// of its life before its end (GitHub's tokens live 1h, so 45m), whatever is written here.
    #[serde(default = "refresh_interval")]
    #[schemars(extend("format" = "duration"))]
    #[x_kube(validation = Rule::new("self >= duration('1m') && self <= duration('55m')")
        .message("refreshInterval must be between 1m and 55m"))]
    pub refresh_interval: String,
    /// The longest wait before another attempt after an error that may pass, such as an outage of GitHub: 1s to 1h.
    #[serde(default = "retry_interval")]
    #[schemars(extend("format" = "duration"))]
    #[x_kube(validation = Rule::new("self >= duration('1s') && self <= duration('1h')")
        .message("retryInterval must be between 1s and 1h"))]
    pub retry_interval: String,
    /// Revoke the previous token this long after a new one was issued: 10m or more. Default: it is left to expire.
    /// Best effort: a restart of the operator forgets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "duration"))]
    #[x_kube(validation = Rule::new("self >= duration('10m')")
        .message("revokePreviousAfter must be at least 10m: users in the middle of a clone still hold the previous token"))]
    pub revoke_previous_after: Option<String>,
}

impl Default for TokenScope {
    fn default() -> Self {
        TokenScope {
            installation_id: None,
            owner: None,
            permissions: None,
            repositories: Vec::new(),
            repository_ids: Vec::new(),
            refresh_interval: refresh_interval(),
            retry_interval: retry_interval(),
            revoke_previous_after: None,
        }
    }
}

/// An App in the Token's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalAppRef {
    /// Name of the App.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// An App in any namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppRef {
    /// Name of the App.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the App. Default: the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub namespace: Option<String>,
}

/// What is wanted of a Token.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "github.as-code.io",
    version = "v1",
    kind = "Token",
    namespaced,
    status = "TokenStatus",
    shortname = "ght",
    category = "github",
    doc = "A Token keeps a Secret of its namespace filled with a short-lived GitHub token.",
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
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.managedSecret.name"),
    printcolumn(
        name = "Expires",
        type_ = "string",
        json_path = ".status.installationAccessToken.expiresAt"
    ),
    printcolumn(name = "Next refresh", type_ = "string", json_path = ".status.nextAttemptAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct TokenSpec {
    /// App of this namespace that issues the token. Default: the App of the operator's startup configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_ref: Option<LocalAppRef>,
    /// The Secret that holds the token. Default: a Secret of the Token's name with the key `token`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub secret: SecretSpec,
    /// What the token may do.
    #[serde(flatten)]
    pub scope: TokenScope,
}

/// What is wanted of a ClusterToken.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "github.as-code.io",
    version = "v1",
    kind = "ClusterToken",
    status = "TokenStatus",
    shortname = "ghct",
    category = "github",
    doc = "A ClusterToken keeps a Secret of any namespace filled with a short-lived GitHub token.",
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
    printcolumn(name = "Namespace", type_ = "string", json_path = ".spec.secret.namespace"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.managedSecret.name"),
    printcolumn(
        name = "Expires",
        type_ = "string",
        json_path = ".status.installationAccessToken.expiresAt"
    ),
    printcolumn(name = "Next refresh", type_ = "string", json_path = ".status.nextAttemptAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterTokenSpec {
    /// App that issues the token. Default: the App of the operator's startup configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_ref: Option<AppRef>,
    /// The Secret that holds the token.
    pub secret: ClusterSecretSpec,
    /// What the token may do.
    #[serde(flatten)]
    pub scope: TokenScope,
}
