//! Secrets that someone has taken the labels, the owner or the truth off: they are found again, mended, and hold nothing up.

use std::time::Duration;

use github_token_manager::api::names::{FINALIZER, annotation, label};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use lab::github::{Fault, Route, TokenState};
use lab::wait::eventually;
use serde_json::{Value, json};

use crate::world::{SOON, World, nothing_expired};

const LABELS: fn() -> Value = || json!({"metadata": {"labels": null}});
const LABELS_AND_OWNER: fn() -> Value = || json!({"metadata": {"labels": null, "ownerReferences": null}});

async fn edit(world: &World, secret: &str, change: &Value) {
    let params = PatchParams::default();
    let edited = world.secrets().patch(secret, &params, &Patch::Merge(change)).await;
    edited.expect("the Secret is edited");
}

/// A Token that is ready, and its token.
async fn issued(world: &World, name: &str) -> String {
    world.token(name, json!({})).await;
    world.ready(name).await;
    world.token_in(name).await.expect("a token")
}

#[tokio::test]
async fn labels_and_owner_are_put_back_and_the_token_stays() {
    let world = World::new().await;
    let token = issued(&world, "demo").await;
    for change in [LABELS(), LABELS_AND_OWNER()] {
        edit(&world, "demo", &change).await;
        eventually(SOON, "it is mended", async || {
            let secret = world.secrets().get("demo").await.map_err(|error| error.to_string())?;
            let labelled =
                secret.labels().contains_key(label::CREATED_BY) && secret.labels().contains_key(label::INSTANCE);
            let mended = labelled && secret.owner_references().len() == 1;
            mended.then_some(()).ok_or(format!("{:?}", secret.metadata))
        })
        .await;
    }
    world.ready("demo").await;
    assert_eq!(world.token_in("demo").await, Some(token));
    assert_eq!(world.github.mint_count(), 1);
}

#[tokio::test]
async fn what_is_left_on_a_secret_without_an_owner_tells_whose_it_is() {
    let world = World::new().await;
    let first = issued(&world, "demo").await;
    let mended = async || {
        eventually(SOON, "it is mended", async || {
            let secret = world.secrets().get("demo").await.map_err(|error| error.to_string())?;
            let noted = secret.annotations().contains_key(annotation::HASHED_TOKEN);
            let held = secret.finalizers() == [FINALIZER];
            let mended = held && noted && secret.owner_references().len() == 1;
            mended.then_some(()).ok_or(format!("{:?}", secret.metadata))
        })
        .await;
        world.settled("demo").await
    };
    for lost in ["finalizers", "annotations"] {
        let change = json!({"metadata": {"ownerReferences": null, lost: null}});
        edit(&world, "demo", &change).await;
        assert_eq!(mended().await, first, "without {lost}");
    }
    assert_eq!(world.github.mint_count(), 1);
}

#[tokio::test]
async fn who_copies_our_labels_and_another_hash_keeps_a_secret_of_their_own() {
    let world = World::new().await;
    issued(&world, "demo").await;
    let ours = world.secrets().get("demo").await.unwrap();
    let mut labels = ours.labels().clone();
    labels.insert(label::INSTANCE.to_owned(), "other".to_owned());
    let theirs = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other", "labels": labels,
        "annotations": ours.annotations()}, "stringData": {"token": "theirs"}});
    let params = PatchParams::apply("someone");
    world
        .secrets()
        .patch("other", &params, &Patch::Apply(&theirs))
        .await
        .unwrap();
    world.token("other", json!({})).await;
    world.condition("other", "Ready", "False", "SecretConflict").await;
    assert_eq!(world.token_in("other").await.as_deref(), Some("theirs"));
    assert_eq!(world.github.mint_count(), 1);
}

async fn is_held(world: &World, name: &str) {
    eventually(SOON, "it is held again", async || {
        let secret = world.secrets().get(name).await.map_err(|error| error.to_string())?;
        let held = secret.finalizers().iter().any(|name| name == FINALIZER);
        held.then_some(()).ok_or(format!("{:?}", secret.metadata))
    })
    .await;
}

#[tokio::test]
async fn our_finalizer_is_put_back_and_the_token_is_revoked_in_the_end() {
    let world = World::new().await;
    let token = issued(&world, "demo").await;
    let loose = json!({"metadata": {"finalizers": ["example.com/theirs"]}});
    edit(&world, "demo", &loose).await;
    is_held(&world, "demo").await;
    let secret = world.secrets().get("demo").await.unwrap();
    assert_eq!(secret.finalizers(), ["example.com/theirs", FINALIZER]);
    // Also of a Token that has another trouble.
    world.github.fail_while(Some(Route::Mint), Fault::Suspended);
    world.request("demo", "1").await;
    world.condition("demo", "Ready", "False", "InstallationSuspended").await;
    edit(&world, "demo", &json!({"metadata": {"finalizers": null}})).await;
    is_held(&world, "demo").await;
    assert_eq!(world.token_in("demo").await, Some(token.clone()));
    assert_eq!(world.github.mint_count(), 1);
    world.delete("demo").await;
    eventually(SOON, "its token is revoked, and it is let go", async || {
        match (
            world.github.token_state(&token),
            world.secrets().get_opt("demo").await.unwrap(),
        ) {
            (TokenState::Revoked, None) => Ok(()),
            (state, secret) => Err(format!("{state:?} {:?}", secret.map(|secret| secret.metadata))),
        }
    })
    .await;
}

#[tokio::test]
async fn who_takes_our_finalizer_off_again_and_again_causes_no_stream_of_writes() {
    let world = World::new().await;
    issued(&world, "demo").await;
    let bare = json!({"metadata": {"finalizers": null}});
    let end = tokio::time::Instant::now() + Duration::from_secs(8);
    let mut put_back = 0;
    while tokio::time::Instant::now() < end {
        if world.secrets().get("demo").await.unwrap().finalizers().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        } else {
            put_back += 1;
            edit(&world, "demo", &bare).await;
        }
    }
    // The first one was there from the beginning; ten may be put back at once.
    assert!((5..=12).contains(&put_back), "{put_back}");
    world.ready("demo").await;
    assert_eq!(world.github.mint_count(), 1);
}

#[tokio::test]
async fn one_that_is_stripped_and_deleted_at_once_is_made_anew() {
    let mut world = World::new().await;
    for (name, change) in [("labels", LABELS()), ("both", LABELS_AND_OWNER())] {
        let token = issued(&world, name).await;
        let (secrets, params) = (world.secrets(), DeleteParams::default());
        edit(&world, name, &change).await;
        secrets.delete(name, &params).await.unwrap();
        world.good_token(name, Some(&token)).await;
        world.ready(name).await;
    }
    // The same while nobody watches.
    let token = issued(&world, "unseen").await;
    world.operator.kill();
    edit(&world, "unseen", &LABELS_AND_OWNER()).await;
    world
        .secrets()
        .delete("unseen", &DeleteParams::default())
        .await
        .unwrap();
    world.operator.restart().await.unwrap();
    world.good_token("unseen", Some(&token)).await;
    assert_eq!(world.github.mint_count(), 6, "two for each");
}

#[tokio::test]
async fn one_that_is_stripped_holds_up_neither_its_token_nor_its_namespace() {
    let world = World::new().await;
    for (name, change) in [("labels", LABELS()), ("both", LABELS_AND_OWNER())] {
        let token = issued(&world, name).await;
        edit(&world, name, &change).await;
        world.delete(name).await;
        // Nothing in the lab collects what has lost its owner.
        eventually(SOON, "its token is revoked, and it is let go", async || {
            match (
                world.github.token_state(&token),
                world.secrets().get_opt(name).await.unwrap(),
            ) {
                (TokenState::Revoked, None) => Ok(()),
                (state, secret) => Err(format!("{state:?} {:?}", secret.map(|secret| secret.metadata))),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn who_changes_what_is_said_of_a_token_has_it_replaced() {
    let world = World::new().await;
    let mut token = issued(&world, "demo").await;
    for (name, value) in [
        (annotation::ISSUED_AT, "2098-01-01T00:00:00Z"),
        (annotation::EXPIRES_AT, "2099-01-01T00:00:00Z"),
        (annotation::HASHED_TOKEN, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
        (annotation::BASE_URL, "https://github.example.com/api/v3"),
    ] {
        edit(&world, "demo", &json!({"metadata": {"annotations": {name: value}}})).await;
        token = world.good_token("demo", Some(&token)).await;
        world.ready("demo").await;
        let told = world.note("demo", name).await;
        assert_ne!(told.as_deref(), Some(value), "{name}");
    }
    let hash = world.status("demo").await.hashed_token;
    assert_eq!(hash.as_deref(), Some(&*lab::github::hashed(&token)));
    let secret = world.secrets().get("demo").await.unwrap();
    assert_eq!(secret.finalizers(), [FINALIZER]);
}

#[tokio::test]
async fn a_change_that_has_to_wait_is_not_said_to_be_done() {
    let world = World::new().await;
    let spec = |label: usize| json!({"secret": {"labels": {"round": label.to_string()}}});
    world.token("demo", spec(0)).await;
    world.ready("demo").await;
    // More than may be changed at once.
    let mut last = 0;
    let told = loop {
        last += 1;
        assert!(last < 40, "everything was changed at once");
        world.token("demo", spec(last)).await;
        let changed = eventually(SOON, "it is changed, or put off", async || {
            let secret = world.secrets().get("demo").await.map_err(|error| error.to_string())?;
            let round = secret.labels().get("round").cloned();
            let token = world.tokens().get("demo").await.map_err(|error| error.to_string())?;
            let ready = token
                .status
                .as_ref()
                .and_then(|status| status.condition("Ready").cloned());
            let ready = ready.filter(|ready| ready.observed_generation == token.metadata.generation);
            let ready = ready.ok_or("not looked at yet")?;
            match round == Some(last.to_string()) {
                true if ready.status == "True" => Ok(None),
                false if ready.status == "False" => Ok(Some(ready)),
                // What is seen first may be the Secret of before.
                _ => Err(format!("{round:?} {ready:?}")),
            }
        })
        .await;
        if let Some(told) = changed {
            break told;
        }
    };
    assert_eq!(told.reason, "Pending");
    assert!(told.message.contains("put off for some seconds"), "{}", told.message);
    world.condition("demo", "Reconciling", "True", "Pending").await;
    assert!(world.status("demo").await.next_attempt_at.is_some());
    eventually(2 * SOON, "it is changed in its time", async || {
        let secret = world.secrets().get("demo").await.map_err(|error| error.to_string())?;
        let round = secret.labels().get("round").cloned();
        (round == Some(last.to_string()))
            .then_some(())
            .ok_or(format!("{round:?}"))
    })
    .await;
    world.ready("demo").await;
}

#[tokio::test]
async fn what_someone_mends_before_a_token_expires_is_found_in_time() {
    // At worst it is looked for a minute after the last time, or when half of what is left is over.
    let world = World::short(240).await;
    let monitor = world.monitor();
    world.token("demo", json!({})).await;
    world.ready("demo").await;
    let first = world.token_in("demo").await;
    world.github.fail_while(Some(Route::Mint), Fault::Suspended);
    world.request("demo", "1").await;
    world.condition("demo", "Ready", "False", "InstallationSuspended").await;
    world.github.clear_faults();
    eventually(Duration::from_secs(150), "it is found", async || {
        (world.token_in("demo").await != first)
            .then_some(())
            .ok_or("the former one")
    })
    .await;
    nothing_expired(monitor).await;
}

#[tokio::test]
async fn a_foreign_secret_that_came_during_the_issue_is_looked_for_at_the_time_that_is_told() {
    let world = World::new().await;
    // It counts after half of it.
    world.github.set_latency(Duration::from_secs(3));
    world.token("demo", json!({})).await;
    world.mints(1, SOON).await;
    let foreign =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "demo"}, "stringData": {"token": "x"}});
    let params = PatchParams::apply("someone");
    world
        .secrets()
        .patch("demo", &params, &Patch::Apply(&foreign))
        .await
        .unwrap();
    world.condition("demo", "Ready", "False", "SecretConflict").await;
    world.secrets().delete("demo", &DeleteParams::default()).await.unwrap();
    let told = world.status("demo").await.next_attempt_at;
    eventually(
        Duration::from_secs(75),
        "it is served at the first attempt",
        async || {
            let status = world.status("demo").await;
            let failing = status.condition("Ready").is_some_and(|ready| ready.status == "False");
            assert!(
                !failing || status.next_attempt_at == told,
                "it was put off again: {status:?}"
            );
            world.token_in("demo").await.map(drop).ok_or("no Secret")
        },
    )
    .await;
    assert_eq!(world.github.mint_count(), 1, "the token that was issued is used");
}
