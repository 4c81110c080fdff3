//! Tokens before they are stored.

use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use lab::wait::eventually;
use serde_json::{Value, json};

use github_token_manager::api::Token;

use crate::world::{SOON, World};

/// What `kubectl apply` says about a Token, on both of its outputs.
async fn apply(world: &World, name: &str, spec: &Value) -> Result<String, String> {
    let object = json!({"apiVersion": "github.as-code.io/v1", "kind": "Token", "metadata": {"name": name, "namespace": world.namespace}, "spec": spec});
    apply_object(world, &object).await
}

async fn apply_object(world: &World, object: &Value) -> Result<String, String> {
    let program = world.cluster.kubectl_program();
    let mut command = tokio::process::Command::new(program);
    command
        .args(["apply", "-f", "-"])
        .env("KUBECONFIG", world.cluster.kubeconfig_path());
    command.env("KUBECACHEDIR", world.cluster.folder().join("kubectl-warnings"));
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut input, object.to_string().as_bytes())
        .await
        .unwrap();
    drop(input);
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

#[tokio::test]
async fn what_the_controller_would_refuse_is_not_stored_and_what_looks_wrong_is_said() {
    let world = World::new().await;
    eventually(SOON, "the API server reaches /validate", async || {
        let said = apply(&world, "probe", &json!({"permissions": {"contnets": "read"}})).await;
        if matches!(&said, Ok(said) if said.contains("did you mean 'contents'?")) {
            return Ok(());
        }
        // What is stored is not looked at again unless its spec changes.
        world
            .cluster
            .kubectl(&["delete", "tokens", "--all", "-n", &world.namespace])
            .await
            .map_err(|e| e.to_string())?;
        Err(format!("{said:?}"))
    })
    .await;
    let refused = apply(
        &world,
        "t",
        &json!({"secret": {"format": "template", "template": {"k": "{{ .tokn }}"}}}),
    )
    .await;
    assert!(
        refused
            .unwrap_err()
            .contains("spec.secret.template['k']: '{{ .tokn }}' is not known")
    );
    let said = apply(
        &world,
        "wide",
        &json!({"permissions": {"members": "read"}, "repositories": ["alpha"]}),
    )
    .await;
    assert!(said.unwrap().contains("reaches the whole organization"));
    let said = apply(&world, "app", &json!({"appRef": {"name": "nobody"}}))
        .await
        .unwrap();
    assert!(said.contains("there is no App") && said.contains("nobody"), "{said}");

    let policy = json!({"apiVersion": "github.as-code.io/v1", "kind": "TokenPolicy", "metadata": {"name": "p"},
        "spec": {"permissions": {"contnets": "read", "*": "write"}, "namespaceSelector": {"matchLabels": {"no": "such"}}}});
    let said = apply_object(&world, &policy).await.unwrap();
    assert!(said.contains("did you mean 'contents'?"), "{said}");

    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    let foreign = serde_json::from_value(json!({"metadata": {"name": "foreign"}})).unwrap();
    secrets.create(&PostParams::default(), &foreign).await.unwrap();
    let said = apply(&world, "foreign", &json!({})).await.unwrap();
    assert!(
        said.contains("the Secret") && said.contains("exists and has no Token as its owner"),
        "{said}"
    );
    assert_eq!(
        apply(&world, "good", &json!({"permissions": {"contents": "read"}}))
            .await
            .unwrap(),
        ""
    );
}

#[tokio::test]
async fn an_object_that_was_stored_without_us_can_always_be_labelled_and_removed() {
    let world = World::new().await;
    let port = world.port.number();
    world.operator.kill();
    let wrong = json!({"secret": {"format": "template", "template": {"k": "{{ .tokn }}"}}});
    apply(&world, "wrong", &wrong).await.unwrap();
    let _again = world.replica(port).start().await.unwrap();
    world.answers().await;
    let tokens: Api<Token> = Api::namespaced(world.client.clone(), &world.namespace);
    let label = json!({"metadata": {"labels": {"a": "b"}, "finalizers": ["example.com/x"]}});
    tokens
        .patch("wrong", &PatchParams::default(), &Patch::Merge(&label))
        .await
        .unwrap();
    tokens.delete("wrong", &DeleteParams::default()).await.unwrap();
    let free = json!({"metadata": {"finalizers": null}});
    tokens
        .patch("wrong", &PatchParams::default(), &Patch::Merge(&free))
        .await
        .unwrap();
    eventually(SOON, "it is gone", async || match tokens.get_opt("wrong").await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}
