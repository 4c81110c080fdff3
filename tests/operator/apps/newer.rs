//! App objects of a newer version: what cannot be read is told, and stays as it was told.

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use lab::cluster::Cluster;
use lab::github::Settings;
use lab::wait::eventually;
use serde_json::{Value, json};

use crate::world::{SOON, World};

#[tokio::test]
async fn an_app_that_cannot_be_read_is_told_of_once() {
    let ours = github_token_manager::cli::crds::yaml().expect("CRDs");
    let newer = ours.replace(
        "                - vault\n",
        "                - vault\n                - hsm\n",
    );
    assert_ne!(newer, ours);
    let kinds = Cluster::builder().with_crds(newer).with_audit_log();
    let world = World::with(kinds, Settings::default(), |operator| operator).await;
    let kind = ApiResource::erase::<github_token_manager::api::App>(&());
    let apps: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), &world.namespace, &kind);
    let object = json!({"apiVersion": "github.as-code.io/v1", "kind": "App", "metadata": {"name": "new"},
        "spec": {"appID": 1, "provider": "hsm", "key": "slot-1"}});
    let applied = apps
        .patch("new", &PatchParams::apply("test"), &Patch::Apply(&object))
        .await;
    applied.expect("the App is accepted");
    eventually(SOON, "an Event about it", async || {
        let events = world.events("new").await;
        let told = events
            .iter()
            .any(|(reason, note)| reason == "InvalidSpec" && note.contains("hsm"));
        told.then_some(()).ok_or(format!("{events:?}"))
    })
    .await;
    let ready = async || -> Value {
        let status = apps.get("new").await.expect("the App exists").data["status"].take();
        let all = status["conditions"].as_array().cloned().unwrap_or_default();
        all.into_iter()
            .find(|condition| condition["type"] == "Ready")
            .unwrap_or_default()
    };
    let told = ready().await;
    assert_eq!(
        (&told["status"], &told["reason"]),
        (&json!("False"), &json!("InvalidSpec"))
    );

    // Another replica knows of it what the status says, and no more.
    world.operator.kill();
    let log = world.cluster.audit_log().expect("an audit log");
    let next = world.replica(|operator| operator.leader_elect(false)).await;
    world.token("t", json!({})).await;
    world.ready("t").await;
    next.kill();
    log.settle(&world.client).await.expect("the log is whole");
    let writes = log.writes(|event| event.resource == "apps").expect("it can be read");
    assert!(writes.is_empty(), "{writes:?}");
    assert_eq!(ready().await, told);
}
