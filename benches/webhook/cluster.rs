//! Pods through a real API server.

use std::time::Duration;

use futures::StreamExt;
use github_token_manager::api::Token;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams};
use lab::cluster::Cluster;
use lab::gtm::{Operator, configurations};
use lab::process::Port;
use lab::wait::wait_for;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Failed;
use super::report::Report;

/// Pods in one measurement, and requests at once.
const PODS: usize = 500;
const AT_ONCE: usize = 16;
/// Measurements of each kind; they take turns.
const TURNS: usize = 3;

fn pod(annotations: &Value) -> Result<Pod, Failed> {
    let containers: Vec<Value> = (0..4)
        .map(|n| json!({"name": format!("c{n}"), "image": "example/app:1"}))
        .collect();
    Ok(serde_json::from_value(
        json!({"metadata": {"generateName": "p-", "annotations": annotations}, "spec": {"containers": containers}}),
    )?)
}

/// Seconds for creating the pods.
async fn create(pods: &Api<Pod>, annotations: &Value) -> Result<f64, Failed> {
    let one = pod(annotations)?;
    let started = Instant::now();
    let params = PostParams::default();
    let all = futures::stream::iter(0..PODS)
        .map(|_| pods.create(&params, &one))
        .buffer_unordered(AT_ONCE);
    let failed: Vec<_> = all.filter_map(|made| std::future::ready(made.err())).collect().await;
    let took = started.elapsed().as_secs_f64();
    pods.delete_collection(&DeleteParams::default().grace_period(0), &Default::default())
        .await?;
    match failed.into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(took),
    }
}

pub async fn pods(report: &mut Report) -> Result<(), Failed> {
    let cluster = Cluster::builder()
        .with_crds(github_token_manager::cli::crds::yaml().map_err(|error| error.to_string())?)
        .start()
        .await?;
    let port = Port::take()?;
    let operator = Operator::builder(env!("CARGO_BIN_EXE_gtm"), cluster.kubeconfig_path())
        .namespace("default")
        .leader_elect(false)
        .arg(format!("--webhook-bind-address=127.0.0.1:{}", port.number()));
    let _operator = operator.start().await?;
    let client = cluster.client().await?;
    let namespace = cluster.namespace("bench").await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let tokens: Api<Token> = Api::namespaced(client, &namespace);
    tokens
        .create(
            &PostParams::default(),
            &serde_json::from_value(
                json!({"apiVersion": "github.as-code.io/v1", "kind": "Token", "metadata": {"name": "ci"}, "spec": {}}),
            )?,
        )
        .await?;
    let (plain, asks) = (json!({}), json!({"github.as-code.io/token": "ci"}));
    let all = configurations(port.number())?;
    let (mutating, _) = all.split_once("---\n").ok_or("one configuration alone")?;
    create(&pods, &plain).await?;
    let (mut without, mut with, mut asked) = (0.0, 0.0, 0.0);
    for _ in 0..TURNS {
        without += create(&pods, &plain).await?;
        cluster.apply(mutating).await?;
        wait_for(Duration::from_secs(30), "the webhook", async || {
            create_one(&pods, &asks).await
        })
        .await?;
        with += create(&pods, &plain).await?;
        asked += create(&pods, &asks).await?;
        cluster
            .kubectl(&["delete", "mutatingwebhookconfiguration", "github-token-manager"])
            .await?;
    }
    let each = |seconds: f64| seconds / (PODS * TURNS) as f64 * 1000.0;
    report.tell("a plain pod, webhook not registered", each(without), "ms");
    report.at_most(
        "a plain pod with the webhook registered, of that",
        with / without,
        "",
        1.05,
    );
    report.tell("a pod that asked, of a plain one", asked / with, "");
    Ok(())
}

async fn create_one(pods: &Api<Pod>, annotations: &Value) -> Result<(), String> {
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let one = pod(annotations).map_err(|error| error.to_string())?;
    let made = pods.create(&dry, &one).await.map_err(|error| error.to_string())?;
    let injected = made.spec.is_some_and(|spec| spec.volumes.is_some());
    injected.then_some(()).ok_or("not injected".to_owned())
}
