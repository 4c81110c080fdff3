//! Our finalizer on managed Secrets: without it, a Secret goes before its token is revoked; with it, it waits for us.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams, ObjectMeta};
use serde_json::json;

use crate::api::Time;
use crate::api::names::{FINALIZER, annotation};
use crate::cluster::{ClusterError, Scope};
use crate::domain::intent::SecretKey;

use super::super::watch::managed;
use super::{Secrets, gone_is_fine};

impl Secrets {
    /// Takes hold again of a Secret that has lost our finalizer: without it, it would go before its token is revoked. Whether it had.
    ///
    /// # Errors
    /// [`ClusterError::Conflict`] if it has changed meanwhile; one that is gone, or going, is none.
    pub async fn hold(&self, key: &SecretKey, uid: &str) -> Result<bool, ClusterError> {
        let found = self.look(key).await?.map(|found| found.metadata);
        let lost =
            |meta: &ObjectMeta| meta.uid.as_deref() == Some(uid) && meta.deletion_timestamp.is_none() && !is_held(meta);
        let Some(meta) = found.filter(lost) else {
            return Ok(false);
        };
        let patch = json!({"metadata": {
            "uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": with_ours(&meta),
            "annotations": {annotation::RELEASED: null}}});
        gone_is_fine(self.patch(key, patch).await.map(drop))?;
        Ok(true)
    }

    /// Lets go of a Secret. `at`: of one that stays, this is when, for an operator that goes on all the same.
    ///
    /// # Errors
    /// [`ClusterError`]; a Secret that is gone already is none.
    pub async fn release(&self, key: &SecretKey, meta: &ObjectMeta, at: Option<Time>) -> Result<(), ClusterError> {
        let others: Vec<&String> = meta
            .finalizers
            .iter()
            .flatten()
            .filter(|name| *name != FINALIZER)
            .collect();
        let mut patch = json!({"metadata": {
            "uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": others}});
        if let Some(at) = at {
            patch["metadata"]["annotations"] = json!({annotation::RELEASED: at.to_string()});
        }
        gone_is_fine(self.patch(key, patch).await.map(drop))
    }

    /// Lets go of what stands there, if it is still the Secret of this UID. Whether it was.
    ///
    /// # Errors
    /// [`ClusterError`]
    pub async fn let_go(&self, key: &SecretKey, uid: &str) -> Result<bool, ClusterError> {
        match self.look(key).await? {
            Some(meta) if meta.metadata.uid.as_deref() == Some(uid) => {
                self.release(key, &meta.metadata, None).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// The managed Secrets that have our finalizer, of each namespace or of all at once (`None`). A namespace that does not exist has none.
    pub async fn held(
        &self,
        scope: &Scope,
    ) -> Vec<(Option<String>, Result<Vec<(SecretKey, ObjectMeta)>, ClusterError>)> {
        let params = ListParams::default().labels(&managed(scope));
        let mut all = Vec::new();
        for place in scope.places() {
            let api: Api<Secret> = match place {
                Some(namespace) => Api::namespaced(self.client.clone(), namespace),
                None => Api::all(self.client.clone()),
            };
            let held = match api.list_metadata(&params).await {
                Ok(found) => {
                    let metadata = found.items.into_iter().map(|found| found.metadata).filter(is_held);
                    Ok(metadata
                        .map(|metadata| (SecretKey::from(&metadata), metadata))
                        .collect())
                }
                // A Role goes with its namespace.
                Err(_) if self.is_gone(place).await => continue,
                Err(error) => Err(error.into()),
            };
            all.push((place.map(str::to_owned), held));
        }
        all
    }

    /// Whether there is no such namespace. `false` if that cannot be found out.
    async fn is_gone(&self, namespace: Option<&str>) -> bool {
        let Some(namespace) = namespace else { return false };
        matches!(self.namespace(namespace).await, Ok(None))
    }
}

fn is_held(metadata: &ObjectMeta) -> bool {
    metadata.finalizers.iter().flatten().any(|name| name == FINALIZER)
}

/// Its finalizers, ours among them.
pub(super) fn with_ours(metadata: &ObjectMeta) -> Vec<String> {
    let mut all = metadata.finalizers.clone().unwrap_or_default();
    if !is_held(metadata) {
        all.push(FINALIZER.to_owned());
    }
    all
}
