//! From a Token to a Secret, and what happens to it.

use std::time::Duration;

use github_token_manager::api::names::annotation;
use kube::api::{DeleteParams, Patch, PatchParams};
use lab::github::{Settings, TokenState};
use lab::wait::eventually;

use crate::world::{SOON, World, cluster};

#[tokio::test]
async fn a_token_becomes_a_secret_and_two_writes_are_all_it_takes() {
    let world = World::new().await;
    let audit = world.cluster.audit_log().unwrap();
    world
        .token(
            "demo",
            serde_json::json!({"permissions": {"contents": "read"}, "repositories": ["alpha"]}),
        )
        .await;
    let token = world.ready("demo").await;
    let issued = world.good_token("demo", None).await;

    let status = token.status.unwrap();
    assert_eq!(status.hashed_token.as_deref(), Some(&*lab::github::hashed(&issued)));
    assert_eq!(status.permissions["contents"], "read");
    assert_eq!(status.repositories, ["alpha"]);
    assert_eq!(world.github.mint_count(), 1);

    audit.settle(&world.client).await.unwrap();
    let writes = audit.writes(|event| event.namespace == world.namespace).unwrap();
    let count = |resource: &str, subresource: &str| -> usize {
        let same = |(write, _): &(&lab::cluster::Write, &usize)| {
            write.resource == resource && write.subresource == subresource
        };
        writes.iter().filter(same).map(|(_, count)| count).sum()
    };
    assert_eq!(
        (count("secrets", ""), count("tokens", "status"), count("events", "")),
        (1, 1, 0),
        "{writes:#?}"
    );
}

#[tokio::test]
async fn a_token_is_replaced_before_it_expires_again_and_again() {
    let settings = Settings::default();
    let world = World::with(cluster(), settings, |operator| operator).await;
    world.github.set_token_lifetime(Duration::from_secs(8));
    world.token("short", serde_json::json!({})).await;
    let mut last = world.good_token("short", None).await;
    for _ in 0..3 {
        last = world.good_token("short", Some(&last)).await;
        assert!(matches!(world.github.token_state(&last), TokenState::Valid { .. }));
    }
    let mints = world.github.mints();
    for pair in mints.windows(2) {
        assert!(
            pair[1].at < pair[0].expires_at,
            "replaced after it had expired: {pair:?}"
        );
    }
}

#[tokio::test]
async fn a_secret_that_was_deleted_or_edited_is_repaired() {
    let world = World::new().await;
    world.token("demo", serde_json::json!({})).await;
    world.ready("demo").await;
    let first = world.good_token("demo", None).await;

    world.secrets().delete("demo", &DeleteParams::default()).await.unwrap();
    let second = world.good_token("demo", Some(&first)).await;
    world.ready("demo").await;

    let edit = serde_json::json!({"stringData": {"token": "someone else's"}});
    world
        .secrets()
        .patch("demo", &PatchParams::default(), &Patch::Merge(&edit))
        .await
        .unwrap();
    let third = world.good_token("demo", Some(&second)).await;
    let told = world.events("demo").await;
    let repaired = told.iter().find(|(reason, _)| reason == "SecretRepaired");
    let (_, note) = repaired.expect("an Event");
    assert!(note.contains(&lab::github::hashed(&second)), "{note}");
    assert_ne!(first, third);
    assert_eq!(world.github.mint_count(), 3);
    assert!(
        matches!(world.github.token_state(&first), TokenState::Valid { .. }),
        "its users are not cut off"
    );
}

#[tokio::test]
async fn labels_status_edits_and_restarts_mint_nothing() {
    let mut world = World::new().await;
    world.token("demo", serde_json::json!({})).await;
    world.ready("demo").await;
    let token = world.good_token("demo", None).await;
    let label = serde_json::json!({"metadata": {"labels": {"a": "b"}, "annotations": {"x": "y"}}});
    world
        .tokens()
        .patch("demo", &PatchParams::default(), &Patch::Merge(&label))
        .await
        .unwrap();
    world
        .secrets()
        .patch("demo", &PatchParams::default(), &Patch::Merge(&label))
        .await
        .unwrap();
    let stale = serde_json::json!({"status": {"hashedToken": "wrong", "conditions": []}});
    world
        .tokens()
        .patch_status("demo", &PatchParams::default(), &Patch::Merge(&stale))
        .await
        .unwrap();
    eventually(SOON, "the status is mended", async || {
        let status = world.status("demo").await;
        let mended = status.hashed_token.as_deref() == Some(&*lab::github::hashed(&token));
        (mended && status.condition("Ready").is_some())
            .then_some(())
            .ok_or(format!("{status:?}"))
    })
    .await;
    world.operator.kill();
    world.operator.restart().await.unwrap();
    world.token("later", serde_json::json!({})).await;
    world.ready("later").await;
    assert_eq!(world.token_in("demo").await.as_deref(), Some(&*token));
    assert_eq!(world.github.mint_count(), 2, "one for each Token");
}

#[tokio::test]
async fn a_changed_scope_a_new_format_a_new_name_and_a_request_bring_a_new_token() {
    let world = World::new().await;
    world
        .token("demo", serde_json::json!({"permissions": {"contents": "write"}}))
        .await;
    let first = world.good_token("demo", None).await;

    world
        .token("demo", serde_json::json!({"permissions": {"contents": "read"}}))
        .await;
    let second = world.good_token("demo", Some(&first)).await;
    world.ready("demo").await;

    let ask = serde_json::json!({"metadata": {"annotations": {annotation::REFRESH_REQUESTED: "2026-01-01T00:00:00Z"}}});
    world
        .tokens()
        .patch("demo", &PatchParams::default(), &Patch::Merge(&ask))
        .await
        .unwrap();
    let third = world.good_token("demo", Some(&second)).await;
    world.ready("demo").await;

    let basic = serde_json::json!({"permissions": {"contents": "read"}, "secret": {"basicAuth": true}});
    world.token("demo", basic).await;
    eventually(SOON, "username and password", async || {
        let data = world.data("demo").await.ok_or("no Secret")?;
        let keys: Vec<_> = data.keys().map(String::as_str).collect();
        (keys == ["password", "username"]).then_some(()).ok_or("another format")
    })
    .await;
    world.ready("demo").await;

    let renamed = serde_json::json!({"permissions": {"contents": "read"}, "secret": {"name": "other"}});
    world.token("demo", renamed).await;
    world.good_token("other", Some(&third)).await;
    eventually(SOON, "the Secret of the former name is gone", async || {
        world
            .data("demo")
            .await
            .map_or(Ok(()), |data| Err(format!("{:?}", data.keys())))
    })
    .await;
    world.ready("demo").await;
    assert_eq!(world.github.mint_count(), 5);
}

#[tokio::test]
async fn the_token_of_a_deleted_token_is_revoked_and_its_secret_goes() {
    let world = World::new().await;
    world
        .token("demo", serde_json::json!({"secret": {"format": "netrc"}}))
        .await;
    world.ready("demo").await;
    let token = world.github.tokens()[0].clone();
    world.delete("demo").await;
    eventually(SOON, "the Secret is gone", async || {
        world.data("demo").await.map_or(Ok(()), |_| Err("still there"))
    })
    .await;
    assert_eq!(world.github.token_state(&token), TokenState::Revoked);
}

#[tokio::test]
async fn a_foreign_secret_is_left_as_it_is_and_nothing_is_minted_for_it() {
    let world = World::new().await;
    let foreign = serde_json::json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "demo", "namespace": world.namespace}, "stringData": {"token": "precious"}});
    world
        .secrets()
        .patch("demo", &PatchParams::apply("someone"), &Patch::Apply(&foreign))
        .await
        .unwrap();
    let before = world.secrets().get("demo").await.unwrap();
    world.token("demo", serde_json::json!({})).await;
    let ready = world.condition("demo", "Ready", "False", "SecretConflict").await;
    assert!(ready.message.contains("spec.secret.name"), "{}", ready.message);
    assert_eq!(world.secrets().get("demo").await.unwrap(), before);
    assert_eq!(world.github.mint_count(), 0);
    let status = world.status("demo").await;
    assert!(status.next_attempt_at.is_some());
    assert!(
        world
            .events("demo")
            .await
            .iter()
            .any(|(reason, _)| reason == "SecretConflict")
    );

    // Another name is a cure.
    world
        .token("demo", serde_json::json!({"secret": {"name": "free"}}))
        .await;
    world.ready("demo").await;
    world.good_token("free", None).await;
}

#[tokio::test]
async fn two_tokens_that_want_one_secret_do_not_fight_and_the_second_follows_the_first() {
    let world = World::new().await;
    world
        .token("first", serde_json::json!({"secret": {"name": "shared"}}))
        .await;
    world.ready("first").await;
    world
        .token("second", serde_json::json!({"secret": {"name": "shared"}}))
        .await;
    let conflict = world.condition("second", "Ready", "False", "SecretConflict").await;
    assert!(
        conflict
            .message
            .contains(&format!("belongs to Token {}/first", world.namespace)),
        "{}",
        conflict.message
    );
    assert_eq!(world.github.mint_count(), 1);
    world.delete("first").await;
    world.ready("second").await;
    assert_eq!(world.github.mint_count(), 2);
}

#[tokio::test]
async fn a_new_token_is_written_when_github_takes_it_if_that_is_asked_for() {
    let delay = Duration::from_secs(2);
    let world = World::with(cluster(), Settings::default(), |operator| {
        operator.env("GTM_PROBE_TOKENS", "true")
    })
    .await;
    world.token("demo", serde_json::json!({})).await;
    world.ready("demo").await;
    let first = world.good_token("demo", None).await;
    world.github.adjust(|knobs| knobs.activation_delay = delay);
    world.request("demo", "1").await;
    let second = world.good_token("demo", Some(&first)).await;
    let mints = world.github.mints();
    assert_eq!(mints.len(), 2, "tried again and again, but issued once");
    assert!(
        world.github.now() >= mints[1].at + delay,
        "written before GitHub took it"
    );

    // The end does not wait for GitHub, and loses nothing.
    world
        .github
        .adjust(|knobs| knobs.activation_delay = Duration::from_secs(600));
    world.request("demo", "2").await;
    world.mints(3, SOON).await;
    world.operator.terminate(SOON).await.unwrap();
    let third = world.token_in("demo").await.unwrap();
    assert_ne!(third, second);
    assert_eq!(*world.github.mints()[2].token, *third);
}

#[tokio::test]
async fn a_deleted_secret_that_others_hold_is_told_and_made_anew_when_they_let_go() {
    let world = World::new().await;
    world.token("demo", serde_json::json!({})).await;
    world.ready("demo").await;
    let first = world.good_token("demo", None).await;
    let params = PatchParams::default();
    let hold = serde_json::json!([{"op": "add", "path": "/metadata/finalizers/-", "value": "example.com/holds"}]);
    let hold = Patch::Json::<()>(serde_json::from_value(hold).unwrap());
    world.secrets().patch("demo", &params, &hold).await.unwrap();
    world.secrets().delete("demo", &DeleteParams::default()).await.unwrap();
    let ready = world.condition("demo", "Ready", "False", "SecretConflict").await;
    assert!(
        ready.message.contains("a finalizer of someone else"),
        "{}",
        ready.message
    );
    assert_eq!(world.github.mint_count(), 1);

    let let_go = serde_json::json!({"metadata": {"finalizers": null}});
    world
        .secrets()
        .patch("demo", &params, &Patch::Merge(&let_go))
        .await
        .unwrap();
    world.good_token("demo", Some(&first)).await;
    world.ready("demo").await;
}
