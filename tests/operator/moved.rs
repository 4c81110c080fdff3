//! An App that comes to be at another GitHub: the tokens of before are no business of the new one.

use github_token_manager::api::names::annotation;
use github_token_manager::domain::secret::content_hash;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use lab::github::{Fault, GitHub, Route, Settings, TokenState};
use lab::wait::eventually;
use serde_json::json;

use crate::apps::{in_secret, of_app};
use crate::world::{SOON, World, configure};

/// Another GitHub, which takes the same key.
async fn other() -> GitHub {
    GitHub::start(Settings::default()).await.expect("another stand-in")
}

async fn asked_to_mint(github: &GitHub) {
    eventually(SOON, "the other GitHub is asked for a token", async || {
        let asked = github.requests();
        let minted = asked.iter().any(|request| request.route == Route::Mint);
        minted.then_some(()).ok_or(asked.len())
    })
    .await;
}

/// Deletes a Token, whose Secret goes.
async fn delete(world: &World, name: &str) {
    world.delete(name).await;
    eventually(SOON, "the Secret is gone", async || {
        world.data(name).await.map_or(Ok(()), |_| Err("still there"))
    })
    .await;
}

/// The token was shown to nobody, which is told and counted.
async fn abandoned(world: &World, other: &GitHub, name: &str, token: &str) {
    let event = eventually(SOON, "an Event tells of it", async || {
        let events = world.events(name).await;
        let found = events.iter().find(|(reason, _)| reason == "RevocationAbandoned");
        found.cloned().ok_or(format!("{events:?}"))
    })
    .await;
    for told in [world.github.url(), &lab::github::hashed(token)] {
        assert!(event.1.contains(told), "{}", event.1);
    }
    let asked = other.requests();
    assert!(asked.iter().all(|request| request.route != Route::Revoke), "{asked:?}");
    assert!(matches!(world.github.token_state(token), TokenState::Valid { .. }));
    let metrics = world.operator.metrics().await.expect("metrics");
    let count = |result| metrics.value("token_revocations_total", &[("result", result)]);
    assert_eq!(
        (count("abandoned"), count("revoked")),
        (Some(1.0), Some(0.0)),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_token_of_the_operators_own_app_is_not_sent_to_another_github() {
    let world = World::new().await;
    let other = other().await;
    world.token("demo", json!({})).await;
    let token = world.settled("demo").await;
    other.fail_while(Some(Route::Mint), Fault::Unavailable(503));
    configure(&world.folder, &other);
    asked_to_mint(&other).await;
    delete(&world, "demo").await;
    abandoned(&world, &other, "demo", &token).await;
}

#[tokio::test]
async fn a_token_of_an_app_object_is_not_sent_to_another_github() {
    let world = World::new().await;
    let other = other().await;
    world.key_secret("key", &world.good_pem()).await;
    world.app("team", in_secret("key")).await;
    world.token("demo", of_app("team")).await;
    let token = world.settled("demo").await;
    other.uninstall(67_890);
    let mut moved = in_secret("key");
    moved["baseURL"] = json!(other.url());
    world.app("team", moved).await;
    asked_to_mint(&other).await;
    delete(&world, "demo").await;
    abandoned(&world, &other, "demo", &token).await;
}

#[tokio::test]
async fn a_replaced_token_is_not_sent_to_another_github_and_the_one_after_it_is() {
    let world = World::new().await;
    let other = other().await;
    world.token("demo", json!({"revokePreviousAfter": "10m"})).await;
    let token = world.settled("demo").await;
    assert_eq!(
        world.note("demo", annotation::BASE_URL).await.as_deref(),
        Some(world.github.url())
    );
    configure(&world.folder, &other);
    asked_to_mint(&other).await;
    abandoned(&world, &other, "demo", &token).await;
    let later = eventually(SOON, "the other GitHub's token", async || {
        let noted = world.note("demo", annotation::BASE_URL).await;
        let here = noted.as_deref() == Some(other.url());
        let token = world.token_in("demo").await.filter(|_| here);
        token.ok_or(format!("{noted:?}"))
    })
    .await;
    delete(&world, "demo").await;
    assert_eq!(other.token_state(&later), TokenState::Revoked);
    assert!(matches!(world.github.token_state(&token), TokenState::Valid { .. }));
}

#[tokio::test]
async fn the_token_in_a_secret_of_a_former_name_is_a_replaced_one_too() {
    let world = World::new().await;
    let other = other().await;
    world.token("demo", json!({"revokePreviousAfter": "10m"})).await;
    let token = world.settled("demo").await;
    other.fail_while(Some(Route::Mint), Fault::Unavailable(503));
    configure(&world.folder, &other);
    asked_to_mint(&other).await;
    let renamed = json!({"revokePreviousAfter": "10m", "secret": {"name": "later"}});
    world.token("demo", renamed).await;
    other.clear_faults();
    abandoned(&world, &other, "demo", &token).await;
    assert!(world.token_in("later").await.is_some());
}

#[tokio::test]
async fn a_secret_of_before_its_github_was_noted_stays_as_it_is_and_its_token_is_revoked() {
    let mut world = World::new().await;
    world.token("demo", json!({})).await;
    let token = world.settled("demo").await;
    world.operator.kill();
    let secret = world.secrets().get("demo").await.unwrap();
    let mut notes = secret.annotations().clone();
    notes.remove(annotation::BASE_URL).expect("it was noted");
    let data = secret.data.iter().flatten();
    let hash = content_hash(&notes, data.map(|(key, value)| (key.as_str(), value.0.as_slice())));
    let before = json!({"metadata": {"annotations": {annotation::BASE_URL: null, annotation::CONTENT_HASH: hash}}});
    let params = PatchParams::default();
    let before = world
        .secrets()
        .patch("demo", &params, &Patch::Merge(&before))
        .await
        .unwrap();
    world.operator.restart().await.unwrap();
    world.token("later", json!({})).await;
    world.settled("later").await;
    world.settled("demo").await;
    assert_eq!(world.github.mint_count(), 2, "one for each");
    let after = world.secrets().get("demo").await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version());
    delete(&world, "demo").await;
    assert_eq!(world.github.token_state(&token), TokenState::Revoked);
}
