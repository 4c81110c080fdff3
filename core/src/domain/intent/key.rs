//! Names: of a Token, of its Secret, of its App.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Which of the two kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Namespaced.
    Token,
    /// Cluster-scoped.
    ClusterToken,
}

impl Kind {
    /// The kind as it stands in a manifest and in the label `app.kubernetes.io/name`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Token => "Token",
            Kind::ClusterToken => "ClusterToken",
        }
    }
}

/// Names a Token or ClusterToken in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Which kind.
    pub kind: Kind,
    /// The namespace; `None` for a ClusterToken.
    pub namespace: Option<Box<str>>,
    /// The name.
    pub name: Box<str>,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind.as_str(), self.name),
            None => write!(f, "{} {}", self.kind.as_str(), self.name),
        }
    }
}

/// Names a Secret in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretKey {
    /// The namespace.
    pub namespace: Box<str>,
    /// The name.
    pub name: Box<str>,
}

impl std::fmt::Display for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Of a Secret's metadata.
impl From<&ObjectMeta> for SecretKey {
    fn from(meta: &ObjectMeta) -> Self {
        SecretKey {
            namespace: meta.namespace.as_deref().unwrap_or_default().into(),
            name: meta.name.as_deref().unwrap_or_default().into(),
        }
    }
}

/// The App that is to issue the token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AppKey {
    /// The one of the startup configuration.
    Startup,
    /// An App object.
    Object {
        /// Its namespace; `None`: the operator's own.
        namespace: Option<String>,
        /// Its name.
        name: String,
    },
}

impl AppKey {
    /// How an App object stands in an annotation: NAMESPACE/NAME, and /NAME for one of the operator's own namespace. The startup
    /// App has no name.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        match self {
            AppKey::Startup => None,
            AppKey::Object { namespace, name } => Some(format!("{}/{name}", namespace.as_deref().unwrap_or_default())),
        }
    }

    /// How it stands in policies and in metrics: NAMESPACE/NAME, and `operator` for the startup App.
    #[must_use]
    pub fn label(&self, own: &str) -> String {
        match self {
            AppKey::Startup => "operator".to_owned(),
            AppKey::Object { namespace, name } => format!("{}/{name}", namespace.as_deref().unwrap_or(own)),
        }
    }

    /// The App of this name beside it, in the same namespace; beside the startup App there is none.
    #[must_use]
    pub fn beside(&self, name: &str) -> Option<Self> {
        match self {
            AppKey::Startup => None,
            AppKey::Object { namespace, .. } => Some(AppKey::Object {
                namespace: namespace.clone(),
                name: name.to_owned(),
            }),
        }
    }

    /// The same with its namespace, where it has none: the operator's own.
    #[must_use]
    pub fn in_namespace(&self, own: &str) -> Self {
        match self {
            AppKey::Startup => AppKey::Startup,
            AppKey::Object { namespace, name } => AppKey::Object {
                namespace: Some(namespace.clone().unwrap_or_else(|| own.to_owned())),
                name: name.clone(),
            },
        }
    }

    /// The App object of this [`AppKey::name`].
    #[must_use]
    pub fn named(text: &str) -> Self {
        let (namespace, name) = text.split_once('/').unwrap_or(("", text));
        AppKey::Object {
            namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
            name: name.to_owned(),
        }
    }
}
