//! Token and ClusterToken, as far as they differ.

use kube::{Resource, ResourceExt};

use crate::api::{ClusterToken, SecretSpec, Token, TokenScope, TokenStatus};

use super::{AppKey, Kind};

/// What differs between the two kinds, stated once.
pub trait TokenObject: Resource<DynamicType = ()> {
    /// Which kind this is.
    const KIND: Kind;
    /// The App.
    fn app(&self) -> AppKey;
    /// The scope and the intervals.
    fn scope(&self) -> &TokenScope;
    /// The Secret's namespace, if the object has one to say.
    fn secret_namespace(&self) -> Option<String>;
    /// The Secret.
    fn secret(&self) -> &SecretSpec;
    /// The status that was last written.
    fn into_status(self) -> Option<TokenStatus>;
}

impl TokenObject for Token {
    const KIND: Kind = Kind::Token;

    fn app(&self) -> AppKey {
        self.spec
            .app_ref
            .as_ref()
            .map_or(AppKey::Startup, |app| AppKey::Object {
                namespace: self.namespace(),
                name: app.name.clone(),
            })
    }

    fn scope(&self) -> &TokenScope {
        &self.spec.scope
    }

    fn secret_namespace(&self) -> Option<String> {
        self.namespace()
    }

    fn secret(&self) -> &SecretSpec {
        &self.spec.secret
    }

    fn into_status(self) -> Option<TokenStatus> {
        self.status
    }
}

impl TokenObject for ClusterToken {
    const KIND: Kind = Kind::ClusterToken;

    fn app(&self) -> AppKey {
        self.spec
            .app_ref
            .as_ref()
            .map_or(AppKey::Startup, |app| AppKey::Object {
                namespace: app.namespace.clone(),
                name: app.name.clone(),
            })
    }

    fn scope(&self) -> &TokenScope {
        &self.spec.scope
    }

    fn secret_namespace(&self) -> Option<String> {
        Some(self.spec.secret.namespace.clone())
    }

    fn secret(&self) -> &SecretSpec {
        &self.spec.secret.secret
    }

    fn into_status(self) -> Option<TokenStatus> {
        self.status
    }
}
