//! `gtm status`, as its users run it.

use std::path::Path;
use std::process::{Command, Output};

use lab::cluster::Cluster;
use lab::github::Settings;
use lab::process::{Folder, Port};
use serde_json::{Value, json};

use crate::world::{World, cluster};

pub fn status(kubeconfig: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gtm"));
    command.env_clear().env("KUBECONFIG", kubeconfig).arg("status");
    command.args(args).output().expect("gtm runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// NAME -> state, in the order in which they are told.
fn states(output: &Output) -> Vec<(String, String)> {
    let lines: Vec<Value> = serde_json::from_slice(&output.stdout).expect("a list");
    let word = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    lines
        .iter()
        .map(|line| (word(line, "name"), word(line, "state")))
        .collect()
}

fn named(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, state): &(&str, &str)| ((*name).to_owned(), (*state).to_owned());
    expected.iter().map(owned).collect()
}

#[tokio::test]
async fn the_tokens_of_a_cluster_are_told_those_in_trouble_first() {
    let world = World::with(cluster(), Settings::default(), |operator| operator).await;
    let kubeconfig = world.cluster.kubeconfig_path();
    let nothing = status(kubeconfig, &[]);
    assert!(nothing.status.success(), "{nothing:?}");
    assert_eq!(text(&nothing.stdout), "no Tokens\n");

    world.token("good", json!({"secret": {"name": "good-token"}})).await;
    world.ready("good").await;
    let all_good = status(kubeconfig, &["-n", &world.namespace]);
    assert!(all_good.status.success(), "{all_good:?}");
    let table = text(&all_good.stdout);
    let row = table.lines().nth(1).expect("a row");
    for part in [&world.namespace, "good", "Ready", "in ", "good-token"] {
        assert!(row.contains(part), "{part}: {table}");
    }

    world
        .token("broken", json!({"repositories": ["no-such-repository"]}))
        .await;
    world.condition("broken", "Ready", "False", "").await;
    let shared = json!({
        "apiVersion": "github.as-code.io/v1", "kind": "ClusterToken",
        "metadata": {"name": "shared"}, "spec": {"secret": {"namespace": world.namespace}}});
    let shared = serde_json::from_value(shared).expect("a ClusterToken");
    world
        .cluster_tokens()
        .create(&Default::default(), &shared)
        .await
        .expect("it is accepted");
    world.good_token("shared", None).await;
    let other = world.cluster.namespace("other").await.expect("a namespace");

    let all = status(kubeconfig, &["-o", "json"]);
    assert_eq!(all.status.code(), Some(1), "{all:?}");
    assert_eq!(text(&all.stderr).trim(), "error: not all are ready: 1 failing, 2 ready");
    assert_eq!(states(&all).first(), named(&[("broken", "Failing")]).first());
    assert!(text(&all.stdout).contains("no-such-repository"), "{all:?}");
    assert_eq!(states(&all).len(), 3);
    assert_eq!(states(&status(kubeconfig, &["-o", "json", "-n", &other])), []);
    assert_eq!(
        states(&status(kubeconfig, &["-o", "json", "-n", &world.namespace])).len(),
        3
    );
}

#[tokio::test]
async fn who_may_list_the_tokens_of_a_namespace_sees_them_and_is_told_what_is_hidden() {
    let world = World::with(cluster(), Settings::default(), |operator| operator).await;
    world.token("good", json!({})).await;
    world.ready("good").await;
    let role = [
        "create",
        "role",
        "looks",
        "-n",
        &world.namespace,
        "--verb=list",
        "--resource=tokens.github.as-code.io",
    ];
    world.cluster.kubectl(&role).await.expect("a Role");
    let binding = [
        "create",
        "rolebinding",
        "looks",
        "-n",
        &world.namespace,
        "--role=looks",
        "--user=jane",
    ];
    world.cluster.kubectl(&binding).await.expect("a RoleBinding");
    let jane = world.cluster.kubeconfig_for("jane", &[]).expect("a kubeconfig");

    let hers = status(&jane, &["-n", &world.namespace, "-o", "json"]);
    assert!(hers.status.success(), "{hers:?}");
    assert_eq!(states(&hers), named(&[("good", "Ready")]));
    assert!(text(&hers.stderr).starts_with("warning: ClusterTokens"), "{hers:?}");

    let all = status(&jane, &[]);
    assert_eq!(all.status.code(), Some(1), "{all:?}");
    let why = text(&all.stderr);
    assert!(
        why.contains("tokens.github.as-code.io cannot be listed") && why.contains("-n"),
        "{why}"
    );
}

#[tokio::test]
async fn more_than_a_page_and_tokens_that_nobody_looks_at_are_told() {
    let world = World::with(cluster(), Settings::default(), |operator| operator).await;
    world.operator.kill();
    world.many(501, json!({})).await;
    let all = status(world.cluster.kubeconfig_path(), &["-o", "json"]);
    assert_eq!(all.status.code(), Some(1), "{all:?}");
    let states = states(&all);
    assert_eq!(states.len(), 501);
    assert!(states.iter().all(|(_, state)| state == "Waiting"), "{states:?}");
    assert!(text(&all.stdout).contains("does it run"), "{all:?}");
}

#[tokio::test]
async fn a_token_that_expires_while_the_spec_cannot_be_read_is_told_and_why() {
    let world = World::short(16).await;
    world.token("demo", json!({})).await;
    world.settled("demo").await;
    let template = json!({"secret": {"format": "template", "template": {"key": "{{ .nothing }}"}}});
    world.token("demo", template).await;
    let ready = world.condition("demo", "Ready", "False", "InvalidTemplate").await;
    assert!(
        ready.message.contains("the token in the Secret is good until"),
        "{}",
        ready.message
    );
    world.condition("demo", "Expired", "True", "TokenExpired").await;
    let all = status(world.cluster.kubeconfig_path(), &[]);
    let said = text(&all.stdout);
    assert!(said.contains("Expired") && said.contains("InvalidTemplate"), "{said}");
    assert_eq!(world.github.mint_count(), 1);
}

#[tokio::test]
async fn a_cluster_without_the_kinds_is_told_how_it_gets_them() {
    let bare = Cluster::builder().lease().await.expect("a cluster");
    let output = status(bare.kubeconfig_path(), &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("gtm crds"), "{output:?}");
}

#[tokio::test]
async fn why_an_api_server_cannot_be_asked_is_told_with_its_address() {
    let bare = Cluster::builder().lease().await.expect("a cluster");
    let folder = Folder::new().expect("a folder");
    let (url, free) = (bare.url(), Port::take().expect("a port"));
    let closed = format!("https://{}", free.address());
    let trusted = bare.ca_pem().expect("a CA");
    for (server, ca, told) in [
        (&closed, None, "Connection refused"),
        (
            &"https://no-such-host.invalid:6443".to_owned(),
            None,
            "failed to lookup address",
        ),
        (&url, None, "certificate"),
        (&url, Some(trusted), "does not accept the credentials (401)"),
    ] {
        let authority = ca.map(|pem| folder.write("ca.pem", pem).expect("a file"));
        let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority": authority}}],
            "users": [{"name": "c", "user": {"token": "no-token-of-it"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]});
        let kubeconfig = folder.write("kubeconfig", kubeconfig.to_string()).expect("a file");
        let output = status(&kubeconfig, &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = text(&output.stderr);
        let addressed = told.contains("401") || error.contains(&format!("cannot be reached: {server}: "));
        assert!(addressed && error.contains(told), "{told}: {error}");
        assert!(!error.contains("-n") && !error.contains("no-token-of-it"), "{error}");
    }
}
