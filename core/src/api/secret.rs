//! `spec.secret`: where the token goes and in which form.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Form of the Secret: `token` (default: key `token`), `basicAuth` (`username`, `password`), `gitCredentials`
/// (`.git-credentials`), `gitConfig` (`.gitconfig`), `netrc` (`.netrc`), `dockerConfigJson`, `argoCDRepoCreds`,
/// `githubProviderJson` (`credentials`), or `template` (keys of your own).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Format {
    /// Key `token`.
    #[default]
    Token,
    /// Keys `username` and `password`, as Flux reads them.
    BasicAuth,
    /// Key `.git-credentials`, as `git credential-store` reads it.
    GitCredentials,
    /// Key `.gitconfig` that sends the token to the host.
    GitConfig,
    /// Key `.netrc`, as curl, Go and pip read it.
    Netrc,
    /// Key `.dockerconfigjson` for GitHub's container registry.
    DockerConfigJson,
    /// Credentials template of Argo CD for every repository of the host.
    #[serde(rename = "argoCDRepoCreds")]
    ArgoCdRepoCreds,
    /// Key `credentials`: JSON as Crossplane's and Terraform's GitHub providers read it.
    GithubProviderJson,
    /// Own keys, from `spec.secret.template`.
    Template,
}

impl Format {
    /// Every form.
    pub const ALL: [Format; 9] = [
        Format::Token,
        Format::BasicAuth,
        Format::GitCredentials,
        Format::GitConfig,
        Format::Netrc,
        Format::DockerConfigJson,
        Format::ArgoCdRepoCreds,
        Format::GithubProviderJson,
        Format::Template,
    ];

    /// The name as it stands in a manifest.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Token => "token",
            Format::BasicAuth => "basicAuth",
            Format::GitCredentials => "gitCredentials",
            Format::GitConfig => "gitConfig",
            Format::Netrc => "netrc",
            Format::DockerConfigJson => "dockerConfigJson",
            Format::ArgoCdRepoCreds => "argoCDRepoCreds",
            Format::GithubProviderJson => "githubProviderJson",
            Format::Template => "template",
        }
    }
}

/// The Secret that a Token keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.basicAuth) && self.basicAuth && has(self.format) && self.format != 'basicAuth')")
        .message("basicAuth: true is the old spelling of format: basicAuth; remove one of the two"),
    validation = Rule::new("(has(self.format) && self.format == 'template') == has(self.template)")
        .message("template must be set if and only if format is 'template'")
)]
pub struct SecretSpec {
    /// Name of the Secret. Default: the name of the Token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub name: Option<String>,
    /// Extra labels of the Secret. Labels of `app.kubernetes.io/` that the operator sets win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Extra annotations of the Secret. Annotations of `github.as-code.io/` are the operator's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Write `username` and `password` instead of `token`. Old spelling of `format: basicAuth`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<bool>,
    // Its description in the schema is the one of the enum.
    /// Form of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Keys and texts of the Secret for `format: template`. `{{ .token }}`, `{{ .username }}`, `{{ .basicAuth }}` (base64 of
    /// username:token), `{{ .host }}`, `{{ .url }}`, `{{ .apiURL }}` and `{{ .expiresAt }}` are filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 64))]
    pub template: Option<BTreeMap<String, String>>,
    /// Texts beside the token, in the order in which later ones win; the keys of the format stay the token's. Of ConfigMaps and
    /// Secrets nothing is copied: such an entry is kept, and warned about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub extra_data: Vec<ExtraData>,
}

/// One source of texts, as isometry/github-token-manager has it (`api/v1/secretdatasource.go`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExtraData {
    /// Keys and texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 16))]
    pub inline: Option<BTreeMap<String, String>>,
    /// Kept, and not acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ExtraDataRef>,
    /// Kept, and not acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<ExtraDataRef>,
}

/// A ConfigMap or Secret that [`ExtraData`] names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExtraDataRef {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its namespace, for a ClusterToken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub namespace: Option<String>,
    /// The keys that are meant. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253)))]
    pub keys: Vec<String>,
    /// Whether it may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}

/// The Secret that a ClusterToken keeps. The rules of [`SecretSpec`] hold for it, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSecretSpec {
    /// Namespace of the Secret. It must exist.
    #[schemars(length(min = 1, max = 253))]
    pub namespace: String,
    /// The Secret itself.
    #[serde(flatten)]
    pub secret: SecretSpec,
}
