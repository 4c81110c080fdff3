//! `docs/guides/crossplane-terraform.md` and `docs/guides/registry.md`: what is in the Secrets is what their readers are documented to
//! take, and GitHub takes the tokens. The providers, and a registry, are not here.

use lab::github::TokenState;
use lab::wait::eventually;
use serde_json::Value;

use crate::guide::Guide;
use crate::jobs::{container, variables};
use crate::world::{SOON, World};

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

/// In the place of terraform: it needs its configuration, and reads the repository in it as the provider would, which appends the
/// path of an Enterprise Server's API itself.
const TERRAFORM: &str = r#"
grep -q 'name = "infrastructure"' main.tf || exit 1
if test "$1" = init; then echo init; exit; fi
api="${GITHUB_BASE_URL:+${GITHUB_BASE_URL}api/v3}"
curl -fsS -H "Authorization: Bearer $GITHUB_TOKEN" -H 'User-Agent: terraform' "${api:-API}/repos/$GITHUB_OWNER/infrastructure" |
  grep -o '"full_name":"[^"]*"' | head -1"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_job_starts_terraform_beside_its_configuration_with_token_owner_and_address() {
    let guide = Guide::read("crossplane-terraform.md");
    let world = World::new().await;
    world.script("terraform", &TERRAFORM.replace("API", world.github.url()));
    let _operator = world.installed("terraform").await;
    let block = guide.block("kind: Job");
    world.follow(block);
    world.ready("-n terraform token terraform");
    let job = container(&world, "-n terraform job terraform");
    world.sh("mkdir configuration work");
    world.sh("kubectl -n terraform get configmap terraform -o jsonpath='{.data.main\\.tf}' > configuration/main.tf");
    let script = job["args"][0]
        .as_str()
        .expect("a script")
        .replace("/configuration", "../configuration");
    let run = || world.sh(&format!("{}cd work\n{script}", variables(&world, "terraform", &job)));
    assert_eq!(run(), "init\n\"full_name\":\"acme/infrastructure\"\n");

    // What the guide adds for an Enterprise Server.
    let address = "GITHUB_BASE_URL: \"{{ .url }}/\"";
    assert!(guide.text.contains(address), "{address}");
    let owner = "GITHUB_OWNER: acme\n";
    assert!(block.text.contains(owner), "{owner}");
    let token = block.text.split("---\n").next().expect("the Token");
    world.file(
        "token.yaml",
        &token.replace(owner, &format!("{owner}      {address}\n")),
    );
    world.sh("kubectl apply -f token.yaml");
    eventually(SOON, "the address in the Secret", async || {
        let known = variables(&world, "terraform", &job);
        if known.contains("GITHUB_BASE_URL") {
            Ok(())
        } else {
            Err("none")
        }
    })
    .await;
    assert_eq!(run(), "init\n\"full_name\":\"acme/infrastructure\"\n");
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
