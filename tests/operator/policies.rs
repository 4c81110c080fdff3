//! Policies that change while the operator works.

use std::time::Duration;

use futures::future::join_all;
use github_token_manager::api::TokenPolicy;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use lab::github::{Fault, Route};
use lab::wait::eventually;
use serde_json::json;

use crate::apps::{in_secret, of_app};
use crate::world::{SOON, World};

/// Enough that judging all of them takes longer than it takes the next change to arrive.
const TOKENS: usize = 60;
const POLICIES: usize = 4;
const CHANGES: usize = 40;

/// The changes of one policy, one after the other: each allows what all Tokens here ask for, in other words.
pub async fn changes(world: &World, policy: usize) {
    let policies = Api::<TokenPolicy>::all(world.client.clone());
    let name = format!("policy-{policy}");
    let params = PatchParams::apply("test").force();
    for change in 0..CHANGES {
        let object = json!({"apiVersion": "github.as-code.io/v1", "kind": "TokenPolicy", "metadata": {"name": name},
            "spec": {"installations": [0, change + 1]}});
        policies.patch(&name, &params, &Patch::Apply(&object)).await.unwrap();
    }
}

#[tokio::test]
async fn changes_that_follow_each_other_closely_stop_nothing() {
    let world = World::new().await;
    let names: Vec<String> = (0..TOKENS).map(|number| format!("token-{number}")).collect();
    join_all(names.iter().map(|name| world.token(name, json!({})))).await;
    join_all(names.iter().map(|name| world.ready(name))).await;

    join_all((0..POLICIES).map(|policy| changes(&world, policy))).await;

    world.operator.ready().await.unwrap();
    world.token("after", json!({})).await;
    world.ready("after").await;
    assert_eq!(world.github.mint_count(), TOKENS + 1);
}

#[tokio::test]
async fn a_policy_that_changes_while_tokens_are_looked_at_counts_for_them() {
    const EACH: usize = 20;
    let world = World::new().await;
    let policy = json!({"apiVersion": "github.as-code.io/v1", "kind": "TokenPolicy", "metadata": {"name": "none"},
        "spec": {"apps": ["nobody/*"]}});
    let mut all = 0;
    for gap in [0, 10, 20, 30, 50] {
        world.cluster.apply(&policy.to_string()).await.unwrap();
        let canary = format!("canary-{gap}");
        world.token(&canary, json!({})).await;
        world.condition(&canary, "Ready", "False", "PolicyForbids").await;
        let names: Vec<String> = (0..EACH).map(|number| format!("after-{gap}-{number}")).collect();
        join_all(names.iter().map(|name| world.token(name, json!({})))).await;
        tokio::time::sleep(Duration::from_millis(gap)).await;
        let policies: Api<TokenPolicy> = Api::all(world.client.clone());
        policies.delete("none", &DeleteParams::default()).await.unwrap();
        all += 1 + EACH;
        world.all_ready(all, SOON).await;
    }
}

#[tokio::test]
async fn a_policy_that_comes_while_the_app_is_not_known_yet_counts_all_the_same() {
    let mut world = World::new().await;
    world.key_secret("key", &world.good_pem()).await;
    world.app("team", in_secret("key")).await;
    world.token("t", of_app("team")).await;
    world.ready("t").await;

    // The App is asked first, and does not answer.
    world.operator.kill();
    world.github.fail_while(Some(Route::App), Fault::Hang);
    let policy = json!({"apiVersion": "github.as-code.io/v1", "kind": "TokenPolicy", "metadata": {"name": "none"},
        "spec": {"apps": ["nobody/*"], "gracePeriod": "0s"}});
    world.cluster.apply(&policy.to_string()).await.unwrap();
    world.operator.restart().await.expect("the operator starts again");
    world.condition("t", "Ready", "False", "PolicyForbids").await;
    // Its token is revoked first: for half a minute, the App may still come to be known.
    eventually(SOON * 3, "the Secret goes", async || {
        world.token_in("t").await.map_or(Ok(()), |_| Err("it is there"))
    })
    .await;
}

#[tokio::test]
async fn who_writes_a_later_time_into_the_status_of_a_forbidden_token_does_not_keep_its_secret() {
    let world = World::new().await;
    world.token("t", json!({})).await;
    world.ready("t").await;
    let policy = json!({"apiVersion": "github.as-code.io/v1", "kind": "TokenPolicy", "metadata": {"name": "none"},
        "spec": {"apps": ["nobody/*"], "gracePeriod": "5s"}});
    world.cluster.apply(&policy.to_string()).await.unwrap();
    let mut forbidden = world.condition("t", "Forbidden", "True", "PolicyForbids").await;
    forbidden.last_transition_time = jiff::Timestamp::MAX.into();
    let mut conditions = world.status("t").await.conditions;
    conditions.retain(|condition| condition.kind != forbidden.kind);
    conditions.push(forbidden);
    let forged = Patch::Merge(json!({"status": {"conditions": conditions}}));
    let params = PatchParams::default();
    world.tokens().patch_status("t", &params, &forged).await.unwrap();
    eventually(SOON * 2, "the Secret goes", async || {
        world.token_in("t").await.map_or(Ok(()), |_| Err("it is there"))
    })
    .await;
}
