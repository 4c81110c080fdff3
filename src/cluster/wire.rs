//! Objects as they come from the API server, read for what is needed of them: managed fields are half of an object's text and looked
//! at only where a Secret is read whole, and what is kept as text need not be taken apart.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use kube::core::{ApiResource, NamespaceResourceScope};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// A Token or ClusterToken, whose spec and status stay the text that they are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RawToken {
    /// Without managed fields.
    #[serde(default, deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spec: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<Box<RawValue>>,
}

/// The metadata of a Secret, of what is watched without managed fields; where this is asked for, the API server sends nothing else.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Metadata {
    /// The metadata.
    #[serde(default, deserialize_with = "slim")]
    pub metadata: ObjectMeta,
}

/// The fields of [`ObjectMeta`] that somebody here reads.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Slim {
    annotations: Option<BTreeMap<String, String>>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    name: Option<String>,
    namespace: Option<String>,
    owner_references: Option<Vec<OwnerReference>>,
    resource_version: Option<String>,
    uid: Option<String>,
}

fn slim<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let slim = Slim::deserialize(deserializer)?;
    Ok(ObjectMeta {
        annotations: slim.annotations,
        deletion_timestamp: slim.deletion_timestamp,
        finalizers: slim.finalizers,
        generation: slim.generation,
        labels: slim.labels,
        name: slim.name,
        namespace: slim.namespace,
        owner_references: slim.owner_references,
        resource_version: slim.resource_version,
        uid: slim.uid,
        ..ObjectMeta::default()
    })
}

impl From<ObjectMeta> for RawToken {
    fn from(metadata: ObjectMeta) -> Self {
        RawToken {
            metadata,
            ..RawToken::default()
        }
    }
}

impl From<ObjectMeta> for Metadata {
    fn from(metadata: ObjectMeta) -> Self {
        Metadata { metadata }
    }
}

impl Resource for RawToken {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }
    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }
    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }
    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Resource for Metadata {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn metadata_api() -> bool {
        true
    }
    fn kind((): &()) -> Cow<'_, str> {
        Secret::kind(&())
    }
    fn group((): &()) -> Cow<'_, str> {
        Secret::group(&())
    }
    fn version((): &()) -> Cow<'_, str> {
        Secret::version(&())
    }
    fn plural((): &()) -> Cow<'_, str> {
        Secret::plural(&())
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use kube::core::WatchEvent;

    use super::*;

    /// As the API server writes it.
    const EVENT: &str = r#"{"type":"MODIFIED","object":{"apiVersion":"github.as-code.io/v1","kind":"Token","metadata":{
        "name":"ci","namespace":"team","uid":"u","generation":3,"resourceVersion":"7","deletionTimestamp":"2026-01-01T00:00:00Z",
        "finalizers":["f"],"labels":{"l":"1"},"annotations":{"a":"2"},"creationTimestamp":"2026-01-01T00:00:00Z",
        "managedFields":[{"manager":"kubectl","fieldsV1":{"f:spec":{}}}]},
        "spec":{"permissions":{"contents":"read"},"unknown":[1,2]},"status":{"conditions":[]}}}"#;

    #[test]
    fn an_event_is_read_without_its_managed_fields_and_its_spec_stays_text() {
        let event: WatchEvent<RawToken> = serde_json::from_str(EVENT).unwrap();
        let WatchEvent::Modified(token) = event else {
            panic!("another event")
        };
        let meta = &token.metadata;
        assert_eq!(meta.name.as_deref(), Some("ci"));
        assert_eq!(meta.namespace.as_deref(), Some("team"));
        assert_eq!(meta.uid.as_deref(), Some("u"));
        assert_eq!(meta.generation, Some(3));
        assert_eq!(meta.resource_version.as_deref(), Some("7"));
        assert!(meta.deletion_timestamp.is_some());
        assert_eq!(meta.finalizers.as_deref(), Some(&["f".to_owned()][..]));
        assert_eq!(meta.labels.as_ref().unwrap().len(), 1);
        assert_eq!(meta.annotations.as_ref().unwrap().len(), 1);
        assert_eq!(meta.managed_fields, None);
        let spec = token.spec.unwrap();
        assert_eq!(spec.get(), r#"{"permissions":{"contents":"read"},"unknown":[1,2]}"#);
    }

    #[test]
    fn what_is_missing_or_null_is_not_there() {
        let token: RawToken = serde_json::from_str(r#"{"spec":null}"#).unwrap();
        assert!(token.spec.is_none() && token.status.is_none() && token.metadata == ObjectMeta::default());
    }

    #[test]
    fn a_secret_is_read_alike() {
        let event: WatchEvent<Metadata> = serde_json::from_str(EVENT).unwrap();
        let WatchEvent::Modified(secret) = event else {
            panic!("another event")
        };
        assert_eq!(secret.metadata.name.as_deref(), Some("ci"));
        assert_eq!(secret.metadata.managed_fields, None);
    }
}
