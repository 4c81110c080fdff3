//! The golden pods, through a real API server: what is injected is a valid pod, and what is refused is refused with the words that were looked at.

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use lab::golden::cases;
use serde_json::{Value, json};

use github_token_manager::api::ClusterToken;

use crate::world::{World, read};

/// Cases that need a Token which cannot be made at will: one that is being deleted, or was stored wrong.
const LEFT_OUT: [&str; 3] = ["deleting-deny", "deleting-wait", "wrong-token"];

/// The namespace of the golden answers.
const GOLDEN: &str = "team-a";

#[tokio::test]
async fn every_golden_pod_passes_a_server_side_dry_run_or_is_refused_as_it_should_be() {
    let world = World::new().await;
    world.token("ci", json!({})).await;
    world.token("docs", json!({"secret": {"name": "docs-token"}})).await;
    world.token("flux", json!({"secret": {"format": "basicAuth"}})).await;
    world.token("netrc", json!({"secret": {"format": "netrc"}})).await;
    world
        .token(
            "own",
            json!({"secret": {"format": "template", "template": {"plain": "{{.token}}"}}}),
        )
        .await;
    world
        .token("fresh", json!({"repositories": ["no-such-repository"]}))
        .await;
    let cluster_tokens: Api<ClusterToken> = Api::all(world.client.clone());
    for (name, namespace) in [("shared", world.namespace.as_str()), ("elsewhere", "default")] {
        let object = json!({"apiVersion": "github.as-code.io/v1", "kind": "ClusterToken", "metadata": {"name": name},
            "spec": {"secret": {"namespace": namespace}}});
        let params = PatchParams::apply("test");
        cluster_tokens
            .patch(name, &params, &Patch::Apply(&object))
            .await
            .unwrap();
    }
    // Whole objects, so that what our types do not know is sent, too.
    let kind = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
    let pods: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), &world.namespace, &kind);
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let mut seen = [0, 0];
    for (case, pod) in cases("tests/golden/pods", "pod.json") {
        if LEFT_OUT.contains(&case.as_str()) {
            continue;
        }
        let mut pod: Value = serde_json::from_str(&pod).unwrap();
        let expected: Value = serde_json::from_str(&read(&format!("tests/golden/pods/{case}/answer.json"))).unwrap();
        // The API server makes an ephemeral container only where one is asked for later.
        pod["spec"].as_object_mut().unwrap().remove("ephemeralContainers");
        let answer = pods.create(&dry, &serde_json::from_value(pod).unwrap()).await;
        match (answer, expected["refused"].as_str()) {
            (Ok(made), None) => {
                let patched = expected["patch"].as_array().is_some_and(|patch| !patch.is_empty());
                let note = made
                    .metadata
                    .annotations
                    .and_then(|all| all.get("github.as-code.io/status").cloned());
                assert_eq!(note.is_some(), patched, "{case}");
                seen[0] += 1;
            }
            (Err(error), Some(_)) => {
                let message = expected["message"].as_str().unwrap();
                let wanted = format!("denied the request: {}", message.replace(GOLDEN, &world.namespace));
                let text = error.to_string();
                assert!(text.contains(&wanted), "{case}: {text}\n{wanted}");
                seen[1] += 1;
            }
            (answer, _) => panic!("{case}: {answer:?}"),
        }
    }
    assert!(seen[0] > 25 && seen[1] > 35, "{seen:?}");
}
