//! Secrets that the API server does not take: no mint is wasted on them.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use lab::wait::eventually;
use serde_json::json;

use super::{check_status, fails};
use crate::world::{REFUSED, World};

/// A namespace that is missing is looked for every minute.
const MINUTE_AND_MORE: Duration = Duration::from_secs(80);

#[tokio::test]
async fn a_label_that_admission_refuses_costs_one_token_and_is_named() {
    let world = World::new().await;
    world.refuse_team().await;
    let spec = json!({"secret": {"labels": {"team": REFUSED}}});
    world.token("demo", spec).await;
    let parts = ["check spec.secret", "no such team"];
    fails(&world, "demo", "SecretWriteFailed", &parts).await;
    assert_eq!(world.github.mint_count(), 1);
    // The token that could not be written is the one that is written once it can be.
    world
        .token("demo", json!({"secret": {"labels": {"team": "blue"}}}))
        .await;
    world.ready("demo").await;
    let value = world.good_token("demo", None).await;
    assert_eq!(world.github.mint_count(), 1);

    // A Secret that works stays as it is.
    world
        .token("demo", json!({"secret": {"labels": {"team": REFUSED}}}))
        .await;
    fails(&world, "demo", "SecretWriteFailed", &["check spec.secret"]).await;
    assert_eq!(world.token_in("demo").await.as_deref(), Some(&*value));
    world
        .token("demo", json!({"secret": {"labels": {"team": "red"}}}))
        .await;
    world.ready("demo").await;
    let secret = world.secrets().get("demo").await.unwrap();
    assert_eq!(
        secret.metadata.labels.unwrap().get("team").map(String::as_str),
        Some("red")
    );
    assert_eq!(world.token_in("demo").await.as_deref(), Some(&*value));
    assert_eq!(world.github.mint_count(), 1);
}

#[tokio::test]
async fn a_cluster_token_waits_for_its_namespace_and_asks_github_once() {
    let world = World::new().await;
    let object = json!({"apiVersion": "github.as-code.io/v1", "kind": "ClusterToken",
        "metadata": {"name": "wide"}, "spec": {"secret": {"namespace": "not-yet", "name": "wide"}}});
    let params = PatchParams::apply("test").force();
    let cluster_tokens = world.cluster_tokens();
    cluster_tokens
        .patch("wide", &params, &Patch::Apply(&object))
        .await
        .unwrap();
    let status = eventually(crate::world::SOON, "the namespace is missed", async || {
        let status = cluster_tokens.get("wide").await.map_err(|e| e.to_string())?.status;
        let status = status.unwrap_or_default();
        match status.condition("Ready") {
            Some(ready) if ready.reason == "NamespaceUnavailable" => Ok(status),
            _ => Err(format!("{status:?}")),
        }
    });
    let status = status.await;
    check_status(&status, "NamespaceUnavailable");
    let message = &status.condition("Ready").unwrap().message;
    for part in ["\"not-yet\" not found", "create it", "spec.secret.namespace"] {
        assert!(message.contains(part), "{message}");
    }
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "not-yet"}})).unwrap();
    let namespaces = Api::<Namespace>::all(world.client.clone());
    namespaces.create(&Default::default(), &namespace).await.unwrap();
    let secrets = Api::<Secret>::namespaced(world.client.clone(), "not-yet");
    eventually(MINUTE_AND_MORE, "the Secret", async || {
        let found = secrets.get_opt("wide").await.map_err(|error| error.to_string())?;
        found.map(drop).ok_or("not yet".to_owned())
    })
    .await;
    assert_eq!(world.github.mint_count(), 1, "the first token was kept");
}

#[tokio::test]
async fn a_namespace_that_is_being_deleted_gets_no_stream_of_tokens() {
    // Nothing here finishes the deletion, as in a namespace that someone's finalizer holds.
    let world = World::new().await;
    world.token("demo", json!({})).await;
    world.ready("demo").await;
    let namespaces = Api::<Namespace>::all(world.client.clone());
    namespaces
        .delete(&world.namespace, &DeleteParams::default())
        .await
        .unwrap();
    // Nothing new can be created there.
    let value = world.good_token("demo", None).await;
    world.token("demo", json!({"secret": {"name": "other"}})).await;
    // An Event about it cannot be written there any more.
    let ready = world.condition("demo", "Ready", "False", "NamespaceUnavailable").await;
    assert!(ready.message.contains("being terminated"), "{}", ready.message);
    check_status(&world.status("demo").await, "NamespaceUnavailable");
    assert_eq!(world.token_in("demo").await.as_deref(), Some(&*value));
    assert_eq!(world.github.mint_count(), 2, "one for each name");
}
