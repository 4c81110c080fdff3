//! How the guides install the operator by its chart: beside a configuration that is there, or with one among the values.

use std::path::Path;
use std::time::Duration;

use lab::cluster::Cluster;
use lab::github::TokenState;
use lab::gtm::Operator;
use lab::process::Port;
use lab::wait::eventually;
use serde_json::Value;

use crate::guide::Guide;
use crate::world::{SOON, World};

/// A world in which the chart brings the operator's kinds.
async fn start() -> World {
    let world = World::with(Cluster::builder(), |settings| settings).await;
    world.helm();
    world
}

/// The same after the README's installation, whose key was replaced as the guide says: GitHub knows the new key alone, which is the second.
async fn start_with_another_key(operations: &Guide) -> (World, String) {
    let world = start().await;
    world.sh(&of_the_readme("helm install"));
    let key = world.github.rotate_key().expect("a key").pkcs1_pem();
    world.file("private-key.pem", &key);
    world.follow(operations.block("--set-file config.key"));
    (world, key)
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

/// Helm itself remembers what it was about to do; on a cluster without nodes, the Job before an uninstallation never runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_whose_uninstallation_failed_is_whole_again_with_what_it_had() {
    let operations = Guide::read("../operations.md");
    let (world, _) = start_with_another_key(&operations).await;
    let config = || world.secret("github-token-manager", "gtm-config", "gtm.yaml");
    let before = config();
    // Twice: a revision that was gone back to may fail as well.
    for revision in [2, 3] {
        let failed = world.try_sh("helm -n github-token-manager uninstall github-token-manager --timeout 2s");
        let error = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert!(
            !failed.status.success() && error.contains("timed out waiting"),
            "{error}"
        );
        let done = world.follow(operations.block("rollback github-token-manager"));
        assert!(done.contains("Rollback was a success"), "{done}");
        let history = world.sh("helm -n github-token-manager history github-token-manager");
        let last = history.lines().last().expect("a revision");
        let expected = format!("Rollback to {revision}");
        assert!(last.contains("deployed") && last.contains(&expected), "{history}");
        assert_eq!(config(), before, "the newest key");
    }
    // And it can be upgraded as before.
    world.follow(operations.block("--set-file config.key"));
}

/// A value of the README's `gtm.yaml` that a test puts elsewhere.
const KEY: &str = "/etc/gtm/private-key.pem";

#[tokio::test(flavor = "multi_thread")]
async fn without_a_container_it_says_what_it_lacks_and_begins_when_that_is_there() {
    let world = World::with(Cluster::builder(), |settings| settings).await;
    let commands = of_the_readme("gtm crds");
    let (kinds, namespace) = commands.split_once('\n').expect("two commands");
    world.sh(kinds);
    let config = of_the_readme("app_id: ");
    assert!(config.contains(KEY), "{config}");
    let key = world.folder.path().join("private-key.pem").display().to_string();
    let config = world.file("gtm.yaml", &config.replace(KEY, &key));
    let operator = Operator::builder(env!("CARGO_BIN_EXE_gtm"), world.cluster.kubeconfig_path());
    let webhook = Port::take().expect("a port");
    let operator = operator
        .config(&config)
        .env("GTM_BASE_URL", world.github.url())
        .env("GTM_WEBHOOK_BIND_ADDRESS", webhook.address().to_string())
        .spawn()
        .expect("the operator starts");
    let lacking = || {
        operator
            .logs()
            .matches("create the namespace github-token-manager")
            .count()
    };
    eventually(SOON, "a word about the namespace", async || {
        (lacking() > 0).then_some(()).ok_or_else(|| operator.logs())
    })
    .await;
    // It is tried again meanwhile, and told once: of the Lease, and of the webhook's certificate authority.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let logs = operator.logs();
    assert_eq!((lacking(), logs.matches("not found").count()), (1, 2), "{logs}");
    world.sh(namespace);
    world.sh("kubectl create namespace team-a");
    let token = "{apiVersion: github.as-code.io/v1, kind: Token, metadata: {name: ci, namespace: team-a}, spec: {}}";
    world.file("applied.yaml", token);
    world.sh("kubectl apply -f applied.yaml");
    world.ready("-n team-a token ci");
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
    let (world, key) = start_with_another_key(&Guide::read("../operations.md")).await;
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
