//! Many objects, written by a bounded number of requests at once.

use futures::{StreamExt, TryStreamExt, stream};
use github_token_manager::api::Token;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use crate::Result;

/// Requests under way at once: of the load, and of the bare loop that the operator is compared with.
pub const AT_ONCE: usize = 100;

/// Runs `work` for 0, 1, ... `count` - 1.
pub async fn each(count: usize, work: impl AsyncFn(usize) -> kube::Result<()>) -> Result<()> {
    let work = &work;
    stream::iter(0..count)
        .map(|n| async move { work(n).await })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    Ok(())
}

/// The name of the Token of this number.
pub fn name(n: usize) -> String {
    format!("token-{n:05}")
}

/// Creates Tokens `0..count` with the spec of their number.
pub async fn tokens(client: &Client, namespace: &str, count: usize, spec: impl Fn(usize) -> Value) -> Result<()> {
    let tokens: Api<Token> = Api::namespaced(client.clone(), namespace);
    each(count, async |n| {
        let object = json!({"apiVersion": "github.as-code.io/v1", "kind": "Token",
            "metadata": {"name": name(n), "namespace": namespace}, "spec": spec(n)});
        let object = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
        tokens.create(&PostParams::default(), &object).await.map(drop)
    })
    .await
}

/// The spec of an ordinary Token: one permission, one repository.
pub fn ordinary(_: usize) -> Value {
    json!({"permissions": {"contents": "read"}, "repositories": ["alpha"]})
}

/// Creates Secrets of 20 kB that are none of the operator's business.
pub async fn unrelated_secrets(client: &Client, namespace: &str, count: usize) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    each(count, async |n| {
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(format!("unrelated-{n:05}")),
                ..ObjectMeta::default()
            },
            data: Some([("blob".to_owned(), ByteString(vec![b'x'; 20_000]))].into()),
            ..Secret::default()
        };
        secrets.create(&PostParams::default(), &secret).await.map(drop)
    })
    .await
}
