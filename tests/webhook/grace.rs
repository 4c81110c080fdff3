//! What becomes of a forbidden Token's Secrets when the grace of its policy is over.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use lab::github::{Fault, Route, TokenState};
use lab::wait::eventually;
use serde_json::json;

use crate::world::{SOON, World};

#[tokio::test]
async fn a_restart_goes_on_with_the_grace_where_it_was() {
    let mut world = World::new().await;
    world.token("ci", json!({})).await;
    world.ready("ci").await;
    world
        .policy("none", json!({"repositories": [], "gracePeriod": "8s"}))
        .await;
    world.condition("ci", "Forbidden", "PolicyForbids").await;
    let started = tokio::time::Instant::now();
    world.operator.restart().await.unwrap();
    assert!(world.secret_token("ci").await.is_some());
    eventually(SOON, "the Secret goes", async || {
        world.secret_token("ci").await.map_or(Ok(()), |_| Err("it is there"))
    })
    .await;
    assert!(
        started.elapsed() < Duration::from_secs(20) && started.elapsed() > Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_secret_of_a_former_name_goes_with_the_grace_too() {
    let world = World::new().await;
    world.token("ci", json!({"permissions": {"contents": "write"}})).await;
    world.ready("ci").await;
    let issued = world.secret_token("ci").await.unwrap();
    // Its successor cannot be issued, so it stays.
    world.github.fail_while(Some(Route::Mint), Fault::Unavailable(503));
    let renamed = json!({"permissions": {"contents": "write"}, "secret": {"name": "renamed"}});
    world.token("ci", renamed).await;
    world.condition("ci", "Ready", "GitHubUnavailable").await;
    world
        .policy("read-only", json!({"permissions": {"*": "read"}, "gracePeriod": "3s"}))
        .await;
    let told = world.condition("ci", "Ready", "PolicyForbids").await;
    assert!(told.contains("the Secret is removed at"), "{told}");
    eventually(SOON, "the Secret of the former name goes", async || {
        world.secret_token("ci").await.map_or(Ok(()), |_| Err("it is there"))
    })
    .await;
    eventually(SOON, "its token is revoked", async || {
        match world.github.token_state(&issued) {
            TokenState::Revoked => Ok(()),
            state => Err(format!("{state:?}")),
        }
    })
    .await;
    let told = world.condition("ci", "Ready", "PolicyForbids").await;
    assert!(!told.contains("removed at"), "nothing is left to be removed: {told}");
}

#[tokio::test]
async fn what_nobody_holds_is_held_before_it_is_removed_and_its_token_is_revoked() {
    let world = World::new().await;
    world.token("ci", json!({})).await;
    world.ready("ci").await;
    let issued = world.secret_token("ci").await.unwrap();
    // As `gtm release` leaves it.
    let bare = json!({"metadata": {"finalizers": null,
        "annotations": {"github.as-code.io/released-at": "2026-01-01T00:00:00Z"}}});
    let params = PatchParams::default();
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    secrets.patch("ci", &params, &Patch::Merge(&bare)).await.unwrap();
    world
        .policy("none", json!({"repositories": [], "gracePeriod": "2s"}))
        .await;
    eventually(SOON, "the Secret goes", async || {
        world.secret_token("ci").await.map_or(Ok(()), |_| Err("it is there"))
    })
    .await;
    assert_eq!(world.github.token_state(&issued), TokenState::Revoked);
}
