//! A Secret that is wanted elsewhere, or in another form, and cannot be had there: the one in use stays good meanwhile.

use github_token_manager::api::condition;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use lab::wait::eventually;
use serde_json::{Value, json};

use crate::world::{SOON, World, nothing_expired};

async fn change(world: &World, token: &str, spec: Value) {
    let change = json!({"spec": spec});
    let changed = world
        .tokens()
        .patch(token, &PatchParams::default(), &Patch::Merge(&change))
        .await;
    changed.expect("the Token is changed");
}

/// Waits until so many more tokens have been in this Secret.
async fn goes_on(world: &World, secret: &str, key: &str, times: usize) {
    let read = async || {
        let secret = world.secrets().get_opt(secret).await.ok().flatten()?;
        let value = secret.data.unwrap_or_default().remove(key)?;
        Some(value.0)
    };
    let mut last = read().await;
    assert!(last.is_some(), "{secret} has no {key}");
    for _ in 0..times {
        last = eventually(SOON, &format!("another token in {secret}"), async || {
            match read().await {
                None => Err("no Secret"),
                now if now == last => Err("the same"),
                now => Ok(now),
            }
        })
        .await;
    }
}

/// What the status says of the Secret that is in use.
async fn tells_of(world: &World, token: &str, secret: &str) {
    eventually(SOON, &format!("{token} tells of {secret}"), async || {
        let status = world.status(token).await;
        let named = status
            .managed_secret
            .as_ref()
            .and_then(|managed| managed.name.as_deref());
        let good = status.installation_access_token.is_some() && status.hashed_token.is_some();
        let expired = status.condition(condition::EXPIRED).is_some();
        (named == Some(secret) && good && !expired)
            .then_some(())
            .ok_or(format!("{status:?}"))
    })
    .await;
}

#[tokio::test]
async fn while_the_new_name_is_taken_the_old_secret_is_kept_fresh_and_told_of() {
    let world = World::short(16).await;
    let monitor = world.monitor();
    world.token("demo", json!({})).await;
    world.ready("demo").await;
    let foreign: Secret =
        serde_json::from_value(json!({"metadata": {"name": "taken"}, "stringData": {"a": "b"}})).unwrap();
    world.secrets().create(&PostParams::default(), &foreign).await.unwrap();
    change(&world, "demo", json!({"secret": {"name": "taken"}})).await;
    world.condition("demo", "Ready", "False", "SecretConflict").await;
    goes_on(&world, "demo", "token", 2).await;
    world.condition("demo", "Ready", "False", "SecretConflict").await;
    tells_of(&world, "demo", "demo").await;
    let expiry = world.operator.metrics().await.unwrap().to_string();
    assert!(expiry.contains("token_expiry_timestamp_seconds{"), "{expiry}");
    // Not once a minute: about one for each of the lives.
    assert!(world.github.mint_count() < 6, "{}", world.github.mint_count());

    world.secrets().delete("taken", &DeleteParams::default()).await.unwrap();
    change(&world, "demo", json!({"refreshInterval": "29m"})).await;
    world.ready("demo").await;
    world.good_token("taken", None).await;
    eventually(SOON, "the old Secret is gone", async || {
        match world.secrets().get_opt("demo").await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    nothing_expired(monitor).await;
}

#[tokio::test]
async fn two_tokens_that_exchange_their_names_keep_what_they_have() {
    let world = World::short(16).await;
    let monitor = world.monitor();
    for (token, secret) in [("a", "x"), ("b", "y")] {
        world.token(token, json!({"secret": {"name": secret}})).await;
        world.ready(token).await;
    }
    for (token, secret) in [("a", "y"), ("b", "x")] {
        change(&world, token, json!({"secret": {"name": secret}})).await;
    }
    for token in ["a", "b"] {
        world.condition(token, "Ready", "False", "SecretConflict").await;
    }
    goes_on(&world, "x", "token", 2).await;
    goes_on(&world, "y", "token", 1).await;
    tells_of(&world, "a", "x").await;
    tells_of(&world, "b", "y").await;
    nothing_expired(monitor).await;
}

#[tokio::test]
async fn a_form_that_the_api_server_does_not_take_leaves_the_old_one_which_is_kept_fresh() {
    let world = World::short(16).await;
    let monitor = world.monitor();
    world.token("demo", json!({})).await;
    world.ready("demo").await;
    let rule = json!({"expression": "false", "message": "full", "reason": "Invalid"});
    world.refuse_secrets(&["CREATE"], &rule, json!({"name": "probe"})).await;
    // Of another type: the Secret would have to be made anew.
    change(&world, "demo", json!({"secret": {"format": "basicAuth"}})).await;
    world.condition("demo", "Ready", "False", "SecretWriteFailed").await;
    goes_on(&world, "demo", "token", 2).await;
    world.condition("demo", "Ready", "False", "SecretWriteFailed").await;
    nothing_expired(monitor).await;
}
