//! Namespaces that go while their tokens are still good.

use std::collections::BTreeMap;
use std::time::Duration;

use github_token_manager::api::Reason;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use lab::github::{Fault, Route, Settings, TokenState};
use lab::wait::eventually;
use serde_json::json;

use crate::world::{SOON, World, cluster};

const TOKENS: usize = 10;
/// Every revocation has 10 s, and 30 s after the first none is begun; then the namespace's own controller looks again.
const BOUND: Duration = Duration::from_secs(75);

async fn doomed() -> World {
    let cluster = cluster().with_controller_manager();
    let world = World::with(cluster, Settings::default(), |operator| operator).await;
    world.many(TOKENS, json!({})).await;
    world.all_ready(TOKENS, SOON).await;
    world
}

fn all_revoked(world: &World, issued: &BTreeMap<String, String>) {
    for token in issued.values() {
        assert_eq!(world.github.token_state(token), TokenState::Revoked);
    }
}

async fn secrets_are_gone(world: &World, issued: &BTreeMap<String, String>) {
    eventually(SOON, "the Secrets are gone", async || {
        let left = world.all_tokens().await.len();
        (left == 0).then_some(()).ok_or(left)
    })
    .await;
    all_revoked(world, issued);
}

async fn remove_namespace(world: &World, within: Duration) {
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    namespaces
        .delete(&world.namespace, &DeleteParams::default())
        .await
        .unwrap();
    eventually(within, "the namespace is gone", async || {
        match namespaces.get_opt(&world.namespace).await {
            Ok(None) => Ok(()),
            Ok(Some(namespace)) => Err(format!("{:?}", namespace.status)),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
}

async fn goes_without_github(fault: Fault) {
    let world = doomed().await;
    world.github.fail_while(Some(Route::Revoke), fault);
    remove_namespace(&world, BOUND).await;
    let abandoned = eventually(SOON, "an Event tells of it", async || {
        let events = world.events(&world.namespace).await;
        let mut about = events.into_iter().filter(|(reason, _)| reason == "RevocationAbandoned");
        about
            .next()
            .ok_or_else(|| format!("none; the operator says: {}", world.operator.logs()))
    })
    .await;
    assert!(abandoned.1.contains("stays valid until it expires"), "{}", abandoned.1);
    assert!(world.github.revocations().is_empty());
    // The operator goes on.
    world.github.clear_faults();
    let asked = world.github.requests();
    let revocations = asked.iter().filter(|request| request.route == Route::Revoke).count();
    assert!(revocations <= TOKENS * 15, "{revocations} requests");
    assert!(world.operator.process().check_running().is_ok());
}

#[tokio::test]
async fn the_tokens_of_a_namespace_that_is_deleted_are_revoked() {
    let world = doomed().await;
    let issued = world.all_tokens().await;
    remove_namespace(&world, SOON).await;
    assert_eq!(issued.len(), TOKENS);
    all_revoked(&world, &issued);
    assert_eq!(world.github.mint_count(), TOKENS, "nothing is issued for what is going");
}

#[tokio::test]
async fn a_limit_on_new_tokens_stops_no_revocation() {
    let world = doomed().await;
    let issued = world.all_tokens().await;
    let limited = Fault::SecondaryLimit {
        status: 403,
        retry_after: Some(900),
    };
    world.github.fail_while(Some(Route::Mint), limited);
    world.token("further", json!({})).await;
    let limited = Reason::SecondaryRateLimited.as_str();
    world.condition("further", "Ready", "False", limited).await;
    remove_namespace(&world, SOON).await;
    all_revoked(&world, &issued);
}

#[tokio::test]
async fn a_namespace_goes_in_bounded_time_while_github_is_down() {
    goes_without_github(Fault::CloseConnection).await;
}

#[tokio::test]
async fn a_namespace_goes_in_bounded_time_while_github_hangs() {
    goes_without_github(Fault::Hang).await;
}

#[tokio::test]
async fn the_secrets_of_a_kind_that_is_deleted_go_and_their_tokens_are_revoked() {
    let world = doomed().await;
    let issued = world.all_tokens().await;
    world.github.fail_while(Some(Route::Revoke), Fault::Unavailable(503));
    let delete = ["delete", "crd", "tokens.github.as-code.io"];
    world.cluster.kubectl(&delete).await.expect("the kind is deleted");
    // Attempts are made while the API server says of the Tokens only that it does not know the kind.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(world.all_tokens().await.len(), TOKENS);
    world.github.clear_faults();
    secrets_are_gone(&world, &issued).await;
    remove_namespace(&world, SOON).await;
}

#[tokio::test]
async fn the_secrets_of_kinds_that_were_deleted_while_nobody_looked_go_and_their_tokens_are_revoked() {
    let mut world = doomed().await;
    let issued = world.all_tokens().await;
    world.operator.kill();
    let kinds = ["tokens", "clustertokens", "apps", "tokenpolicies"].map(|kind| format!("{kind}.github.as-code.io"));
    let delete: Vec<&str> = ["delete", "crd"]
        .into_iter()
        .chain(kinds.iter().map(String::as_str))
        .collect();
    world.cluster.kubectl(&delete).await.expect("the kinds are deleted");
    eventually(
        SOON,
        "the cluster deletes the Secrets, which our finalizer holds",
        async || {
            let secrets = world
                .secrets()
                .list(&ListParams::default())
                .await
                .map_err(|e| e.to_string())?;
            let doomed = secrets
                .iter()
                .filter(|secret| secret.metadata.deletion_timestamp.is_some());
            let doomed = doomed.count();
            (doomed == TOKENS).then_some(()).ok_or(doomed.to_string())
        },
    )
    .await;
    world.operator.restart().await.unwrap();
    secrets_are_gone(&world, &issued).await;
    remove_namespace(&world, SOON).await;
}

#[tokio::test]
async fn kept_to_some_namespaces_it_lets_go_of_one_that_ends_before_its_role_goes() {
    // Without the controllers nothing in the namespace is deleted, and so no Role.
    let world = World::new().await;
    world.operator.kill();
    let only = format!("--watch-namespaces={}", world.namespace);
    let _operator = world.replica(|operator| operator.leader_elect(false).arg(only)).await;
    world.many(TOKENS, json!({})).await;
    world.all_ready(TOKENS, SOON).await;
    let issued = world.all_tokens().await;
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let deleted = namespaces.delete(&world.namespace, &DeleteParams::default()).await;
    deleted.expect("the namespace is deleted");
    eventually(SOON, "the Secrets are let go, and their tokens revoked", async || {
        let secrets = world
            .secrets()
            .list(&ListParams::default())
            .await
            .map_err(|e| e.to_string())?;
        let held = secrets.iter().filter(|secret| !secret.finalizers().is_empty()).count();
        let revoked = |token: &&String| world.github.token_state(token) == TokenState::Revoked;
        let good = issued.len() - issued.values().filter(revoked).count();
        (held + good == 0)
            .then_some(())
            .ok_or(format!("{held} are held, {good} are good"))
    })
    .await;
    assert_eq!(world.github.mint_count(), TOKENS);
}

/// What makes a Secret its Token's is taken away.
async fn disown(world: &World, secret: &str) {
    let none = json!({"metadata": {"ownerReferences": null}});
    let secrets = world.secrets();
    let disowned = secrets
        .patch(secret, &PatchParams::default(), &Patch::Merge(&none))
        .await;
    assert!(disowned.unwrap().owner_references().is_empty());
}

#[tokio::test]
async fn a_secret_whose_owner_was_taken_away_gets_it_back_and_keeps_its_token() {
    let world = World::with(cluster(), Settings::default(), |operator| operator).await;
    world.token("demo", json!({})).await;
    let token = world.settled("demo").await;
    let before = world.secrets().get("demo").await.unwrap();
    disown(&world, "demo").await;
    eventually(SOON, "the owner is back", async || {
        let now = world.secrets().get("demo").await.map_err(|e| e.to_string())?;
        let same = now.owner_references() == before.owner_references();
        same.then_some(()).ok_or(format!("{:?}", now.owner_references()))
    })
    .await;
    let after = world.secrets().get("demo").await.unwrap();
    assert_eq!((after.uid(), &after.data), (before.uid(), &before.data));
    assert_eq!(world.settled("demo").await, token);
    assert_eq!(world.github.mint_count(), 1);
}

#[tokio::test]
async fn a_secret_that_was_given_to_another_owner_goes_with_its_namespace() {
    let world = doomed().await;
    let issued = world.all_tokens().await;
    let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), &world.namespace);
    let map = serde_json::from_value(json!({"metadata": {"name": "theirs"}})).expect("a ConfigMap");
    let map = maps.create(&PostParams::default(), &map).await.expect("it is created");
    let theirs =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": map.name_any(), "uid": map.uid(), "controller": true});
    for name in issued.keys() {
        let owners = Patch::Merge(json!({"metadata": {"ownerReferences": [theirs]}}));
        let given = world.secrets().patch(name, &PatchParams::default(), &owners).await;
        given.expect("it is given away");
    }
    let conflict = Reason::SecretConflict.as_str();
    world.condition("t-0", "Ready", "False", conflict).await;
    remove_namespace(&world, 2 * SOON).await;
    all_revoked(&world, &issued);
}

#[tokio::test]
async fn a_secret_without_its_owner_goes_with_its_token_and_with_its_namespace() {
    let mut world = doomed().await;
    let issued = world.all_tokens().await;
    world.operator.kill();
    for name in issued.keys() {
        disown(&world, name).await;
    }
    world.delete("t-0").await;
    world.operator.restart().await.unwrap();
    eventually(SOON, "the Secret of the deleted Token is gone", async || {
        world.data("t-0").await.map_or(Ok(()), |_| Err("still there"))
    })
    .await;
    world.operator.kill();
    // Nothing is left of it but the labels.
    let bare = json!({"metadata": {"annotations": null}});
    for name in issued.keys().filter(|name| *name != "t-0") {
        disown(&world, name).await;
        let params = PatchParams::default();
        let secrets = world.secrets();
        secrets.patch(name, &params, &Patch::Merge(&bare)).await.unwrap();
    }
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let now = DeleteParams::default();
    namespaces.delete(&world.namespace, &now).await.unwrap();
    world.operator.restart().await.unwrap();
    eventually(BOUND, "the namespace is gone", async || {
        let found = namespaces.get_opt(&world.namespace).await.map_err(|e| e.to_string())?;
        found.map_or(Ok(()), |namespace| Err(format!("{:?}", namespace.status)))
    })
    .await;
    all_revoked(&world, &issued);
}

#[tokio::test]
async fn a_copy_in_another_namespace_goes_and_its_token_stays_good() {
    let world = World::with(cluster(), Settings::default(), |operator| operator).await;
    world.token("demo", json!({})).await;
    let token = world.settled("demo").await;
    let elsewhere = world.cluster.namespace("copy").await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &elsewhere);
    let mut copy = world.secrets().get("demo").await.unwrap();
    copy.metadata.namespace = Some(elsewhere);
    copy.metadata.resource_version = None;
    copy.metadata.uid = None;
    secrets.create(&Default::default(), &copy).await.unwrap();
    eventually(SOON, "the copy is gone", async || {
        let found = secrets.get_opt("demo").await.map_err(|e| e.to_string())?;
        found.map_or(Ok(()), |_| Err("still there".to_owned()))
    })
    .await;
    assert!(matches!(world.github.token_state(&token), TokenState::Valid { .. }));
    assert_eq!(world.settled("demo").await, token);
}

#[tokio::test]
async fn a_deleted_token_that_someone_else_holds_says_once_that_nothing_of_it_is_good() {
    let mut world = World::with(cluster(), Settings::default(), |operator| operator).await;
    let held = json!({"metadata": {"finalizers": ["example.com/theirs"]}});
    world.token("demo", json!({})).await;
    let token = world.settled("demo").await;
    let (tokens, params) = (world.tokens(), PatchParams::default());
    tokens.patch("demo", &params, &Patch::Merge(&held)).await.unwrap();
    world.delete("demo").await;
    let ready = world
        .condition("demo", "Ready", "False", Reason::Deleting.as_str())
        .await;
    eventually(SOON, "its token is revoked, and the Secret is gone", async || {
        let state = world.github.token_state(&token);
        let gone = state == TokenState::Revoked && world.data("demo").await.is_none();
        gone.then_some(()).ok_or(format!("{state:?}"))
    })
    .await;
    let told = tokens.get("demo").await.unwrap();
    let status = told.status.clone().unwrap_or_default();
    assert_eq!(status.observed_generation, told.metadata.generation);
    assert_eq!(status.conditions, [ready]);
    assert_eq!(
        (
            status.managed_secret,
            status.installation_access_token,
            status.hashed_token,
            status.next_attempt_at
        ),
        (None, None, None, None)
    );
    // A new process looks at all of them.
    world.operator.kill();
    world.operator.restart().await.unwrap();
    world.token("later", json!({})).await;
    world.settled("later").await;
    let version = tokens.get("demo").await.unwrap().metadata.resource_version;
    assert_eq!(version, told.metadata.resource_version, "it is written once");
    let free = json!({"metadata": {"finalizers": null}});
    tokens.patch("demo", &params, &Patch::Merge(&free)).await.unwrap();
    assert!(tokens.get_opt("demo").await.unwrap().is_none());
    assert_eq!(world.github.mint_count(), 2);
}

#[tokio::test]
async fn what_is_good_by_githubs_clock_is_revoked_whatever_ours_says() {
    let mut settings = Settings::default();
    settings.knobs.clock_offset = jiff::SignedDuration::from_mins(-10);
    settings.knobs.token_lifetime = Duration::from_secs(300);
    let world = World::with(cluster(), settings, |operator| operator).await;
    world.token("demo", json!({})).await;
    let token = world.settled("demo").await;
    world.delete("demo").await;
    eventually(SOON, "the Secret is gone", async || {
        world.data("demo").await.map_or(Ok(()), |_| Err("still there"))
    })
    .await;
    assert_eq!(world.github.token_state(&token), TokenState::Revoked);
}
