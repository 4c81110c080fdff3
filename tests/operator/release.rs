//! `gtm release`, before the operator is uninstalled.

use std::time::Duration;

use github_token_manager::api::names::annotation;
use lab::github::Settings;
use lab::wait::eventually;
use serde_json::json;
use tokio::process::Command;

use crate::world::{REFUSED, SOON, World, cluster};

async fn finalizers(world: &World, name: &str) -> Vec<String> {
    let secret = world.secrets().get(name).await.expect("the Secret exists");
    secret.metadata.finalizers.unwrap_or_default()
}

/// What `gtm release` says that was let go of.
async fn released(world: &World, namespace: &str) -> String {
    let mut release = Command::new(env!("CARGO_BIN_EXE_gtm"));
    release
        .env_clear()
        .env("KUBECONFIG", world.cluster.kubeconfig_path())
        .args(["release", "--namespace", namespace])
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), release.output()).await;
    let output = output.expect("it ends").expect("gtm runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn released_secrets_are_not_held_again_and_can_be_deleted_without_the_operator() {
    let world = World::with(cluster().with_controller_manager(), Settings::default(), |operator| {
        operator.leader_elect(true)
    })
    .await;
    world.token("ci", json!({})).await;
    world.ready("ci").await;
    assert_eq!(finalizers(&world, "ci").await, ["github.as-code.io/revoke-token"]);
    let said = released(&world, "default").await;
    assert!(said.starts_with("1 Secrets") && said.contains("for a minute"), "{said}");
    // The operator still runs, and leads no more: it does not even look at a Token of now.
    assert!(world.operator.logs().contains("this replica does not lead any more"));
    world.token("later", json!({})).await;
    world.operator.process().check_running().expect("the operator goes on");
    assert_eq!(finalizers(&world, "ci").await, Vec::<String>::new());
    assert!(world.note("ci", annotation::RELEASED).await.is_some());
    let ends = world.operator.terminate(SOON).await.expect("the operator ends");
    assert!(ends.success(), "{ends}");
    let namespace = ["delete", "namespace", &world.namespace, "--wait=false"];
    world
        .cluster
        .kubectl(&namespace)
        .await
        .expect("the namespace is deleted");
    eventually(SOON, "the end of the namespace", async || {
        let get = ["get", "namespace", &world.namespace, "--ignore-not-found", "-o", "yaml"];
        let found = world.cluster.kubectl(&get).await.map_err(|error| error.to_string())?;
        found.is_empty().then_some(()).ok_or(found)
    })
    .await;
    assert_eq!(world.github.mint_count(), 1);
}

#[tokio::test]
async fn where_no_operator_was_stopped_for_it_that_is_said() {
    let world = World::new().await;
    world.token("ci", json!({})).await;
    world.ready("ci").await;
    let said = released(&world, "kube-system").await;
    assert!(said.starts_with("1 Secrets"), "{said}");
    assert!(
        said.contains("there is no Lease in the namespace kube-system"),
        "{said}"
    );
    assert_eq!(finalizers(&world, "ci").await, Vec::<String>::new());
}

#[tokio::test]
async fn who_may_not_change_the_secrets_leaves_the_lead_to_the_operator() {
    let world = World::with(cluster(), Settings::default(), |operator| operator.leader_elect(true)).await;
    world.token("ci", json!({})).await;
    world.ready("ci").await;
    let kubeconfig = world.cluster.kubeconfig_for("limited", &[]).expect("a kubeconfig");
    let may = |name: &str, group: &str, resource: &str, verbs: [&str; 3]| {
        json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
                "rules": [{"apiGroups": [group], "resources": [resource], "verbs": verbs}]},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "limited"}]}]})
    };
    let lease = may(
        "limited-lease",
        "coordination.k8s.io",
        "leases",
        ["get", "patch", "update"],
    );
    world
        .cluster
        .apply(&lease.to_string())
        .await
        .expect("rights to the Lease");
    refused(&kubeconfig, "the managed Secrets cannot be listed: ").await;
    let logs = world.operator.logs();
    assert!(!logs.contains("does not lead any more"), "{logs}");

    let secrets = may("limited-secrets", "", "secrets", ["get", "list", "watch"]);
    world
        .cluster
        .apply(&secrets.to_string())
        .await
        .expect("rights to see Secrets");
    refused(&kubeconfig, &format!("error: {}/ci: ", world.namespace)).await;
    // It led no more for as long as this took, and leads again long before the minute is over.
    world.token("later", json!({})).await;
    world.ready("later").await;
    assert_eq!(finalizers(&world, "ci").await, ["github.as-code.io/revoke-token"]);
}

/// Runs `gtm release` where something stands in its way. What it says of that.
async fn refused(kubeconfig: &std::path::Path, words: &str) -> String {
    let mut release = Command::new(env!("CARGO_BIN_EXE_gtm"));
    let release = release
        .env_clear()
        .env("KUBECONFIG", kubeconfig)
        .args(["release", "--namespace", "default"]);
    let output = release.kill_on_drop(true).output().await.expect("gtm runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(words), "{said}");
    said
}

#[tokio::test]
async fn a_secret_that_a_policy_of_the_cluster_keeps_is_named_and_holds_up_no_other() {
    let world = World::with(cluster(), Settings::default(), |operator| operator).await;
    let refused_team = json!({"secret": {"labels": {"team": REFUSED}}});
    for (name, spec) in [("a", json!({})), ("kept", refused_team), ("z", json!({}))] {
        world.token(name, spec).await;
        world.ready(name).await;
    }
    world.refuse_team().await;
    let said = refused(world.cluster.kubeconfig_path(), "1 of 3 managed Secrets").await;
    let named = format!("error: {}/kept: ", world.namespace);
    let line = said.lines().find(|line| line.starts_with(&named));
    assert!(line.is_some_and(|line| line.contains("no such team")), "{said}");
    for name in ["a", "z"] {
        assert_eq!(finalizers(&world, name).await, Vec::<String>::new());
    }
    assert_eq!(finalizers(&world, "kept").await, ["github.as-code.io/revoke-token"]);
}

#[tokio::test]
async fn an_operator_that_is_not_uninstalled_after_all_goes_on_by_itself() {
    let world = World::with(cluster(), Settings::default(), |operator| operator.leader_elect(true)).await;
    world.token("ci", json!({})).await;
    let first = world.settled("ci").await;
    // As `gtm release` leaves it, with the minute almost over.
    let bare = json!({"metadata": {"finalizers": ["example.com/theirs"],
        "annotations": {annotation::RELEASED: "2026-01-01T00:00:00Z"}}})
    .to_string();
    let patch = [
        "patch",
        "secret",
        "ci",
        "-n",
        &world.namespace,
        "--type=merge",
        "-p",
        &bare,
    ];
    world.cluster.kubectl(&patch).await.expect("the Secret is let go");
    let taken = json!({"spec": {"holderIdentity": "gtm-release", "leaseDurationSeconds": 1}}).to_string();
    let patch = ["patch", "lease", "github.as-code.io", "--type=merge", "-p", &taken];
    world.cluster.kubectl(&patch).await.expect("the Lease is taken");
    eventually(SOON, "the lead is lost", async || {
        let logs = world.operator.logs();
        logs.contains("does not lead any more").then_some(()).ok_or("it leads")
    })
    .await;
    world.token("later", json!({})).await;
    world.ready("later").await;
    assert_eq!(world.github.mint_count(), 2);
    assert_eq!(finalizers(&world, "ci").await, ["example.com/theirs"]);
    world.request("ci", "2026-01-01T00:00:00Z").await;
    world.good_token("ci", Some(&first)).await;
    let both = ["example.com/theirs", "github.as-code.io/revoke-token"];
    assert_eq!(finalizers(&world, "ci").await, both);
    assert_eq!(world.note("ci", annotation::RELEASED).await, None);
}
