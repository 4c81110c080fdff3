//! The key in a Secret of a real API server.

use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use lab::cluster::{Cluster, Leased};
use lab::github::{Fault, Route, TokenState};
use lab::gtm::Operator;
use lab::wait::eventually;

use crate::bench::{Bench, CONFIGURATION, SOON, install, keeps_secrets, printed};

const ONE: &str = "--organization octo-org --key-file key.pem --secret";

async fn cluster() -> Leased {
    let crds = github_token_manager::cli::crds::yaml().expect("CRDs");
    Cluster::builder()
        .with_crds(crds)
        .with_audit_log()
        .lease()
        .await
        .expect("a cluster")
}

/// Somebody else makes a Secret with this `KEY=VALUE`.
async fn foreign(cluster: &Cluster, name: &str, literal: &str) {
    let literal = format!("--from-literal={literal}");
    let create = ["-n", "default", "create", "secret", "generic", name, &literal];
    cluster.kubectl(&create).await.expect("a foreign Secret");
}

async fn text(cluster: &Cluster, namespace: &str, name: &str, key: &str) -> Option<String> {
    let secrets: Api<Secret> = Api::namespaced(cluster.client().await.expect("a client"), namespace);
    let secret = secrets.get_opt(name).await.expect("the API server answers")?;
    let value = secret.data?.remove(key)?;
    String::from_utf8(value.0).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_issues_tokens_with_the_key_that_was_stored() {
    let (bench, cluster) = (Bench::new().await, cluster().await);
    let running = bench.create_in(
        "--organization octo-org --secret default/app-key",
        Some(cluster.kubeconfig_path()),
    );
    let back = bench.press(&running).await;
    bench.open(&back).await;
    let said = running.ended(0).await;
    let registration = bench.registered();
    keeps_secrets(&said, &registration);
    let pem = registration.app.key().expect("a key").pkcs1_pem();
    let stored = text(&cluster, "default", "app-key", "private-key.pem").await;
    assert!(stored.as_deref() == Some(&pem), "another key");

    install(&registration);
    cluster
        .apply(&printed(&said, "apiVersion: "))
        .await
        .expect("the App is accepted");
    let token = "apiVersion: github.as-code.io/v1\nkind: Token\nmetadata: {name: ci, namespace: default}\n\
                 spec: {appRef: {name: gtm-octo-org}, permissions: {contents: read}}\n";
    cluster.apply(token).await.expect("the Token is accepted");
    let operator = Operator::builder(env!("CARGO_BIN_EXE_gtm"), cluster.kubeconfig_path());
    let _operator = operator
        .namespace("default")
        .leader_elect(false)
        .start()
        .await
        .expect("it starts");
    eventually(SOON, "a good token", async || {
        let token = text(&cluster, "default", "ci", "token").await.ok_or("no Secret")?;
        match registration.app.token_state(&token) {
            TokenState::Valid { .. } => Ok(()),
            state => Err(format!("{state:?}")),
        }
    })
    .await;

    let config = printed(&said, CONFIGURATION);
    std::fs::write(bench.path("gtm.yaml"), &config).expect("written");
    let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_gtm"));
    check
        .env_clear()
        .env("KUBECONFIG", cluster.kubeconfig_path())
        .current_dir(bench.folder.path())
        .args(["check", "--config", "gtm.yaml", "--namespace", "default"]);
    let output = check.output().expect("gtm runs");
    assert!(output.status.success(), "{config}\n{output:?}");
}

#[tokio::test]
async fn a_secret_that_cannot_be_made_is_told_before_github_is_asked() {
    let (bench, cluster) = (Bench::new().await, cluster().await);
    foreign(&cluster, "foreign", "private-key.pem=mine").await;
    let kubeconfig = cluster.kubeconfig_for("nobody", &[]).expect("a kubeconfig");
    for (place, parts, kubeconfig) in [
        (
            "default/foreign",
            ["--secret default/foreign", "is not overwritten"],
            None,
        ),
        (
            "nowhere/key",
            ["--secret nowhere/key", "kubectl create namespace nowhere"],
            None,
        ),
        (
            "default/Not_A_Name",
            ["--secret default/Not_A_Name", "small letters"],
            None,
        ),
        (
            "default/key",
            ["--secret default/key", "right to create Secrets"],
            Some(kubeconfig),
        ),
    ] {
        let kubeconfig = kubeconfig.as_deref().unwrap_or(cluster.kubeconfig_path());
        let running = bench.create_in(&format!("{ONE} {place}"), Some(kubeconfig));
        bench.fails(&running, 1, &parts).await;
    }
    assert_eq!(
        text(&cluster, "default", "foreign", "private-key.pem").await.as_deref(),
        Some("mine")
    );
    assert_eq!(bench.github.registrations().len(), 0);
}

/// Waits until the API server was asked so often whether it would make a Secret.
async fn asked(cluster: &Cluster, audit: &lab::cluster::AuditLog, times: usize) {
    let client = cluster.client().await.expect("a client");
    eventually(SOON, "the dry runs", async || {
        audit.settle(&client).await.map_err(|error| error.to_string())?;
        let events = audit.events().map_err(|error| error.to_string())?;
        let dry = events
            .iter()
            .filter(|event| event.verb == "create" && event.uri.contains("dryRun"))
            .count();
        (dry >= times).then_some(()).ok_or(format!("{dry} dry runs"))
    })
    .await;
}

#[tokio::test]
async fn a_place_that_goes_while_the_person_is_in_the_browser_leaves_the_code_for_another() {
    let (bench, cluster) = (Bench::new().await, cluster().await);
    let running = bench.create_in(
        "--organization octo-org --secret default/late",
        Some(cluster.kubeconfig_path()),
    );
    let back = bench.press(&running).await;
    foreign(&cluster, "late", "a=b").await;
    bench.open(&back).await;
    let resume = format!(
        "gtm app create --base-url {} --secret default/late --code 'ADDRESS'",
        bench.github.url()
    );
    let always = [
        "the App is registered at GitHub already: do not register another",
        "within the hour",
    ];
    let parts = [&always[..], &["it exists already", &resume]].concat();
    bench.fails(&running, 1, &parts).await;

    std::fs::create_dir(bench.path("keys")).expect("a folder");
    let running = bench.create("--organization octo-org --name moved --key-file keys/key.pem");
    let back = bench.press(&running).await;
    std::fs::rename(bench.path("keys"), bench.path("moved")).expect("moved");
    bench.open(&back).await;
    let parts = [&always[..], &["--key-file", "make its folder again"]].concat();
    bench.fails(&running, 1, &parts).await;
    assert_eq!(bench.conversions(), 0);
    let running = bench.create(&format!("--key-file key.pem --code {back}"));
    running.ended(0).await;
    bench.has_key_of(&bench.registered());
}

#[tokio::test]
async fn a_secret_that_comes_in_between_costs_no_key_and_the_text_says_what_is_left() {
    let (bench, cluster) = (Bench::new().await, cluster().await);
    for (arguments, name, parts) in [
        (
            "--secret default/late",
            "late",
            ["the key is lost, the App is not", "/settings/apps/gtm-octo-org"],
        ),
        (
            "--name both --key-file key.pem --secret default/both",
            "both",
            ["the key is in", "key.pem: copy it from there"],
        ),
    ] {
        let audit = cluster.audit_log().expect("an audit log");
        let running = bench.create_in(
            &format!("--organization octo-org {arguments}"),
            Some(cluster.kubeconfig_path()),
        );
        let back = bench.press(&running).await;
        bench.github.fail_while(Some(Route::Other), Fault::Hang);
        bench.open(&back).await;
        asked(&cluster, &audit, 2).await;
        foreign(&cluster, name, "a=b").await;
        bench.github.clear_faults();
        let said = running.ended(1).await;
        let always = ["is registered at GitHub, but --secret default/", "it exists already"];
        for part in parts.iter().chain(&always) {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
        keeps_secrets(&said, &bench.registered());
        assert_eq!(text(&cluster, "default", name, "a").await.as_deref(), Some("b"));
    }
    bench.has_key_of(&bench.registered());
}
