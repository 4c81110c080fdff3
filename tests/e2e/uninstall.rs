//! The end of the operator. The last of all tests, by its name: nothing works afterwards.

use lab::node::OPERATOR;
use lab::wait::eventually;
use serde_json::json;

use crate::world::{LONG, SOON, World, annotation, image, pod, template};

/// `gtm release`, as an administrator runs it on a machine of their own; what it printed.
async fn release(world: &World) -> String {
    let mut release = tokio::process::Command::new("nsenter");
    release
        .arg(format!("--net=/proc/{}/ns/net", world.node.pid()))
        .arg(env!("CARGO_BIN_EXE_gtm"))
        .args(["release", "--namespace", OPERATOR])
        .env("KUBECONFIG", world.node.folder().join("pki/admin.kubeconfig"))
        .kill_on_drop(true);
    let output = tokio::time::timeout(SOON, release.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// As docs/operations.md has it. Before the end, by its name: it installs the operator again.
#[tokio::test]
async fn an_operator_whose_image_is_gone_is_uninstalled_without_its_hook_after_a_release_by_hand() {
    let world = World::new().await;
    let first = world.issue("ci").await;
    world.node.change_operator("gone", &[]).await.unwrap();
    let failed = world.node.uninstall_operator(&["--timeout=10s"]).await.unwrap_err();
    assert!(
        failed.to_string().contains("timed out waiting for the condition"),
        "{failed}"
    );
    // Nothing was removed: the pods of the former image go on.
    world.ask_for_rotation("ci").await;
    let second = world.secret("ci", &first).await;
    assert!(world.is_valid(&second).await);
    let released = release(&world).await;
    assert!(!released.starts_with("0 "), "{released}");
    world.node.uninstall_operator(&["--no-hooks"]).await.unwrap();
    let kubectl = world.node.kubectl();
    // The Lease is held for a minute still, which the next installation would wait for.
    let left = ["job/github-token-manager-release", "lease/github.as-code.io"];
    let delete = ["-n", OPERATOR, "delete"];
    kubectl.run(&[&delete[..], &left].concat()).await.unwrap();
    let delete = ["delete", "namespace", &world.namespace, "--wait=false"];
    kubectl.run(&delete).await.unwrap();
    eventually(LONG, "the end of the namespace", async || {
        let get = ["get", "namespace", &world.namespace, "--ignore-not-found", "-o", "yaml"];
        let found = kubectl.run(&get).await.map_err(|error| error.to_string())?;
        found.is_empty().then_some(()).ok_or(found)
    })
    .await;
    // The kinds that were kept are taken up again.
    world.node.install_operator(&image()).await.unwrap();
}

#[tokio::test]
async fn what_an_uninstalled_operator_leaves_blocks_nothing() {
    let world = World::new().await;
    let kubectl = world.node.kubectl();
    let token = world.issue("ci").await;
    world.node.uninstall_operator(&[]).await.unwrap();
    for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        let left = kubectl.run(&["get", kind, "-o", "name"]).await.unwrap();
        assert!(!left.contains(OPERATOR), "{left}");
    }
    eventually(SOON, "no pod of the operator", async || {
        let pods = kubectl.run(&["-n", OPERATOR, "get", "pods", "-o", "name"]).await;
        let pods = pods.map_err(|error| error.to_string())?;
        pods.is_empty().then_some(()).ok_or(pods)
    })
    .await;
    // The kinds stay, with the Tokens, and their Secrets hold a good token for as long as it is good.
    assert_eq!(world.secret("ci", "").await, token);
    world.kubectl(&["get", "tokens.github.as-code.io", "ci"]).await.unwrap();
    // Pods start, with an annotation and without.
    let plain = template("late", json!({}), "echo up");
    let opted = template("late", annotation("ci"), "echo up");
    let pods = [
        pod(&world.namespace, "plain", plain),
        pod(&world.namespace, "opted", opted),
    ];
    world.apply(&pods).await;
    world.all_say("late", 2, "up").await;
    // Tokens and namespaces go.
    world
        .kubectl(&["delete", "tokens.github.as-code.io", "ci", "--timeout=30s"])
        .await
        .unwrap();
    for namespace in [&world.namespace, OPERATOR] {
        kubectl
            .run(&["delete", "namespace", namespace, "--wait=false"])
            .await
            .unwrap();
        eventually(LONG, "the end of the namespace", async || {
            let found = kubectl
                .run(&["get", "namespace", namespace, "--ignore-not-found", "-o", "yaml"])
                .await;
            let found = found.map_err(|error| error.to_string())?;
            found.is_empty().then_some(()).ok_or(found)
        })
        .await;
    }
}
