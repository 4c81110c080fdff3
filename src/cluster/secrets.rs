//! Managed Secrets.

use std::collections::BTreeMap;
use std::fmt::Debug;

use hyper::header::{ACCEPT, HeaderValue};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, DeleteParams, GetParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Request;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use crate::api::names::{FINALIZER, MANAGER, annotation};
use crate::domain::intent::SecretKey;
use crate::domain::secret::{Rendered, own_labels};

use super::altered::unaltered;
use super::{ClusterError, Metadata, OwnerRef};

use finalizer::with_ours;

mod finalizer;

/// An answer of metadata alone.
const METADATA: HeaderValue = HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");

/// A Secret as it is to be, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct SecretDraft<'a> {
    /// Where.
    pub key: &'a SecretKey,
    /// Whose.
    pub owner: &'a OwnerRef,
    /// What.
    pub rendered: &'a Rendered,
}

/// A managed Secret that was read whole. `Debug` shows no values.
pub struct Held {
    secret: Secret,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

impl Held {
    /// Its metadata.
    #[must_use]
    pub fn metadata(&self) -> &ObjectMeta {
        &self.secret.metadata
    }

    /// Whether it is being deleted.
    #[must_use]
    pub fn is_going(&self) -> bool {
        self.secret.metadata.deletion_timestamp.is_some()
    }

    /// Whether it can come to hold what is of this type: neither a type nor an immutable Secret can be changed.
    #[must_use]
    pub fn takes(&self, kind: &str) -> bool {
        self.secret.type_.as_deref() == Some(kind) && self.secret.immutable != Some(true)
    }

    /// Its keys and values.
    #[must_use]
    pub fn data(&self) -> BTreeMap<String, Vec<u8>> {
        let data = self.secret.data.iter().flatten();
        data.map(|(key, value)| (key.clone(), value.0.clone())).collect()
    }

    /// Changes its labels and annotations.
    pub fn dress(&mut self, change: impl FnOnce(&mut BTreeMap<String, String>, &mut BTreeMap<String, String>)) {
        let metadata = &mut self.secret.metadata;
        change(
            metadata.labels.get_or_insert_default(),
            metadata.annotations.get_or_insert_default(),
        );
    }

    /// Puts keys and values into it. Others stay if `beside` says so.
    pub fn fill(&mut self, data: &BTreeMap<String, SecretString>, beside: bool) {
        let held = self.secret.data.get_or_insert_default();
        if !beside {
            held.clear();
        }
        held.extend(bytes(data));
    }
}

/// The Secrets of the cluster. Every write names the UID and resource version that it is meant for, so that no write lands on a
/// Secret that has become another one.
#[derive(Clone)]
pub struct Secrets {
    client: Client,
}

impl Secrets {
    /// Over this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Secrets { client }
    }

    fn api(&self, key: &SecretKey) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    fn metadata(&self, key: &SecretKey) -> Api<Metadata> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    /// The metadata of whatever stands there: the only part of a foreign Secret that is ever read.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn look(&self, key: &SecretKey) -> Result<Option<Metadata>, ClusterError> {
        Ok(self.metadata(key).get_opt(&key.name).await?)
    }

    /// The same from the API server's memory, which may be a moment behind but costs it a fraction: enough where the write that
    /// follows names what it expects to find.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn glance(&self, key: &SecretKey) -> Result<Option<Metadata>, ClusterError> {
        let (api, cached) = (self.api(key), GetParams::any());
        let found = api.get_metadata_opt_with(&key.name, &cached).await?;
        Ok(found.map(|found| found.metadata.into()))
    }

    /// Whether the Secret's namespace is being deleted, or gone. `false` if that cannot be found out.
    pub async fn namespace_ends(&self, key: &SecretKey) -> bool {
        let found = self.namespace(&key.namespace).await;
        found.is_ok_and(|found| found.is_none_or(|found| found.deletion_timestamp.is_some()))
    }

    async fn namespace(&self, name: &str) -> Result<Option<ObjectMeta>, kube::Error> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        Ok(namespaces.get_metadata_opt(name).await?.map(|found| found.metadata))
    }

    /// Reads a managed Secret whole.
    ///
    /// # Errors
    /// [`ClusterError::Conflict`] if it has another UID by now.
    pub async fn read(&self, key: &SecretKey, uid: &str) -> Result<Held, ClusterError> {
        let secret = self.api(key).get(&key.name).await?;
        if secret.metadata.uid.as_deref() != Some(uid) {
            return Err(ClusterError::Conflict);
        }
        Ok(Held { secret })
    }

    /// Creates the Secret. Not by server-side apply: that would merge into a foreign Secret which came in between.
    ///
    /// # Errors
    /// [`ClusterError::Exists`] if something is there already.
    pub async fn create(&self, draft: SecretDraft<'_>) -> Result<Metadata, ClusterError> {
        self.post(draft, false).await
    }

    /// Whether the API server would let the Secret be created where it stands already. Validation and admission come before the look
    /// at what is there.
    ///
    /// # Errors
    /// Why it would not.
    pub async fn rehearse(&self, draft: SecretDraft<'_>) -> Result<(), ClusterError> {
        match self.post(draft, true).await {
            Ok(_) | Err(ClusterError::Exists) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn post(&self, draft: SecretDraft<'_>, dry_run: bool) -> Result<Metadata, ClusterError> {
        let secret = self.build(draft);
        let params = PostParams {
            dry_run,
            field_manager: Some(MANAGER.to_owned()),
        };
        let body = serde_json::to_vec(&secret).map_err(kube::Error::SerdeError)?;
        let request = Request::new(self.api(draft.key).resource_url()).create(&params, body);
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        // The answer need not say what is in the Secret.
        request.headers_mut().insert(ACCEPT, METADATA);
        unaltered(&secret.metadata, self.client.request(request).await?)
    }

    /// Puts a new token into the Secret, which we hold: its keys, annotations and labels; whatever others added stays.
    ///
    /// # Errors
    /// [`ClusterError::Conflict`] if the Secret has changed since `uid` and `version` were seen.
    pub async fn refill(&self, draft: SecretDraft<'_>, uid: &str, version: &str) -> Result<Metadata, ClusterError> {
        let mut secret = self.build(draft);
        secret.type_ = None;
        secret.metadata.name = None;
        secret.metadata.namespace = None;
        secret.metadata.owner_references = None;
        secret.metadata.finalizers = None;
        secret.metadata.uid = Some(uid.to_owned());
        secret.metadata.resource_version = Some(version.to_owned());
        let sent = secret.metadata.clone();
        unaltered(&sent, self.patch(draft.key, secret).await?)
    }

    /// Writes a Secret that was read, and then changed here. What makes it `owner`'s comes back if it has lost that; after
    /// `gtm release` an operator may go on all the same, and holds again what it writes to.
    ///
    /// # Errors
    /// [`ClusterError::Conflict`] if the Secret has changed since it was read.
    pub async fn replace(&self, key: &SecretKey, held: Held, owner: &OwnerRef) -> Result<Metadata, ClusterError> {
        let mut secret = held.secret;
        secret.metadata.finalizers = Some(with_ours(&secret.metadata));
        secret
            .metadata
            .annotations
            .get_or_insert_default()
            .remove(annotation::RELEASED);
        owner.control(secret.metadata.owner_references.get_or_insert_default());
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let written = self.api(key).replace(&key.name, &params, &secret).await?;
        unaltered(&secret.metadata, written.metadata.into())
    }

    /// Puts back what a Secret is found by, for one that has lost its labels or its owner: nobody would hear of its end.
    ///
    /// # Errors
    /// [`ClusterError::Conflict`] if it has changed since `meta` was read.
    pub async fn reclaim(
        &self,
        key: &SecretKey,
        meta: &ObjectMeta,
        owner: &OwnerRef,
    ) -> Result<Metadata, ClusterError> {
        let mut owners = meta.owner_references.clone().unwrap_or_default();
        owner.control(&mut owners);
        let sent = ObjectMeta {
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            labels: Some(own_labels(&owner.key)),
            owner_references: Some(owners),
            ..ObjectMeta::default()
        };
        let patch = serde_json::json!({"metadata": sent});
        unaltered(&sent, self.patch(key, patch).await?)
    }

    async fn patch(&self, key: &SecretKey, patch: impl Debug + Serialize) -> Result<Metadata, kube::Error> {
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.metadata(key)
            .patch(&key.name, &params, &Patch::Merge(&patch))
            .await
    }

    /// Deletes a Secret of this UID, and waits for nothing.
    ///
    /// # Errors
    /// [`ClusterError`]; a Secret that is gone already is none.
    pub async fn delete(&self, key: &SecretKey, uid: &str) -> Result<(), ClusterError> {
        let preconditions = Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        };
        let params = DeleteParams::default().preconditions(preconditions);
        gone_is_fine(self.api(key).delete(&key.name, &params).await.map(drop))
    }

    fn build(&self, draft: SecretDraft<'_>) -> Secret {
        Secret {
            metadata: ObjectMeta {
                name: Some(draft.key.name.to_string()),
                namespace: Some(draft.key.namespace.to_string()),
                labels: Some(draft.rendered.labels.clone()),
                annotations: Some(draft.rendered.annotations.clone()),
                owner_references: Some(vec![draft.owner.reference()]),
                finalizers: Some(vec![FINALIZER.to_owned()]),
                ..ObjectMeta::default()
            },
            type_: Some(draft.rendered.kind.to_owned()),
            data: Some(bytes(&draft.rendered.data).collect()),
            ..Secret::default()
        }
    }
}

fn bytes(data: &BTreeMap<String, SecretString>) -> impl Iterator<Item = (String, ByteString)> {
    let bytes = |value: &SecretString| ByteString(value.expose_secret().as_bytes().to_vec());
    data.iter().map(move |(key, value)| (key.clone(), bytes(value)))
}

fn gone_is_fine(result: Result<(), kube::Error>) -> Result<(), ClusterError> {
    match result.map_err(ClusterError::from) {
        Err(ClusterError::Missing) => Ok(()),
        other => other,
    }
}
