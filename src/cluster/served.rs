//! Which of our kinds the API server serves: asked where it answers 404 and does not say that an object does not exist.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use kube::Client;
use kube::core::Request;
use kube::core::params::GetParams;
use serde_json::Value;

use crate::api::names::{GROUP, VERSION};

use super::ClusterError;

/// What to do about a kind that is not served.
#[must_use]
pub fn unserved(kind: &str) -> String {
    format!(
        "the API server does not know the kind {kind}: install the CustomResourceDefinitions, which `gtm crds` prints"
    )
}

/// Whether the API server serves a kind. Everyone may ask that.
///
/// # Errors
/// [`ClusterError`]: it cannot be found out, which must not count as no.
pub async fn is_served(client: &Client, kind: &str) -> Result<bool, ClusterError> {
    let group = format!("{GROUP}/{VERSION}");
    let found = client.list_api_group_resources(&group).await;
    match found.map_err(ClusterError::from) {
        Ok(found) => Ok(found.resources.iter().any(|resource| resource.kind == kind)),
        // It answers so when the last kind of the group is gone; so does a proxy to everything.
        Err(ClusterError::Missing | ClusterError::Unserved) => {
            let groups = client.list_api_groups().await?.groups;
            let mut versions = groups
                .iter()
                .filter(|group| group.name == GROUP)
                .flat_map(|group| &group.versions);
            let listed = versions.any(|version| version.version == VERSION);
            if listed { Err(ClusterError::Unserved) } else { Ok(false) }
        }
        Err(error) => Err(error),
    }
}

/// The schemas that the API server serves our kinds by: kind -> schema. Everyone may read them.
///
/// # Errors
/// [`ClusterError`].
pub async fn schemas(client: &Client) -> Result<BTreeMap<String, JSONSchemaProps>, ClusterError> {
    let request = Request::new("/openapi/v3/apis").get(&format!("{GROUP}/{VERSION}"), &GetParams::default());
    let request = request.map_err(kube::Error::BuildRequest)?;
    let document: Value = client.request(request).await?;
    let all = document.pointer("/components/schemas").and_then(Value::as_object);
    let ours = all.into_iter().flatten().filter_map(|(_, schema)| {
        let meant = schema.get("x-kubernetes-group-version-kind")?.get(0)?;
        let text = |field: &str| meant.get(field).and_then(Value::as_str);
        let kind = text("kind").filter(|_| text("group") == Some(GROUP))?;
        Some((kind.to_owned(), serde_json::from_value(schema.clone()).ok()?))
    });
    Ok(ours.collect())
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use hyper::Response;
    use hyper::body::Bytes;
    use kube::client::Body;
    use serde_json::json;
    use tower::{BoxError, service_fn};

    use super::*;

    /// An API server that answers so to what is asked of the version, and of all groups; a text is a page with a 404.
    async fn ask(version: Value, groups: Value) -> Result<bool, ClusterError> {
        let serve = move |request: hyper::Request<Body>| {
            let answer = match request.uri().path() {
                "/apis" => groups.clone(),
                _ => version.clone(),
            };
            async move {
                let code = answer.get("code").and_then(Value::as_u64).unwrap_or(200);
                let (status, body) = match answer {
                    Value::String(page) => (404, page),
                    found => (u16::try_from(code)?, found.to_string()),
                };
                let answer = Response::builder().status(status);
                Ok::<_, BoxError>(answer.body(Full::new(Bytes::from(body)))?)
            }
        };
        is_served(&Client::new(service_fn(serve), "default"), "Token").await
    }

    #[tokio::test]
    async fn a_kind_is_not_served_where_the_api_server_says_so_and_a_page_of_a_proxy_says_nothing() {
        let kinds = |kind: &str| {
            json!({"kind": "APIResourceList", "groupVersion": "github.as-code.io/v1", "resources": [
                {"name": "x", "singularName": "x", "namespaced": true, "kind": kind, "verbs": ["get"]}]})
        };
        let groups = |name: &str| {
            let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
            json!({"kind": "APIGroupList", "groups": [{"name": name, "versions": [version]}]})
        };
        let page = || json!("404 page not found");
        assert_eq!(ask(kinds("Token"), page()).await, Ok(true));
        assert_eq!(ask(kinds("App"), page()).await, Ok(false));
        assert_eq!(ask(page(), groups("apps")).await, Ok(false));
        for nothing in [groups(GROUP), page()] {
            assert_eq!(ask(page(), nothing).await, Err(ClusterError::Unserved));
        }
        // Before the roles are known to it, an API server that starts refuses everything.
        for (code, reason) in [(403, "Forbidden"), (503, "ServiceUnavailable")] {
            let failure = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code});
            assert!(ask(failure, groups("apps")).await.is_err(), "{reason}");
        }
    }
}
