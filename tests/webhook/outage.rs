//! An outage of the operator holds up nothing but pods that asked for it.

use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

use github_token_manager::api::Token;

use crate::world::{OWN, World, pod, read};

#[tokio::test]
async fn while_the_webhook_is_down_plain_pods_pass_and_those_that_asked_wait_with_the_cure() {
    let world = World::new().await;
    world.token("ci", json!({})).await;
    world.ready("ci").await;
    world.operator.kill();
    world.create(&pod("plain", &[], json!({}))).await.unwrap();
    let mut foreign = pod("foreign", &[], json!({}));
    foreign.metadata.annotations = Some([("example.com/token".to_owned(), "ci".to_owned())].into());
    world.create(&foreign).await.unwrap();
    let mut mirror = pod("mirror", &[("token", "ci")], json!({}));
    let annotations = mirror.metadata.annotations.as_mut().unwrap();
    annotations.insert("kubernetes.io/config.mirror".into(), "x".into());
    let answer = world.create(&mirror).await.map(drop).unwrap_err();
    assert!(
        !answer.contains("webhook"),
        "a mirror pod goes past us, to the API server's own rules: {answer}"
    );
    let error = world
        .create(&pod("asks", &[("token", "ci")], json!({})))
        .await
        .unwrap_err();
    assert!(
        error.contains("start-github-token-manager-or-remove-its-annotations"),
        "{error}"
    );

    // Neither our own kinds nor any clean-up waits.
    world.token("other", json!({"permissions": {"contents": "read"}})).await;
    world
        .token("other", json!({"permissions": {"contents": "write"}}))
        .await;
    let tokens: Api<Token> = Api::namespaced(world.client.clone(), &world.namespace);
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    tokens
        .patch("ci", &PatchParams::default(), &Patch::Merge(&label))
        .await
        .unwrap();
    tokens.delete("ci", &DeleteParams::default()).await.unwrap();
    world.pods().delete("plain", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_pod_of_a_namespace_that_is_left_out_is_never_held_up() {
    let world = World::new().await;
    world.operator.kill();
    let own = kube::Api::<k8s_openapi::api::core::v1::Pod>::namespaced(world.client.clone(), "kube-system");
    own.create(&Default::default(), &pod("asks", &[("token", "ci")], json!({})))
        .await
        .unwrap();
}

#[tokio::test]
async fn with_the_rights_and_kinds_of_a_version_without_webhook_and_policies_tokens_are_kept_as_before() {
    let world = World::new().await;
    world.operator.kill();
    let rights = read("deploy/rbac.yaml")
        .replace("resources: [tokenpolicies", "resources: [none")
        .replace("admissionregistration.k8s.io", "none.example.com")
        .replace(
            "resources: [namespaces]\n    verbs: [get, list, watch]",
            "resources: [namespaces]\n    verbs: [get]",
        );
    world.cluster.apply(&rights).await.unwrap();
    let kinds = "mutatingwebhookconfiguration,validatingwebhookconfiguration";
    world.cluster.kubectl(&["delete", kinds, OWN]).await.unwrap();
    world
        .cluster
        .kubectl(&["delete", "crd", "tokenpolicies.github.as-code.io"])
        .await
        .unwrap();
    world
        .cluster
        .kubectl(&["-n", OWN, "delete", "secret", "github-token-manager-webhook-ca"])
        .await
        .unwrap();
    let operator = world.replica(world.port.number()).start().await.unwrap();
    world.token("ci", json!({})).await;
    world.ready("ci").await;
    assert!(
        operator.logs().contains("no caBundle is written"),
        "{}",
        operator.logs()
    );
}
