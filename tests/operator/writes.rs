//! Writes that the API server refuses, or that others come before: the Secret that works stays, and no token is issued for it again.

use github_token_manager::api::names::annotation;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use lab::wait::eventually;
use serde_json::{Value, json};
use std::time::Duration;

use crate::world::{REFUSED, SOON, World, cluster};
use lab::github::{Settings, TokenState};

/// A Token of this name, its Secret and its token.
async fn issued(world: &World, name: &str, spec: Value) -> (Secret, String) {
    world.token(name, spec).await;
    world.ready(name).await;
    let secret = world.secrets().get(name).await.expect("its Secret");
    let token = world.github.tokens().last().expect("a token").to_string();
    (secret, token)
}

/// The write is refused, and said to be; the Secret is the one that it was.
async fn refused(world: &World, name: &str, before: &Secret) {
    let ready = world.condition(name, "Ready", "False", "SecretWriteFailed").await;
    assert!(ready.message.contains("is good until"), "{}", ready.message);
    let after = world.secrets().get(name).await.expect("it is there");
    assert_eq!((after.uid(), &after.data), (before.uid(), &before.data));
}

#[tokio::test]
async fn a_refused_label_keeps_the_old_secret_whatever_else_changes_and_a_good_one_brings_the_same_token() {
    let world = World::new().await;
    let spec = |level: &str, labels: Value| json!({"permissions": {"contents": level}, "secret": {"labels": labels}});
    world.refuse_team().await;
    let (before, _) = issued(&world, "demo", spec("read", json!({"team": "a", "old": "b"}))).await;
    world.token("demo", spec("write", json!({"team": REFUSED}))).await;
    refused(&world, "demo", &before).await;

    world.token("demo", spec("write", json!({"team": "a"}))).await;
    let token = world.settled("demo").await;
    let after = world.secrets().get("demo").await.unwrap();
    assert_eq!(after.uid(), before.uid());
    assert_eq!(
        (after.labels()["team"].as_str(), after.labels().get("old")),
        ("a", None)
    );
    assert_eq!((world.github.mint_count(), &*token), (2, &*world.github.tokens()[1]));
}

#[tokio::test]
async fn a_refused_label_keeps_the_old_secret_when_its_token_is_due() {
    let mut world = World::short(30).await;
    world.refuse_team().await;
    let (before, _) = issued(&world, "demo", json!({})).await;
    world.operator.kill();
    world
        .token("demo", json!({"secret": {"labels": {"team": REFUSED}}}))
        .await;
    // A quarter of its life is the reserve.
    tokio::time::sleep(Duration::from_secs(23)).await;
    world.operator.restart().await.unwrap();
    world.mints(2, SOON).await;
    refused(&world, "demo", &before).await;
}

#[tokio::test]
async fn a_secret_that_would_be_refused_is_not_made_anew_in_another_form() {
    let world = World::new().await;
    world.refuse_team().await;
    let (before, token) = issued(&world, "demo", json!({})).await;
    let netrc = |labels: Value| json!({"secret": {"format": "netrc", "labels": labels}});
    world.token("demo", netrc(json!({"team": REFUSED}))).await;
    refused(&world, "demo", &before).await;
    assert!(matches!(world.github.token_state(&token), TokenState::Valid { .. }));

    world.token("demo", netrc(json!({"team": "a"}))).await;
    world.ready("demo").await;
    let after = world.secrets().get("demo").await.unwrap();
    assert_ne!(after.uid(), before.uid(), "no Secret's type changes");
    assert_eq!(after.data.unwrap().keys().collect::<Vec<_>>(), [".netrc"]);
    assert_eq!(world.github.mint_count(), 2);
}

/// Admission of the cluster's own, which the API server asks about a create alone.
#[tokio::test]
async fn a_secret_that_admission_would_refuse_is_not_made_anew_in_another_form() {
    let world = World::new().await;
    let (before, _) = issued(&world, "demo", json!({})).await;
    let rule = json!({"expression": "object.type != 'Opaque'", "reason": "Forbidden"});
    world.refuse_secrets(&["CREATE"], &rule, json!({"name": "probe"})).await;

    world.token("demo", json!({"secret": {"format": "netrc"}})).await;
    refused(&world, "demo", &before).await;
}

#[tokio::test]
async fn another_form_of_the_same_type_is_written_into_the_same_secret_and_what_others_added_to_it_stays() {
    let world = World::new().await;
    let form = |format: &str| json!({"secret": {"format": format}});
    let (before, _) = issued(&world, "demo", form("gitCredentials")).await;
    annotate(&world, "demo").await;
    world.token("demo", form("netrc")).await;
    eventually(SOON, "the other form", async || {
        let data = world.data("demo").await.ok_or("no Secret")?;
        let keys: Vec<_> = data.keys().map(String::as_str).collect();
        (keys == [".netrc"]).then_some(()).ok_or(format!("{keys:?}"))
    })
    .await;
    world.ready("demo").await;
    let after = world.secrets().get("demo").await.unwrap();
    assert_eq!(after.uid(), before.uid());
    assert_eq!(after.annotations()["someone"], "else");
}

#[tokio::test]
async fn an_immutable_secret_is_made_anew() {
    let world = World::new().await;
    let (before, first) = issued(&world, "demo", json!({})).await;
    let fix = json!({"immutable": true});
    let params = PatchParams::default();
    world
        .secrets()
        .patch("demo", &params, &Patch::Merge(&fix))
        .await
        .unwrap();
    world.request("demo", "1").await;
    world.good_token("demo", Some(&first)).await;
    let after = world.secrets().get("demo").await.unwrap();
    assert_ne!(after.uid(), before.uid());
    assert_eq!(world.github.mint_count(), 2);
}

#[tokio::test]
async fn who_annotates_a_secret_while_its_token_is_issued_loses_nothing_and_costs_no_token() {
    let world = World::with(cluster(), Settings::default(), |operator| operator).await;
    let (before, _) = issued(&world, "demo", json!({})).await;
    // It counts after half of it.
    world.github.set_latency(Duration::from_secs(3));
    world.request("demo", "1").await;
    world.mints(2, SOON).await;
    annotate(&world, "demo").await;
    let second = world.github.tokens()[1].clone();
    eventually(SOON, "the new token", async || {
        let now = world.token_in("demo").await.ok_or("the Secret is gone")?;
        (*now == *second).then_some(()).ok_or("the old one")
    })
    .await;
    let after = world.secrets().get("demo").await.unwrap();
    assert_eq!(after.uid(), before.uid(), "it was not made anew");
    assert_eq!(after.annotations()["someone"], "else");
    assert_eq!(after.annotations()[annotation::REFRESH_REQUESTED], "1");
    world.ready("demo").await;
    assert_eq!(world.github.mint_count(), 2);
}

#[tokio::test]
async fn who_labels_a_token_while_it_is_issued_loses_nothing_and_sees_its_status() {
    let world = World::new().await;
    // It counts after half of it.
    world.github.set_latency(Duration::from_secs(2));
    let made = world.token("demo", json!({"permissions": {"contents": "read"}})).await;
    world.mints(1, SOON).await;
    let audit = world.cluster.audit_log().unwrap();
    let label = json!({"metadata": {"labels": {"someone": "else"}}});
    let labelled = world
        .tokens()
        .patch("demo", &PatchParams::default(), &Patch::Merge(&label))
        .await
        .unwrap();
    assert!(labelled.status.is_none(), "the status is written later");
    let after = world.ready("demo").await;
    assert_eq!((after.uid(), &after.spec), (made.uid(), &made.spec));
    assert_eq!(after.labels()["someone"], "else");
    let fields = |manager: &str| {
        let all = after.managed_fields().iter();
        let own = all.filter(|entry| entry.manager.as_deref() == Some(manager));
        let own = own.filter_map(|entry| entry.fields_v1.as_ref());
        own.map(|fields| fields.0.to_string()).collect::<String>()
    };
    assert!(
        fields("test").contains("f:permissions"),
        "the spec is still whose it was"
    );
    let ours = fields("github-token-manager");
    assert!(ours.contains("f:status") && !ours.contains("f:spec"), "{ours}");
    audit.settle(&world.client).await.unwrap();
    let statuses = audit
        .events()
        .unwrap()
        .into_iter()
        .filter(|event| event.subresource == "status");
    let codes: Vec<_> = statuses.map(|event| event.code).collect();
    assert_eq!(
        codes,
        [409, 200],
        "it is written over what was seen, then over what is there"
    );
}

async fn annotate(world: &World, secret: &str) {
    let note = json!({"metadata": {"annotations": {"someone": "else"}}});
    let params = PatchParams::default();
    world
        .secrets()
        .patch(secret, &params, &Patch::Merge(&note))
        .await
        .unwrap();
}

/// Waits until GitHub has taken a token back.
async fn revoked(world: &World, token: &str) {
    eventually(SOON, "the token is revoked", async || {
        match world.github.token_state(token) {
            TokenState::Revoked => Ok(()),
            state => Err(format!("{state:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_that_could_not_be_written_is_revoked_when_nobody_wants_it_any_more() {
    let world = World::new().await;
    world.refuse_team().await;
    let bad = |level: &str| json!({"permissions": {"contents": level}, "secret": {"labels": {"team": REFUSED}}});
    // Wanted no more: of another scope, of a Token that is gone, of a process that ends.
    for name in ["rescoped", "deleted", "ended"] {
        issued(&world, name, json!({"permissions": {"contents": "write"}})).await;
        world.token(name, bad("read")).await;
        world.condition(name, "Ready", "False", "SecretWriteFailed").await;
    }
    let tokens = world.github.tokens();
    let [_, rescoped, _, deleted, kept, ended] = &*tokens else {
        panic!("{} tokens", tokens.len())
    };
    world
        .token("rescoped", json!({"permissions": {"issues": "read"}}))
        .await;
    revoked(&world, rescoped).await;
    world.settled("rescoped").await;
    world.delete("deleted").await;
    revoked(&world, deleted).await;
    assert!(matches!(world.github.token_state(ended), TokenState::Valid { .. }));
    world.operator.terminate(SOON).await.unwrap();
    assert_eq!(world.github.token_state(ended), TokenState::Revoked);
    assert!(matches!(world.github.token_state(kept), TokenState::Valid { .. }));
    assert_eq!(world.github.mint_count(), 7);
}
