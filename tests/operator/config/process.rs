//! Probes, the end on a signal, and a cluster that is not prepared yet.

use std::time::Duration;

use lab::cluster::Cluster;
use lab::github::Settings;
use lab::gtm::Operator;
use lab::process::{Folder, Signal};
use lab::wait::eventually;
use serde_json::json;

use crate::world::{SOON, World};

#[tokio::test]
async fn a_signal_ends_it_with_0_after_the_token_under_way_is_written() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        ends_well(signal).await;
    }
}

async fn ends_well(signal: Signal) {
    let world = World::new().await;
    assert!(world.operator.probe("healthz").await.is_ok());
    assert!(world.operator.probe("readyz").await.is_ok());
    // Half of it passes before the token is issued, half before it is answered.
    world.github.set_latency(Duration::from_secs(3));
    world.token("demo", json!({})).await;
    eventually(SOON, "a token is issued", async || {
        if world.github.mint_count() == 1 {
            Ok(())
        } else {
            Err("not yet")
        }
    })
    .await;
    assert!(world.token_in("demo").await.is_none(), "its answer is still on the way");
    world.operator.process().signal(signal).unwrap();
    let status = world.operator.process().wait(SOON).await.unwrap();
    assert_eq!(status.code(), Some(0), "{signal:?}: {}", world.operator.logs());
    assert!(world.operator.logs().contains("ending: no new work is begun"));
    world.good_token("demo", None).await;
    world.ready("demo").await;
}

#[tokio::test]
async fn a_signal_ends_it_with_0_before_the_start_is_over() {
    // An API server that takes connections and says nothing; the key would be there.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", silent.local_addr().unwrap())}}],
        "users": [{"name": "u", "user": {}}]});
    let folder = Folder::new().unwrap();
    let kubeconfig = folder.write("kubeconfig", kubeconfig.to_string().as_bytes()).unwrap();
    let operator = Operator::builder(env!("CARGO_BIN_EXE_gtm"), &kubeconfig)
        .env("GTM_APP_ID", "1")
        .env("GTM_PROVIDER", "secret")
        .env("GTM_KEY", "key");
    let operator = operator.spawn().unwrap();
    eventually(SOON, "it begins to start", async || operator.probe("healthz").await).await;
    let status = operator.terminate(Duration::from_secs(3)).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", operator.logs());
}

#[tokio::test]
async fn a_kubeconfig_by_flag_wins_over_the_variable_and_a_flag_of_the_peers_is_told() {
    let world = World::new().await;
    let path = world.cluster.kubeconfig_path();
    let replica = world.replica(|operator| {
        let operator = operator.env("KUBECONFIG", "/nonexistent").arg("--metrics-secure");
        operator.arg("--kubeconfig").arg(path)
    });
    let logs = replica.await.logs();
    assert!(logs.contains("--metrics-secure has no effect"), "{logs}");
}

#[tokio::test]
async fn an_interrupt_ends_it_as_well() {
    let world = World::new().await;
    world.operator.process().signal(Signal::INT).unwrap();
    let status = world.operator.process().wait(SOON).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", world.operator.logs());
}

#[tokio::test]
async fn without_the_crds_it_runs_says_so_and_works_once_they_are_installed() {
    let world = World::with(Cluster::builder(), Settings::default(), |operator| operator).await;
    eventually(SOON, "the log tells what is missing", async || {
        let logs = world.operator.logs();
        if logs.contains("CustomResourceDefinition") && logs.contains("gtm crds") {
            Ok(())
        } else {
            Err(logs)
        }
    })
    .await;
    assert!(world.operator.process().check_running().is_ok());
    let crds = github_token_manager::cli::crds::yaml().expect("CRDs");
    world.cluster.install_crds(&crds).await.unwrap();
    world.token("demo", json!({})).await;
    eventually(Duration::from_secs(60), "a Secret", async || {
        world.token_in("demo").await.ok_or("none")
    })
    .await;
    world.ready("demo").await;
}
