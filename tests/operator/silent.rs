//! Watches that live on and tell of nothing: what the API server answers counts before what was seen last.

use std::time::Duration;

use kube::api::DeleteParams;
use lab::cluster::{AuditEvent, AuditLog};
use lab::github::TokenState;
use lab::gtm::Operator;
use lab::wait::eventually;
use serde_json::json;
use tokio::time::sleep;

use crate::line::Line;
use crate::world::{SOON, World};

/// A world whose operator goes by a line; its Token `demo` is ready.
async fn ready(world: &mut World) -> (Line, Operator, String) {
    world.operator.kill();
    let line = Line::to(world.client.clone()).await;
    let operator = line.operator(world).await;
    world.token("demo", json!({})).await;
    let token = world.settled("demo").await;
    (line, operator, token)
}

/// How often the status of a Token was written.
async fn statuses(world: &World, audit: &AuditLog) -> usize {
    audit.settle(&world.client).await.unwrap();
    let status = |event: &AuditEvent| event.resource == "tokens" && event.subresource == "status";
    audit.writes(status).unwrap().values().sum()
}

async fn secret_is_gone(world: &World) {
    eventually(SOON, "the Secret is gone", async || {
        world.data("demo").await.map_or(Ok(()), |_| Err("still there"))
    })
    .await;
}

#[tokio::test]
async fn a_token_of_whose_end_no_watch_has_told_is_told_nothing_again_and_again() {
    let mut world = World::new().await;
    world.github.set_token_lifetime(Duration::from_secs(12));
    let (line, _operator, _) = ready(&mut world).await;
    line.silence("tokens");
    let audit = world.cluster.audit_log().unwrap();
    world.delete("demo").await;
    // One more is issued for it, since nobody can know; then its status cannot be written.
    world.mints(2, SOON).await;
    secret_is_gone(&world).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(statuses(&world, &audit).await, 1);
    assert_eq!(world.github.mint_count(), 2);
    assert_eq!(world.github.revocations().len(), 1);
}

#[tokio::test]
async fn nothing_is_issued_for_a_token_of_whose_end_only_its_secret_has_told() {
    let mut world = World::new().await;
    let (line, _operator, token) = ready(&mut world).await;
    line.silence("tokens");
    let audit = world.cluster.audit_log().unwrap();
    world.delete("demo").await;
    // As the garbage collector does.
    world.secrets().delete("demo", &DeleteParams::default()).await.unwrap();
    secret_is_gone(&world).await;
    assert_eq!(world.github.token_state(&token), TokenState::Revoked);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.github.mint_count(), 1);
    assert_eq!(statuses(&world, &audit).await, 0);
}

#[tokio::test]
async fn no_token_is_lost_in_a_secret_of_whose_end_no_watch_has_told() {
    let mut world = World::new().await;
    let (line, _operator, first) = ready(&mut world).await;
    line.silence("secrets");
    world.secrets().delete("demo", &DeleteParams::default()).await.unwrap();
    world.request("demo", "1").await;
    let second = world.good_token("demo", Some(&first)).await;
    assert_eq!(world.settled("demo").await, second);
    let secret = world.secrets().get("demo").await.unwrap();
    assert_eq!(secret.metadata.deletion_timestamp, None);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.token_in("demo").await, Some(second));
    assert_eq!(world.github.mint_count(), 2, "what was issued is not lost");
}
