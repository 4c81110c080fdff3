//! Namespaces that go while their tokens are still good.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::DeleteParams;
use lab::github::{Fault, Route, Settings, TokenState};
use lab::wait::eventually;
use serde_json::json;

use crate::world::{SOON, World, cluster};

const TOKENS: usize = 10;
/// Every revocation has 10 s, and 30 s after the first failure none is begun; then the namespace's own controller looks again.
const BOUND: Duration = Duration::from_secs(75);

async fn doomed() -> World {
    let cluster = cluster().with_controller_manager();
    let world = World::with(cluster, Settings::default(), |operator| operator).await;
    world.many(TOKENS, json!({})).await;
    world.all_ready(TOKENS, SOON).await;
    world
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
    for token in issued.values() {
        assert_eq!(world.github.token_state(token), TokenState::Revoked);
    }
    assert_eq!(world.github.mint_count(), TOKENS, "nothing is issued for what is going");
}

#[tokio::test]
async fn a_namespace_goes_in_bounded_time_while_github_is_down() {
    goes_without_github(Fault::CloseConnection).await;
}

#[tokio::test]
async fn a_namespace_goes_in_bounded_time_while_github_hangs() {
    goes_without_github(Fault::Hang).await;
}
