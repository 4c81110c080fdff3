//! Apps that hang, flap, are made again or twice: nobody else waits, and nothing runs hot.

use std::time::Duration;

use kube::api::DeleteParams;
use lab::github::{AppKey, Fault as GitHubFault, Route, Settings};
use lab::keys::{Fault, Vault};
use lab::wait::eventually;
use serde_json::json;

use super::{World, in_secret, of_app};
use crate::world::cluster;

/// A world whose App `by-vault` has its key in this Vault, and works.
async fn by_vault(vault: &Vault) -> World {
    let world = World::with(cluster(), Settings::default(), |operator| {
        let with = |operator: lab::gtm::Builder, (name, value): (String, String)| operator.env(name, value);
        vault.env().into_iter().fold(operator, with)
    })
    .await;
    let key = world.github.key().expect("a key");
    vault.import("github", &key).await.expect("imported");
    world.configure_also(&format!("allowed_keys:\n  \"{}\": [\"*\"]", world.namespace));
    world
        .app("by-vault", json!({"provider": "vault", "key": "github"}))
        .await;
    world.app_condition("by-vault", "Ready", "True", "").await;
    world
}

#[tokio::test]
async fn a_key_that_signs_is_valid_although_its_service_does_not_tell_of_new_versions() {
    let vault = Vault::start().await.expect("Vault starts");
    let world = by_vault(&vault).await;
    vault.front.fail(
        "keys/github",
        Fault::Status(503, json!({"errors": ["said by the lab"]}), None),
    );
    let asked = "whether the App's key has a newer version is not known: ";
    eventually(Duration::from_secs(150), "the service is asked in vain", async || {
        let logs = world.operator.logs();
        if logs.contains(asked) { Ok(()) } else { Err(logs) }
    })
    .await;
    world.token("t", of_app("by-vault")).await;
    world.ready("t").await;
    // Whatever comes of it is in the status by then.
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.app_condition("by-vault", "KeyValid", "True", "").await;
}

#[tokio::test]
async fn while_a_key_service_hangs_two_hundred_tokens_of_another_app_go_on() {
    let vault = Vault::start().await.expect("Vault starts");
    let world = by_vault(&vault).await;
    world.key_secret("key", &world.good_pem()).await;
    world.app("good", in_secret("key")).await;
    world.app_condition("good", "Ready", "True", "").await;
    world.token("hangs-0", of_app("by-vault")).await;
    world.ready("hangs-0").await;
    world.many(200, of_app("good")).await;
    world.all_ready(201, Duration::from_secs(60)).await;

    vault.front.fail("", Fault::Hang);
    // GitHub refuses the JWT in use, so that a new one has to be signed.
    world
        .github
        .fail_next(1, Some(Route::Mint), GitHubFault::JwtUndecodable);
    world.request("hangs-0", "1").await;
    world.condition("hangs-0", "Ready", "False", "").await;
    world.request("hangs-0", "2").await;
    let mints = world.github.mint_count();
    for n in 0..200 {
        world.request(&format!("t-{n}"), "1").await;
    }
    world.mints(mints + 200, Duration::from_secs(60)).await;
    vault.front.heal();
    world.request("hangs-0", "3").await;
    let wait = Duration::from_secs(90);
    eventually(wait, "the key service's Token goes on", async || {
        let status = world.status("hangs-0").await;
        let ready = status.condition("Ready").is_some_and(|c| c.status == "True");
        if ready { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

#[tokio::test]
async fn an_app_that_is_made_again_with_another_key_is_another_app() {
    let world = World::new().await;
    world.key_secret("key", &world.good_pem()).await;
    let other = AppKey::generate().expect("a key");
    world.key_secret("other", &other.pkcs1_pem()).await;
    world.app("team", in_secret("key")).await;
    world.token("t", of_app("team")).await;
    world.ready("t").await;
    let token = world.good_token("t", None).await;
    for (secret, status) in [("other", "False"), ("key", "True"), ("other", "False")] {
        let deleted = world.apps().delete("team", &DeleteParams::default()).await;
        deleted.expect("the App goes");
        world.app("team", in_secret(secret)).await;
        world.app_condition("team", "Ready", status, "").await;
    }
    world.condition("t", "Ready", "False", "AppNotReady").await;
    assert_eq!(
        world.github.mint_count(),
        1,
        "an App that comes and goes is no reason for a token"
    );
    assert_eq!(world.token_in("t").await, Some(token));
    world.github.add_key(other);
    let deleted = world.apps().delete("team", &DeleteParams::default()).await;
    deleted.expect("the App goes");
    world.app("team", in_secret("other")).await;
    world.ready("t").await;
    assert_eq!(world.github.mint_count(), 1);
}

#[tokio::test]
async fn two_objects_of_one_app_that_flap_serve_their_tokens_and_ask_github_little() {
    let world = World::new().await;
    world.key_secret("key", &world.good_pem()).await;
    let mut lead = in_secret("key");
    lead["pool"] = json!([{"name": "twin"}]);
    world.app("one", lead).await;
    world.app("twin", in_secret("key")).await;
    world.app_condition("one", "Pool", "False", "PoolIncomplete").await;
    for (name, app) in [("a", "one"), ("b", "twin")] {
        world.token(name, of_app(app)).await;
        world.ready(name).await;
    }
    let before = (world.github.mint_count(), world.github.counts().requests);
    // A user who cannot make up his mind: the key comes and goes.
    for _ in 0..5 {
        world.key_secret("key", "no key").await;
        world.app_condition("twin", "KeyValid", "False", "InvalidKey").await;
        world.key_secret("key", &world.good_pem()).await;
        world.app_condition("twin", "KeyValid", "True", "").await;
    }
    world.app_condition("one", "Ready", "True", "").await;
    for name in ["a", "b"] {
        world.ready(name).await;
    }
    let after = (world.github.mint_count(), world.github.counts().requests);
    assert_eq!(after.0, before.0, "no token is issued for it");
    // Each time the key is good again, each App asks who it is, and where it is installed.
    assert!(after.1 - before.1 <= 60, "{} requests", after.1 - before.1);
}
