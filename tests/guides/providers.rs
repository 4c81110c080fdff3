//! `docs/guides/crossplane-terraform.md` and `docs/guides/registry.md`: what is in the Secrets is what their readers are documented to
//! take, and GitHub takes the tokens. The providers, and a registry, are not here.

use lab::github::TokenState;
use serde_json::Value;

use crate::guide::Guide;
use crate::jobs::{container, variables};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn crossplane_finds_token_and_owner_in_one_text() {
    let guide = Guide::read("crossplane-terraform.md");
    let world = World::new().await;
    let _operator = world.installed("crossplane-system").await;
    world.follow(guide.block("kind: ClusterToken"));
    world.ready("clustertoken crossplane-github");
    let text = world.secret("crossplane-system", "github-credentials", "credentials");
    let credentials: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(credentials["owner"], "acme");
    let token = credentials["token"].as_str().expect("a token");
    assert!(matches!(world.github.token_state(token), TokenState::Valid { .. }));
    assert_eq!(credentials.as_object().map(serde_json::Map::len), Some(2));
    // The fields of the Secret that a ProviderConfig names.
    for part in [
        "`namespace: crossplane-system`",
        "`name: github-credentials`",
        "`key: credentials`",
    ] {
        assert!(guide.text.contains(part), "{part}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn terraform_gets_token_owner_and_address_from_its_environment() {
    let guide = Guide::read("crossplane-terraform.md");
    let world = World::new().await;
    let _operator = world.installed("terraform").await;
    world.follow(guide.block("kind: Job"));
    world.ready("-n terraform token terraform");
    let variables = variables(&world, "terraform", &container(&world, "-n terraform job terraform"));
    let name = world.sh(&format!(
        "{variables} curl -fsS -H \"Authorization: Bearer $GITHUB_TOKEN\" -H 'User-Agent: terraform' \"${{GITHUB_BASE_URL}}repos/$GITHUB_OWNER/infrastructure\" > answer.json
         grep -o '\"full_name\":\"[^\"]*\"' answer.json | head -1"
    ));
    assert_eq!(name, "\"full_name\":\"acme/infrastructure\"\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pull_secret_is_one_that_a_kubelet_reads() {
    let guide = Guide::read("registry.md");
    let world = World::new().await;
    let _operator = world.installed("apps").await;
    // Made by a controller-manager where there is one.
    world.try_sh("kubectl -n apps create serviceaccount default");
    world.follow(guide.block("kind: Token"));
    world.follow(guide.block("patch serviceaccount default"));
    let account = world.sh("kubectl -n apps get serviceaccount default -o jsonpath='{.imagePullSecrets[0].name}'");
    let kind = world.sh(&format!("kubectl -n apps get secret {account} -o jsonpath='{{.type}}'"));
    assert_eq!(kind, "kubernetes.io/dockerconfigjson");
    let text = world.secret("apps", &account, ".dockerconfigjson");
    let config: Value = serde_json::from_str(&text).expect("JSON");
    let auths = config["auths"].as_object().expect("auths");
    let (registry, entry) = auths.iter().next().expect("a registry");
    assert!(registry.starts_with("containers.127.0.0.1"), "{registry}");
    let token = entry["password"].as_str().expect("a password");
    assert!(matches!(world.github.token_state(token), TokenState::Valid { .. }));
}
