//! Writes that succeed although their answer is lost, or of which a part is lost on the way.

use std::time::Duration;

use kube::ResourceExt;
use lab::wait::eventually;
use serde_json::json;
use tokio::time::sleep;

use crate::line::Line;
use crate::world::{SOON, World};

#[tokio::test]
async fn a_token_whose_write_was_not_answered_is_not_written_again_when_another_one_is_asked_for() {
    let world = World::new().await;
    world.operator.kill();
    let line = Line::to(world.client.clone()).await;
    let operator = line.operator(&world).await;
    world.token("demo", json!({})).await;
    let first = world.settled("demo").await;
    line.lose(500);
    world.request("demo", "1").await;
    let second = world.good_token("demo", Some(&first)).await;
    eventually(SOON, "the write is taken for one that failed", async || {
        let logs = operator.logs();
        logs.contains("the answer was lost").then_some(()).ok_or(logs)
    })
    .await;
    assert_eq!(world.settled("demo").await, second);
    assert_eq!(world.github.mint_count(), 2, "not issued again");

    // It has leaked.
    world.request("demo", "2").await;
    let third = world.good_token("demo", Some(&second)).await;
    assert_eq!(world.settled("demo").await, third);
    assert_eq!(world.github.mint_count(), 3);

    // The operator's client repeats the write by itself.
    let before = world.secrets().get("demo").await.unwrap();
    line.lose(504);
    world.request("demo", "3").await;
    let fourth = world.good_token("demo", Some(&third)).await;
    assert_eq!(world.settled("demo").await, fourth);
    assert_eq!(world.secrets().get("demo").await.unwrap().uid(), before.uid());
    assert_eq!(world.github.mint_count(), 4, "not issued again");
    operator.terminate(SOON).await.unwrap();
    assert!(world.github.revocations().is_empty(), "what is in a Secret is in use");
}

#[tokio::test]
async fn a_webhook_that_takes_annotations_off_is_told_of_and_costs_one_token() {
    let world = World::new().await;
    world.operator.kill();
    let line = Line::to(world.client.clone()).await;
    line.strip(true);
    let operator = line.operator(&world).await;
    world.token("demo", json!({"retryInterval": "2s"})).await;
    let told = world.condition("demo", "Ready", "False", "SecretWriteFailed").await;
    assert!(told.message.contains("was taken off the Secret"), "{}", told.message);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(world.github.mint_count(), 1, "the same token is tried again");
    line.strip(false);
    world.settled("demo").await;
    assert_eq!(world.github.mint_count(), 1, "it is the one that is used");
    operator.terminate(SOON).await.unwrap();
}
