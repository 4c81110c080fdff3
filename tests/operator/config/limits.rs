//! A limit that changes while tokens are issued.

use lab::github::{Fault, Route};
use lab::wait::eventually;
use serde_json::json;

use super::refused::{USED, write_until, written};
use crate::world::{SOON, World};

/// A world whose operator issues so many tokens a minute, and the same limit said in another way.
async fn limited(most: usize) -> (World, String) {
    let world = World::new().await;
    let bare = written(&world);
    write_until(&world, &format!("{bare}rate_limit: {most}\n"), USED).await;
    let other = format!("{bare}rate_limit: {{mints_per_minute: {most}, concurrent: 99}}\n");
    (world, other)
}

#[tokio::test]
async fn what_is_under_way_when_the_configuration_changes_counts() {
    let (world, other) = limited(8).await;
    world.github.fail_while(Some(Route::Mint), Fault::Hang);
    world.many(20, json!({})).await;
    eventually(SOON, "as many are under way as may be", async || {
        let most = world.github.counts().most_at_once;
        (most >= 8).then_some(()).ok_or(most.to_string())
    })
    .await;
    write_until(&world, &other, USED).await;
    world.github.clear_faults();
    world.mints(8, SOON).await;
    eventually(SOON, "those that wait are told so", async || {
        let all = world
            .tokens()
            .list(&Default::default())
            .await
            .map_err(|e| e.to_string())?;
        let told = all.iter().filter_map(|token| token.status.as_ref()?.condition("Ready"));
        let told = told.count();
        (told == 20).then_some(()).ok_or(told.to_string())
    })
    .await;
    assert_eq!(world.github.mint_count(), 8, "GitHub would have refused more");
}

#[tokio::test]
async fn what_was_issued_before_the_configuration_changes_counts_once() {
    let (world, other) = limited(8).await;
    world.many(4, json!({})).await;
    world.all_ready(4, SOON).await;
    write_until(&world, &other, USED).await;
    world.many(8, json!({})).await;
    world.all_ready(8, SOON).await;
}
