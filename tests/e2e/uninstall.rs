//! The end of the operator. The last of all tests, by its name: nothing works afterwards.

use lab::node::OPERATOR;
use lab::wait::eventually;
use serde_json::json;

use crate::world::{LONG, SOON, World, annotation, pod, template};

#[tokio::test]
async fn what_an_uninstalled_operator_leaves_blocks_nothing() {
    let world = World::new().await;
    let kubectl = world.node.kubectl();
    let token = world.issue("ci").await;
    world.node.uninstall_operator().await.unwrap();
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
