//! The kind `TokenPolicy`: what a cluster's admin lets namespaces ask for.
#![allow(
    clippy::duplicated_attributes,
    reason = "each column of a table has a type, and many have the same"
)]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Time;

/// Default of `spec.gracePeriod`.
pub const DEFAULT_GRACE_PERIOD: &str = "10m";

/// The longest time that the API server reads as it is written, 2^63 ns: a longer one becomes any other, also one below zero.
pub const LONGEST_TIME: &str = "2562047h";

fn grace_period() -> String {
    DEFAULT_GRACE_PERIOD.into()
}

/// What happens to a request that the policy does not allow: `enforce` (default) refuses it, `audit` warns and counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Enforcement {
    /// Refuse.
    #[default]
    Enforce,
    /// Warn.
    Audit,
}

/// Whether something is allowed: `allow` (default) or `deny`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Access {
    /// It is.
    #[default]
    Allow,
    /// It is not.
    Deny,
}

/// Namespaces by their labels, as everywhere in Kubernetes: all that is said has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Labels and the values that they must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements of single labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub match_expressions: Vec<LabelRequirement>,
}

/// What one label must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
    "message": "values: In and NotIn take at least one, Exists and DoesNotExist none"
}]))]
pub struct LabelRequirement {
    /// The label.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    #[schemars(extend("enum" = ["In", "NotIn", "Exists", "DoesNotExist"]))]
    pub operator: String,
    /// For `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub values: Vec<String>,
}

/// What Tokens of the selected namespaces may ask for. Where policies that are enforced select a namespace, one of them has to allow
/// the request; where none does, the operator's `--default-policy` decides. What is left out is not limited.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "github.as-code.io",
    version = "v1",
    kind = "TokenPolicy",
    status = "TokenPolicyStatus",
    shortname = "ghtp",
    category = "github",
    doc = "A TokenPolicy says what the Tokens of some namespaces may ask for.",
    printcolumn(name = "Enforcement", type_ = "string", json_path = ".spec.enforcement"),
    printcolumn(name = "Tokens", type_ = "integer", json_path = ".status.selectedTokens"),
    printcolumn(name = "Last refusal", type_ = "date", json_path = ".status.lastRefusal.at"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct TokenPolicySpec {
    /// The namespaces that the policy is about, by their labels: of a Token its own, of a ClusterToken its Secret's. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<NamespaceSelector>,
    /// What happens to what is not allowed: `enforce` refuses it, `audit` warns and counts. A policy that only audits allows nothing
    /// either: where the operator's `--default-policy` is `deny`, one that is enforced has to.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// The Apps: NAMESPACE/NAME with `*` and `?`, and `operator` for the App of the operator's own configuration. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 507)))]
    pub apps: Option<Vec<String>>,
    /// The installation IDs; 0 stands for a Token that names none, and so uses its App's own. A Token that names an `owner` says no
    /// ID, and is not allowed where this is set. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), inner(range(min = 0)))]
    pub installations: Option<Vec<i64>>,
    /// The repositories: names with `*` and `?`. A Token that names none asks for all: `*` alone allows that, and IDs. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 500), inner(length(min = 1, max = 100)))]
    pub repositories: Option<Vec<String>>,
    /// The most of each permission: name -> read, write or admin; the name `*` stands for all others. A Token that names none
    /// asks for everything, which a limit does not allow. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 128))]
    pub permissions: Option<BTreeMap<String, String>>,
    /// Permissions that reach a whole organization or enterprise. `deny` refuses those that this version does not know, too: they may
    /// be such.
    #[serde(default)]
    pub organization_permissions: Access,
    /// Whether a Token has to name its permissions and its repositories. Default: false.
    #[serde(default)]
    pub require_scope: bool,
    /// The longest `refreshInterval`: how long a token may be used. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "duration"))]
    #[x_kube(validation = Rule::new("self >= duration('1m')").message(format!("maxRefreshInterval must be at least 1m, the shortest interval of a Token, and at most {LONGEST_TIME}").as_str()))]
    pub max_refresh_interval: Option<String>,
    /// How long the Secret of a Token stays that a later policy forbids; of several policies, the longest counts.
    #[serde(default = "grace_period")]
    #[schemars(extend("format" = "duration"))]
    #[x_kube(validation = Rule::new("self >= duration('0s')").message(format!("gracePeriod must not be negative, and at most {LONGEST_TIME}").as_str()))]
    pub grace_period: String,
}

/// What was last observed of a TokenPolicy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenPolicyStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The number of Tokens and ClusterTokens in the selected namespaces.
    #[schemars(range(min = 0))]
    pub selected_tokens: i64,
    /// The number of those that the policy itself does not allow.
    #[schemars(range(min = 0))]
    pub violations: i64,
    /// The last request that was refused, or would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_refusal: Option<Refusal>,
}

/// A request that a policy did not allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// When it was refused.
    pub at: Time,
    /// Whose it was: the kind, and the name with its namespace.
    #[schemars(length(max = 600))]
    pub token: String,
    /// Why it was refused.
    #[schemars(length(max = 2048))]
    pub message: String,
}
