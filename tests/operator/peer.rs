//! What isometry/github-token-manager leaves behind is taken over: the token stays, nothing is minted for it.
//!
//! Secrets and statuses are built here as its sources (`internal/controller`, `api/v1`) write them: there is no annotation of
//! ours, and the token's life stands in the Token's status only.

use std::time::Duration;

use github_token_manager::api::Token;
use github_token_manager::api::names::annotation;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use lab::cluster::Cluster;
use lab::github::{GitHub, Settings, TokenState};
use lab::wait::eventually;
use serde_json::{Value, json};

use crate::apps::{in_secret, of_app};
use crate::status::status;
use crate::world::{SOON, World};

/// A token, as the peer gets it.
async fn mint(github: &GitHub) -> (String, String) {
    let url = format!("{}/app/installations/67890/access_tokens", github.url());
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let request = client
        .post(url)
        .bearer_auth(github.jwt().expect("a JWT"))
        .header("User-Agent", "peer");
    let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    let text = |name: &str| answer[name].as_str().expect("a text").to_owned();
    (text("token"), text("expires_at"))
}

/// Leaves a Token, its Secret and its status as the peer does, while no operator of ours runs.
async fn leave(world: &World, name: &str, spec: Value, (token, expires_at): &(String, String), updated_at: &str) {
    let basic = spec["secret"]["basicAuth"] == true;
    let object: Token = world.token(name, spec).await;
    let (kind, data) = if basic {
        ("basic-auth", json!({"username": "x-access-token", "password": token}))
    } else {
        ("token", json!({"token": token}))
    };
    let secret = json!({
        "metadata": {
            "name": name, "namespace": world.namespace,
            "labels": {
                "app.kubernetes.io/name": "Token", "app.kubernetes.io/instance": name,
                "app.kubernetes.io/part-of": "github-token-manager", "app.kubernetes.io/created-by": "github-token-manager"
            },
            "ownerReferences": [{
                "apiVersion": "github.as-code.io/v1", "kind": "Token", "name": name, "uid": object.uid(),
                "controller": true, "blockOwnerDeletion": true
            }]
        },
        "type": format!("github.as-code.io/{kind}"), "stringData": data
    });
    let params = PostParams {
        field_manager: Some("manager".into()),
        ..PostParams::default()
    };
    let secret = serde_json::from_value(secret).expect("a Secret");
    world
        .secrets()
        .create(&params, &secret)
        .await
        .expect("the Secret is created");
    let status = json!({"status": {
        "managedSecret": {"namespace": world.namespace, "name": name, "basicAuth": basic},
        "installationAccessToken": {"updatedAt": updated_at, "expiresAt": expires_at},
        "conditions": [{
            "type": "Available", "status": "True", "reason": "Reconciled", "message": "Reconciled",
            "lastTransitionTime": updated_at
        }]
    }});
    let params = PatchParams {
        field_manager: Some("manager".into()),
        ..PatchParams::default()
    };
    let patched = world.tokens().patch_status(name, &params, &Patch::Merge(&status)).await;
    patched.expect("the status is taken");
}

/// Its kinds.
pub fn older() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/peer-crds/crds.yaml");
    std::fs::read_to_string(path).expect("its CRDs")
}

/// A world in which our operator has not started yet.
async fn world() -> World {
    let world = World::new().await;
    world.operator.kill();
    world
}

#[tokio::test]
async fn its_secrets_are_adopted_without_a_mint_and_keep_their_tokens() {
    let mut world = world().await;
    let now = world.github.now().to_string();
    let plain = mint(&world.github).await;
    let basic = mint(&world.github).await;
    leave(
        &world,
        "plain",
        json!({"permissions": {"contents": "read"}}),
        &plain,
        &now,
    )
    .await;
    leave(&world, "basic", json!({"secret": {"basicAuth": true}}), &basic, &now).await;
    world.operator.restart().await.unwrap();
    for (name, (token, expires_at)) in [("plain", &plain), ("basic", &basic)] {
        let ready = world.ready(name).await;
        let data = world.data(name).await.unwrap();
        let kept = data.get("token").or(data.get("password"));
        assert_eq!(kept, Some(token));
        let notes = [
            (annotation::HASHED_TOKEN, lab::github::hashed(token)),
            (annotation::EXPIRES_AT, expires_at.clone()),
        ];
        for (note, value) in notes {
            assert_eq!(world.note(name, note).await, Some(value), "{name} {note}");
        }
        assert!(world.note(name, annotation::SCOPE_HASH).await.is_some());
        let status = ready.status.unwrap();
        assert_eq!(status.hashed_token, Some(lab::github::hashed(token)));
        assert!(status.next_attempt_at.is_some());
    }
    assert_eq!(world.github.mint_count(), 2, "the two of the peer");

    // From now on they are like any other: a change of scope mints, a deletion revokes.
    world.token("plain", json!({"permissions": {"issues": "read"}})).await;
    let new = world.good_token("plain", Some(&plain.0)).await;
    world.ready("plain").await;
    world.delete("plain").await;
    eventually(SOON, "the Secret is gone", async || {
        world.data("plain").await.map_or(Ok(()), |_| Err("still there"))
    })
    .await;
    assert_eq!(world.github.token_state(&new), TokenState::Revoked);
}

#[tokio::test]
async fn an_adopted_token_of_an_app_object_is_revoked_at_that_apps_github() {
    let mut world = world().await;
    let other = GitHub::start(Settings::default()).await.expect("another stand-in");
    world.key_secret("key", &world.good_pem()).await;
    let mut app = in_secret("key");
    app["baseURL"] = json!(other.url());
    world.app("team", app).await;
    let theirs = mint(&other).await;
    leave(&world, "demo", of_app("team"), &theirs, &other.now().to_string()).await;
    world.operator.restart().await.unwrap();
    world.ready("demo").await;
    world.delete("demo").await;
    eventually(SOON, "the Secret is gone", async || {
        world.data("demo").await.map_or(Ok(()), |_| Err("still there"))
    })
    .await;
    assert_eq!(other.token_state(&theirs.0), TokenState::Revoked);
    assert_eq!((other.mint_count(), world.github.mint_count()), (1, 0));
}

#[tokio::test]
async fn an_adopted_token_is_replaced_when_it_is_due() {
    let mut world = world().await;
    // Of 55 min only 45 are used, less a tenth at most: after 26 min it is not due in any case.
    let old = mint(&world.github).await;
    let long_ago = world.github.now() - jiff::SignedDuration::from_secs(26 * 60);
    leave(
        &world,
        "early",
        json!({"refreshInterval": "55m"}),
        &old,
        &long_ago.to_string(),
    )
    .await;
    let due = world.github.now() - jiff::SignedDuration::from_secs(31 * 60);
    let other = mint(&world.github).await;
    leave(&world, "due", json!({}), &other, &due.to_string()).await;
    world.operator.restart().await.unwrap();
    world.good_token("due", Some(&other.0)).await;
    world.ready("due").await;
    world.ready("early").await;
    assert_eq!(world.token_in("early").await, Some(old.0));
    assert_eq!(world.github.mint_count(), 3);
}

#[tokio::test]
async fn a_token_that_has_expired_meanwhile_is_replaced_at_once() {
    let mut world = world().await;
    world.github.set_token_lifetime(Duration::from_secs(1));
    let now = world.github.now().to_string();
    let old = mint(&world.github).await;
    leave(&world, "demo", json!({}), &old, &now).await;
    eventually(SOON, "it expires", async || match world.github.token_state(&old.0) {
        TokenState::Expired => Ok(()),
        state => Err(format!("{state:?}")),
    })
    .await;
    world.github.set_token_lifetime(Duration::from_secs(3600));
    world.operator.restart().await.unwrap();
    world.good_token("demo", Some(&old.0)).await;
    world.ready("demo").await;
    assert_eq!(world.github.mint_count(), 2);
}

#[tokio::test]
async fn a_secret_of_its_whose_status_is_lost_gets_a_new_token() {
    let mut world = world().await;
    let now = world.github.now().to_string();
    let old = mint(&world.github).await;
    leave(&world, "demo", json!({}), &old, &now).await;
    let lost = json!({"status": {"installationAccessToken": null}});
    world
        .tokens()
        .patch_status("demo", &PatchParams::default(), &Patch::Merge(&lost))
        .await
        .unwrap();
    world.operator.restart().await.unwrap();
    world.good_token("demo", Some(&old.0)).await;
    world.ready("demo").await;
    assert_eq!(world.github.mint_count(), 2);
}

#[tokio::test]
async fn with_its_kinds_a_good_token_is_ready_and_after_their_upgrade_the_status_is_whole_without_another_token() {
    let kinds = Cluster::builder().with_crds(older()).with_audit_log();
    let world = World::with(kinds, Settings::default(), |operator| operator).await;
    world.token("t", json!({"permissions": {"contents": "read"}})).await;
    world.ready("t").await;
    let told = "the CustomResourceDefinitions are older than this";
    eventually(SOON, "it is told", async || {
        let times = world.operator.logs().matches(told).count();
        (times > 0).then_some(()).ok_or(times)
    })
    .await;
    let status = status(world.cluster.kubeconfig_path(), &["-o", "json"]);
    assert!(status.status.success(), "{status:?}");

    let audit = world.cluster.audit_log().expect("an audit log");
    let ours = github_token_manager::cli::crds::yaml().expect("CRDs");
    world.cluster.install_crds(&ours).await.expect("the upgrade");
    eventually(2 * SOON, "the status is whole", async || {
        let status = world.status("t").await;
        let whole = status.observed_generation.is_some() && status.permissions.contains_key("contents");
        whole.then_some(()).ok_or(format!("{status:?}"))
    })
    .await;
    audit.settle(&world.client).await.expect("the log is whole");
    let writes = audit
        .writes(|event| event.resource == "tokens")
        .expect("it can be read");
    assert!(writes.values().sum::<usize>() < 20, "{writes:?}");
    assert_eq!(world.operator.logs().matches(told).count(), 1);
    assert_eq!(world.github.mint_count(), 1);
}
