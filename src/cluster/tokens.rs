//! Tokens and ClusterTokens, read leniently: one object that cannot be parsed must not stall the watch of all.

use std::sync::Arc;

use kube::api::{Api, DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::names::annotation;
use crate::api::{ClusterToken, Token, TokenStatus};
use crate::domain::Problem;
use crate::domain::intent::{Intent, Key, Kind, TokenObject, unreadable};

use super::packed::Packed;
use super::served::is_served;
use super::status::{Seen, replace};
use super::wire::RawToken;
use super::{ClusterError, OwnerRef, Scope};

/// Objects that are asked for at once.
const PAGE: u32 = 500;

/// A Token or ClusterToken as it was last seen: small, since all of them are kept.
#[derive(Clone, Debug)]
pub struct TokenRecord {
    /// Which object.
    pub key: Arc<Key>,
    /// Its UID.
    pub uid: Arc<str>,
    /// The generation of its spec.
    pub generation: i64,
    /// Its resource version, for telling old from new.
    pub resource_version: Box<str>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// The object as JSON, without the parts that nobody here reads, and without those that are above.
    rest: Packed,
}

impl TokenRecord {
    /// Takes what is needed of a watched object. `None` if it has no name or UID, which the API server never lets happen.
    #[must_use]
    pub fn new(kind: Kind, mut object: RawToken) -> Option<Self> {
        let meta = std::mem::take(&mut object.metadata);
        let mut annotations = meta.annotations;
        if let Some(annotations) = &mut annotations {
            annotations.retain(|name, _| name.starts_with(annotation::PREFIX));
        }
        object.metadata.annotations = annotations.filter(|annotations| !annotations.is_empty());
        Some(TokenRecord {
            key: Arc::new(Key {
                kind,
                namespace: meta.namespace.as_deref().map(Into::into),
                name: meta.name.as_deref()?.into(),
            }),
            uid: meta.uid.as_deref()?.into(),
            generation: meta.generation.unwrap_or_default(),
            resource_version: meta.resource_version.as_deref().unwrap_or_default().into(),
            deleting: meta.deletion_timestamp.is_some(),
            rest: Packed::new(&serde_json::to_vec(&object).ok()?),
        })
    }

    /// The intent, or why there is none; and the status that was last written.
    pub fn read(&self) -> (Result<Intent, Problem>, TokenStatus) {
        match self.key.kind {
            Kind::Token => self.read_as::<Token>(),
            Kind::ClusterToken => self.read_as::<ClusterToken>(),
        }
    }

    fn read_as<T: TokenObject + DeserializeOwned>(&self) -> (Result<Intent, Problem>, TokenStatus) {
        let text = self.rest.text();
        if let Ok(mut object) = serde_json::from_slice::<T>(&text) {
            let intent = self.intent(&mut object);
            return (intent, object.into_status().unwrap_or_default());
        }
        // The spec is not to blame for a status that cannot be read, as where the kinds were stored without their rules: such a status is
        // none, and is written anew.
        let mut object: Value = serde_json::from_slice(&text).unwrap_or_default();
        let status = object.as_object_mut().and_then(|fields| fields.remove("status"));
        let status = status.and_then(|status| serde_json::from_value(status).ok());
        let intent = match T::deserialize(&object) {
            Ok(mut read) => self.intent(&mut read),
            Err(error) => Err(unreadable(&T::kind(&()), &object, &error)),
        };
        (intent, status.unwrap_or_default())
    }

    /// What the object asks for, which lacks what is kept beside it.
    fn intent<T: TokenObject>(&self, object: &mut T) -> Result<Intent, Problem> {
        let meta = object.meta_mut();
        meta.name = Some(self.key.name.to_string());
        meta.namespace = self.key.namespace.as_deref().map(str::to_owned);
        meta.uid = Some(self.uid.to_string());
        meta.generation = Some(self.generation);
        Intent::new(object)
    }

    /// This object as the owner of its Secret.
    #[must_use]
    pub fn reference(&self) -> OwnerRef {
        OwnerRef {
            key: self.key.clone(),
            uid: self.uid.clone(),
        }
    }
}

/// Tokens and ClusterTokens of the cluster.
#[derive(Clone)]
pub struct Tokens {
    client: Client,
    scope: Scope,
}

impl Tokens {
    /// Over this client; what is not in `scope` is not asked for, and does not exist.
    #[must_use]
    pub fn new(client: Client, scope: Scope) -> Self {
        Tokens { client, scope }
    }

    /// The objects of one kind as JSON: of a namespace, or all.
    #[must_use]
    pub fn of(&self, kind: Kind, namespace: Option<&str>) -> Api<RawToken> {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource(kind)),
            None => Api::all_with(self.client.clone(), &resource(kind)),
        }
    }

    fn one(&self, key: &Key) -> Api<RawToken> {
        self.of(key.kind, key.namespace.as_deref())
    }

    /// Makes the status what `status` says. `seen`: the resource version that the object had when the status was decided.
    ///
    /// # Errors
    /// [`ClusterError::Conflict`] if an object of the same name came after; any other [`ClusterError`].
    pub async fn replace_status(
        &self,
        key: &Key,
        uid: &str,
        seen: &str,
        status: &TokenStatus,
    ) -> Result<Option<TokenRecord>, ClusterError> {
        let seen = Seen {
            name: &key.name,
            namespace: key.namespace.as_deref(),
            uid,
            resource_version: seen,
        };
        let object = replace(&self.one(key), &resource(key.kind), seen, status).await?;
        Ok(TokenRecord::new(key.kind, object))
    }

    /// The object as it is now: asked of the API server, not of a cache.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn get(&self, key: &Key) -> Result<Option<TokenRecord>, ClusterError> {
        if !self.scope.has(key.namespace.as_deref()) {
            return Ok(None);
        }
        let found = self.one(key).get_opt(&key.name).await?;
        Ok(found.and_then(|object| TokenRecord::new(key.kind, object)))
    }

    /// All objects of a kind, of a namespace or of the cluster, as they are now.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn list(&self, kind: Kind, namespace: Option<&str>) -> Result<Vec<TokenRecord>, ClusterError> {
        let api = self.of(kind, namespace);
        let mut params = ListParams::default().limit(PAGE);
        let mut found = Vec::new();
        loop {
            let page = api.list(&params).await?;
            params.continue_token = page.metadata.continue_.filter(|more| !more.is_empty());
            found.extend(
                page.items
                    .into_iter()
                    .filter_map(|object| TokenRecord::new(kind, object)),
            );
            if params.continue_token.is_none() {
                return Ok(found);
            }
        }
    }

    /// Whether an App exists: `None` if that cannot be found out.
    pub async fn app_exists(&self, namespace: &str, name: &str) -> Option<bool> {
        let kind = ApiResource {
            plural: "apps".to_owned(),
            kind: "App".to_owned(),
            ..resource(Kind::Token)
        };
        let apps: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind);
        match apps.get_metadata_opt(name).await.map_err(ClusterError::from) {
            Ok(found) => Some(found.is_some()),
            // A cluster that does not know the kind has no App.
            Err(ClusterError::Unserved) => is_served(&self.client, "App").await.ok().filter(|served| !served),
            Err(_) => None,
        }
    }

    /// Whether the object with this UID exists: asked of the API server, not of a cache. With its kind, each is gone.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn exists(&self, key: &Key, uid: &str) -> Result<bool, ClusterError> {
        let found = self.one(key).get_metadata_opt(&key.name).await;
        let found = match found.map_err(ClusterError::from) {
            Err(ClusterError::Unserved) if !is_served(&self.client, key.kind.as_str()).await? => None,
            found => found?,
        };
        Ok(found.is_some_and(|object| {
            object.metadata.uid.as_deref() == Some(uid) && object.metadata.deletion_timestamp.is_none()
        }))
    }
}

fn resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::Token => ApiResource::erase::<Token>(&()),
        Kind::ClusterToken => ApiResource::erase::<ClusterToken>(&()),
    }
}

/// The API version of our kinds, as it stands in an owner reference.
#[must_use]
pub fn api_version() -> String {
    Token::api_version(&()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_cannot_be_read_is_none_and_its_spec_stays() {
        let status = |text: &str| {
            let token =
                format!(r#"{{"metadata":{{"name":"t","namespace":"n","uid":"u"}},"spec":{{}},"status":{text}}}"#);
            let record = TokenRecord::new(Kind::Token, serde_json::from_str(&token).unwrap()).unwrap();
            let (intent, status) = record.read();
            assert!(intent.is_ok(), "{text}: {intent:?}");
            status
        };
        for unreadable in [
            "7",
            r#"{"conditions":[{"type":"Ready"}]}"#,
            r#"{"installationAccessToken":"x"}"#,
        ] {
            assert_eq!(status(unreadable), TokenStatus::default(), "{unreadable}");
        }
        let newer = r#"{"hashedToken":"h","unknown":[1]}"#;
        assert_eq!(status(newer).hashed_token.as_deref(), Some("h"));
    }
}
