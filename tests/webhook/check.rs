//! Whether the API server reaches the webhook, as `gtm check` tells it.

use std::path::Path;
use std::process::Command;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::world::{OWN, World};

/// The lines about the webhook, verdict and message, and whether all went well.
fn check(world: &World, kubeconfig: &Path) -> (Vec<(String, String)>, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gtm"));
    command.env_clear().env("KUBECONFIG", kubeconfig);
    command.args(["check", "-o", "json", "--namespace", OWN, "--config"]);
    let output = command
        .arg(world.folder.path().join("gtm.yaml"))
        .output()
        .expect("gtm runs");
    let links: Vec<Value> = serde_json::from_slice(&output.stdout).expect("a list");
    let text = |link: &Value, field: &str| link[field].as_str().unwrap_or_default().to_owned();
    let about = links.iter().filter(|link| link["check"] == "webhook");
    let about = about.map(|link| (text(link, "verdict"), text(link, "message")));
    (about.collect(), output.status.success())
}

#[track_caller]
fn expect(found: &[(String, String)], expected: [(&str, &str); 2]) {
    let all = found.iter().zip(expected);
    let mut same = all.map(|((verdict, message), (wanted, part))| verdict == wanted && message.contains(part));
    assert!(found.len() == 2 && same.all(|same| same), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_the_api_server_does_not_reach_is_told_and_one_that_answers_too() {
    let world = World::new().await;
    let admin = world.cluster.kubeconfig_path();
    let (found, success) = check(&world, admin);
    let answers = "it answers the API server";
    expect(&found, [("good", answers), ("good", answers)]);
    assert!(success);

    let jane = world.cluster.kubeconfig_for("jane", &[]).expect("a kubeconfig");
    let looks = [
        "create",
        "clusterrole",
        "looks",
        "--verb=list",
        "--resource=mutatingwebhookconfigurations,validatingwebhookconfigurations",
    ];
    world.cluster.kubectl(&looks).await.expect("a role");
    let binding = [
        "create",
        "clusterrolebinding",
        "looks",
        "--clusterrole=looks",
        "--user=jane",
    ];
    world.cluster.kubectl(&binding).await.expect("a binding");
    let (found, success) = check(&world, &jane);
    expect(
        &found,
        [
            ("doubtful", "not tried: pods is forbidden"),
            ("doubtful", "not tried: clustertokens.github.as-code.io is forbidden"),
        ],
    );
    assert!(success);

    // Nobody writes the authority back, and nobody listens.
    world.operator.kill();
    let (found, success) = check(&world, admin);
    expect(&found, [("bad", "connection refused"), ("bad", "failurePolicy Ignore")]);
    assert!(!success);

    let service = json!({"webhooks": [{"name": "NAME", "clientConfig": {"url": null, "caBundle": null,
        "service": {"name": "github-token-manager-webhook", "namespace": OWN}}}]});
    let patch =
        |name: &str| -> Value { serde_json::from_str(&service.to_string().replace("NAME", name)).expect("JSON") };
    let params = PatchParams::default();
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(world.client.clone());
    let name = "start-github-token-manager-or-remove-its-annotations.github.as-code.io";
    mutating
        .patch(OWN, &params, &Patch::Strategic(patch(name)))
        .await
        .expect("it is changed");
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(world.client.clone());
    let patch = patch("tokens.github.as-code.io");
    validating
        .patch(OWN, &params, &Patch::Strategic(patch))
        .await
        .expect("it is changed");
    let (found, success) = check(&world, admin);
    expect(&found, [("bad", "caBundle is empty"), ("bad", "caBundle is empty")]);
    assert!(!success);
}
