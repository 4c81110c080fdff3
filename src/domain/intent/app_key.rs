//! Which App a token comes from.

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
