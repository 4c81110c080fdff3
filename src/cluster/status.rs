//! How the status of an object is written: whole, by PUT. The API server takes nothing else from what is sent to the subresource, so the
//! spec need not be sent along. A merge patch would cost it a twentieth more of an issue: it writes the object down, reads that and the
//! patch, merges, and reads the result.

use std::fmt::Debug;

use kube::Resource;
use kube::api::{Api, PostParams};
use kube::core::{ApiResource, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::names::MANAGER;

use super::ClusterError;

/// How often a status is sent to an object that others change at the same time.
const ATTEMPTS: usize = 5;

/// An object as it was last seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its namespace; `None`: it is in none.
    pub namespace: Option<&'a str>,
    /// Its UID, which guards against an object of the same name that came after.
    pub uid: &'a str,
    /// Its resource version.
    pub resource_version: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a, S> {
    api_version: &'a str,
    kind: &'a str,
    metadata: Meta<'a>,
    status: &'a S,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    uid: &'a str,
    resource_version: &'a str,
}

/// Makes the status what `status` says, whatever it became since it was seen; returns the object after that.
///
/// # Errors
/// [`ClusterError::Conflict`] if it is another object by now; any other [`ClusterError`].
pub async fn replace<K, S>(api: &Api<K>, kind: &ApiResource, seen: Seen<'_>, status: &S) -> Result<K, ClusterError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
    S: Serialize + Sync,
{
    let mut version = seen.resource_version.to_owned();
    for _ in 0..ATTEMPTS {
        let known = Seen {
            resource_version: &version,
            ..seen
        };
        match put(api, kind, known, status).await {
            Err(ClusterError::Conflict) => {}
            answered => return answered,
        }
        let found = api.get_metadata(seen.name).await?.metadata;
        if found.uid.as_deref() != Some(seen.uid) {
            return Err(ClusterError::Conflict);
        }
        version = found.resource_version.unwrap_or_default();
    }
    let busy = format!("it was changed by others during {ATTEMPTS} attempts");
    Err(ClusterError::Unavailable(busy))
}

async fn put<K, S>(api: &Api<K>, kind: &ApiResource, seen: Seen<'_>, status: &S) -> Result<K, ClusterError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
    S: Serialize + Sync,
{
    let body = Body {
        api_version: &kind.api_version,
        kind: &kind.kind,
        metadata: Meta {
            name: seen.name,
            namespace: seen.namespace,
            uid: seen.uid,
            resource_version: seen.resource_version,
        },
        status,
    };
    let body = serde_json::to_vec(&body).map_err(kube::Error::SerdeError)?;
    let params = PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    };
    let request = Request::new(api.resource_url()).replace_subresource("status", seen.name, &params, body);
    let request = request.map_err(kube::Error::BuildRequest)?;
    Ok(api.clone().into_client().request(request).await?)
}
