//! How the guides install the operator by its chart: beside a configuration that is there, or with one among the values.

use std::path::Path;

use lab::cluster::Cluster;
use lab::github::TokenState;
use serde_json::Value;

use crate::guide::Guide;
use crate::world::World;

/// A world in which the chart brings the operator's kinds.
async fn start() -> World {
    let world = World::with(Cluster::builder(), |settings| settings).await;
    world.helm();
    world
}

/// One value of the operator's Deployment.
fn deployed(world: &World, place: &str) -> String {
    world.sh(&format!(
        "kubectl -n github-token-manager get deployment github-token-manager -o jsonpath='{{.spec.template.spec.{place}}}'"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_is_installed_beside_the_configuration_that_the_flux_guide_makes() {
    let flux = Guide::read("flux.md");
    let world = start().await;
    world.follow(flux.block("owner: acme"));
    world.follow(flux.block("create secret generic gtm-config"));
    world.follow(flux.block("helm install"));
    assert_eq!(deployed(&world, "volumes[0].secret.secretName"), "gtm-config");
    // The guide's namespaces and its second Token: with the kinds that the chart has brought, and what was in the Secret.
    world.sh("kubectl create namespace flux-system");
    let _operator = world.operator().await;
    world.follow(flux.block("name: github-status"));
    world.ready("-n flux-system token github-status");
    let token = world.secret("flux-system", "github-status", "token");
    assert!(matches!(world.github.token_state(&token), TokenState::Valid { .. }));
}

/// The first indented block of the README that begins so.
fn of_the_readme(start: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(path).expect("README.md");
    let lines = readme
        .lines()
        .skip_while(|line| !line.starts_with(&format!("    {start}")));
    lines
        .map_while(|line| line.strip_prefix("    "))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_installation_gets_another_key_through_its_values() {
    let operations = Guide::read("../operations.md");
    let world = start().await;
    world.sh(&of_the_readme("helm install"));
    let key = world.github.rotate_key().expect("a key").pkcs1_pem();
    world.file("private-key.pem", &key);
    world.follow(operations.block("--set-file config.key"));
    let config = world.secret("github-token-manager", "gtm-config", "gtm.yaml");
    let config: Value = serde_saphyr::from_str(&config).expect("YAML");
    let stored = (&config["app_id"], &config["key"]);
    assert!(
        stored.0 == 1234 && stored.1.as_str().map(str::trim) == Some(key.trim()),
        "{stored:?}"
    );
    assert_eq!(
        deployed(&world, "containers[0].image"),
        "REGISTRY/github-token-manager:0.1.0"
    );
    // GitHub knows the new key alone.
    world.sh("kubectl create namespace team-a");
    let _operator = world.operator().await;
    let token = "{apiVersion: github.as-code.io/v1, kind: Token, metadata: {name: ci, namespace: team-a}, spec: {}}";
    world.file("applied.yaml", token);
    world.sh("kubectl apply -f applied.yaml");
    world.ready("-n team-a token ci");
}
