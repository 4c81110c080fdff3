//! An App whose key is in a key service: here Vault.

use std::time::Duration;

use lab::github::AppKey;
use lab::gtm::{Builder, Operator};
use lab::keys::{Fault, Vault};
use lab::wait::eventually;
use serde_json::json;

use crate::world::{SOON, World};

/// Longer than the operator takes to ask a service for a new version.
const NEW_VERSION: Duration = Duration::from_secs(150);

/// A world without an operator, a Vault that holds its App's key, and how an operator finds it.
async fn world() -> (World, Vault, Builder) {
    let world = World::new().await;
    world.operator.kill();
    let vault = Vault::start().await.expect("Vault starts");
    vault
        .import("github", &world.github.key().expect("a key"))
        .await
        .expect("imported");
    let mut operator = Operator::builder(env!("CARGO_BIN_EXE_gtm"), world.cluster.kubeconfig_path())
        .namespace("default")
        .leader_elect(false)
        .env("GTM_APP_ID", world.github.app_id().to_string())
        .env("GTM_INSTALLATION_ID", "67890")
        .env("GTM_PROVIDER", "vault")
        .env("GTM_KEY", "transit/github")
        .env("GTM_BASE_URL", world.github.url());
    for (name, value) in vault.env() {
        operator = operator.env(name, value);
    }
    (world, vault, operator)
}

async fn logged(operator: &Operator, words: &str) {
    eventually(NEW_VERSION, words, async || {
        let logs = operator.logs();
        if logs.contains(words) { Ok(()) } else { Err(logs) }
    })
    .await;
}

#[tokio::test]
async fn one_signature_serves_all_tokens() {
    let (world, vault, operator) = world().await;
    let operator = operator.log_level("trace").start().await.expect("it starts");
    world.many(50, json!({})).await;
    world.all_ready(50, SOON).await;
    assert_eq!(vault.front.count("sign/github"), 1);
    let token = vault
        .env()
        .into_iter()
        .find(|(name, _)| name == "VAULT_TOKEN")
        .expect("a token")
        .1;
    assert!(!operator.logs().contains(&token), "the token of Vault is in the log");
}

#[tokio::test]
async fn to_ask_for_a_new_version_takes_no_login() {
    let (_world, vault, operator) = world().await;
    let (role, secret) = vault.app_role("approle", 3_600).await.expect("made");
    let credentials = [
        ("VAULT_TOKEN", ""),
        ("VAULT_ROLE_ID", &role),
        ("VAULT_SECRET_ID", &secret),
    ];
    let operator = credentials
        .into_iter()
        .fold(operator, |to, (name, value)| to.env(name, value));
    let _operator = operator.start().await.expect("it starts");
    eventually(NEW_VERSION, "it asks again", async || {
        let asked = vault.front.count("keys/github");
        if asked >= 2 { Ok(()) } else { Err(asked) }
    })
    .await;
    assert_eq!(vault.front.count("approle/login"), 1);
}

#[tokio::test]
async fn a_service_that_is_away_at_the_start_is_told_and_waited_for() {
    let (world, vault, operator) = world().await;
    vault
        .front
        .fail("", Fault::Status(503, json!({"errors": ["Vault is sealed"]}), None));
    let operator = operator.start().await.expect("it starts");
    world.token("demo", json!({})).await;
    let condition = world.condition("demo", "Ready", "False", "KeyUnavailable").await;
    assert!(condition.message.contains("Vault is sealed"), "{condition:?}");
    vault.front.heal();
    world.ready("demo").await;
    operator.process().check_running().expect("it runs");
}

#[tokio::test]
async fn a_key_that_does_not_sign_ends_the_start_where_that_is_asked_for() {
    let (_world, vault, operator) = world().await;
    vault.front.fail("sign/github", Fault::BadSignature);
    let operator = operator.env("GTM_VALIDATE_KEY", "true").spawn().expect("it starts");
    let status = operator.process().wait(SOON).await.expect("it ends");
    assert_eq!(status.code(), Some(2), "{}", operator.logs());
    assert!(
        operator.logs().contains("is not used; is there a proxy"),
        "{}",
        operator.logs()
    );
}

#[tokio::test]
async fn a_new_version_is_used_when_github_takes_it_and_until_then_the_old_one_is() {
    let (world, vault, operator) = world().await;
    let operator = operator.start().await.expect("it starts");
    world.token("demo", json!({})).await;
    let first = world.good_token("demo", None).await;
    let (old, new) = (world.github.key().expect("a key"), AppKey::generate().expect("a key"));
    vault.import_version("github", &new).await.expect("imported");
    for words in ["the new configuration is not used", "AppAuthenticationFailed"] {
        logged(&operator, words).await;
    }
    world.request("demo", "1").await;
    let second = world.good_token("demo", Some(&first)).await;
    // GitHub is told of the new key, which is what its owner had forgotten, and later the old one is removed there.
    world.github.add_key(new.clone());
    logged(&operator, "is used from now on").await;
    world.github.remove_keys();
    world.github.add_key(new);
    world.request("demo", "2").await;
    world.good_token("demo", Some(&second)).await;
    assert_ne!(world.github.key().expect("a key").fingerprint(), old.fingerprint());
}
