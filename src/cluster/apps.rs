//! App objects, and the Secrets that hold their keys.

use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize as _;
use serde_json::Value;

use crate::api::names::{MANAGER, label, secret_type};
use crate::api::{App, AppStatus, DEFAULT_KEY};
use crate::domain::Problem;
use crate::domain::intent::{SecretKey, unreadable};

use super::served::is_served;
use super::status::{Seen, replace};
use super::tokens::api_version;
use super::watch::{bare, heard};
use super::{ClusterError, Scope};

/// An App object as it was last seen.
#[derive(Clone, Debug)]
pub struct AppObject {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its resource version.
    pub resource_version: String,
    /// The generation of its spec.
    pub generation: i64,
    /// The object without its status, or why it cannot be read.
    pub read: Result<Arc<App>, Problem>,
    /// Its status; that of a newer version may be none.
    pub status: Option<AppStatus>,
}

impl AppObject {
    /// What an object says that is an App, or should be.
    #[must_use]
    pub fn new(mut object: DynamicObject) -> Self {
        let status = object.data.get_mut("status").map(Value::take);
        let read = serde_json::to_value(&object).unwrap_or_default();
        let parsed = App::deserialize(&read);
        AppObject {
            status: status.and_then(|status| serde_json::from_value(status).ok()),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            resource_version: object.resource_version().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or_default(),
            read: parsed.map(Arc::new).map_err(|error| unreadable("App", &read, &error)),
        }
    }

    /// The object, for an Event.
    #[must_use]
    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some(api_version()),
            kind: Some("App".to_owned()),
            namespace: Some(self.namespace.clone()),
            name: Some(self.name.clone()),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        }
    }
}

/// A change of the App objects.
#[derive(Debug)]
pub enum AppChange {
    /// One was added or changed.
    Put(Box<AppObject>),
    /// One is gone.
    Gone(Box<AppObject>),
    /// All are about to be listed.
    Restart,
    /// All have been listed.
    Listed,
    /// The watch failed; it is taken up again by itself.
    Failed(ClusterError),
}

/// [`ClusterError::Unserved`] only where the API server says that the kind is not served: no App is known then.
async fn failure(client: &Client, error: ClusterError) -> ClusterError {
    match error {
        ClusterError::Unserved if is_served(client, "App").await != Ok(false) => {
            ClusterError::Unavailable(error.to_string())
        }
        error => error,
    }
}

/// The App objects of the cluster.
#[derive(Clone)]
pub struct AppObjects {
    client: Client,
}

impl AppObjects {
    /// Over this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        AppObjects { client }
    }

    /// One of them as it is now.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn get(&self, namespace: &str, name: &str) -> Result<Option<AppObject>, ClusterError> {
        let kind = ApiResource::erase::<App>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind);
        Ok(api.get_opt(name).await?.map(AppObject::new))
    }

    /// Makes a Secret of an App's private key, as provider `secret` reads it; one that is there is never written to. `dry_run`: the API
    /// server says what it would, and makes nothing.
    ///
    /// # Errors
    /// [`ClusterError::Exists`] for one that is there; any other [`ClusterError`].
    pub async fn create_key(&self, key: &SecretKey, pem: &SecretString, dry_run: bool) -> Result<(), ClusterError> {
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(key.name.to_string()),
                labels: Some([(label::PART_OF.to_owned(), MANAGER.to_owned())].into()),
                ..ObjectMeta::default()
            },
            type_: Some(secret_type::OPAQUE.to_owned()),
            data: Some([(DEFAULT_KEY.to_owned(), ByteString(pem.expose_secret().into()))].into()),
            ..Secret::default()
        };
        let params = PostParams {
            dry_run,
            field_manager: Some(MANAGER.to_owned()),
        };
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        secrets.create(&params, &secret).await?;
        Ok(())
    }

    /// What happens to them.
    pub fn watch(&self, scope: &Scope) -> impl Stream<Item = AppChange> + Send + use<> {
        let kind = ApiResource::erase::<App>(&());
        let api = |namespace: Option<&str>| match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &kind),
            None => Api::all_with(self.client.clone(), &kind),
        };
        let events = scope.watch(api, &watcher::Config::default(), bare);
        let client = self.client.clone();
        events.then(move |event| {
            let client = client.clone();
            async move {
                match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => {
                        AppChange::Put(Box::new(AppObject::new(object)))
                    }
                    Ok(Event::Delete(object)) => AppChange::Gone(Box::new(AppObject::new(object))),
                    Ok(Event::Init) => AppChange::Restart,
                    Ok(Event::InitDone) => AppChange::Listed,
                    Err(error) => AppChange::Failed(failure(&client, error.into()).await),
                }
            }
        })
    }

    /// Makes the status what `status` says.
    ///
    /// # Errors
    /// [`ClusterError::Conflict`] if an object of the same name came after; any other [`ClusterError`].
    pub async fn replace_status(&self, object: &AppObject, status: &AppStatus) -> Result<(), ClusterError> {
        let kind = ApiResource::erase::<App>(&());
        // Whatever else is in the object that comes back is not read.
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &object.namespace, &kind);
        let seen = Seen {
            name: &object.name,
            namespace: Some(&object.namespace),
            uid: &object.uid,
            resource_version: &object.resource_version,
        };
        replace(&api, &kind, seen, status).await?;
        Ok(())
    }

    /// Changes of one Secret; its metadata is all that is watched.
    #[must_use]
    pub fn secret_changes(&self, namespace: &str, name: &str) -> BoxStream<'static, ()> {
        let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(self.client.clone(), namespace);
        let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
        heard(secrets, only)
    }
}
