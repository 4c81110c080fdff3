//! The image's program, as it was packed: `make image-run` runs it, with `ARCH` that of another processor under QEMU.

mod program;

use std::path::PathBuf;
use std::time::Duration;

use lab::cluster::Cluster;
use lab::github::{GitHub, Settings, TokenState};
use lab::gtm::Operator;
use lab::process::Folder;
use lab::wait::eventually;
use serde_json::json;

use program::Image;

/// The stand-in, and the configuration for it.
async fn github() -> (GitHub, Folder, PathBuf) {
    let github = GitHub::start(Settings::default()).await.expect("the stand-in starts");
    let folder = Folder::new().expect("a folder");
    let key = github.key().expect("a key").pkcs1_pem();
    let key = folder.write("key.pem", key).expect("written");
    let text = github.gtm_yaml("file", key.display());
    let config = folder.write("gtm.yaml", text).expect("written");
    (github, folder, config)
}

#[test]
fn it_says_what_it_is_and_is_small() {
    let image = Image::open();
    assert_eq!(
        image.index["manifests"][0]["platform"]["architecture"],
        image.config["architecture"]
    );
    assert!(image.size() <= 25_000_000, "{} bytes", image.size());
    let version = format!("gtm {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(image.run(&[&"--version".into()]), version);
    let kinds = github_token_manager::cli::crds::yaml().expect("CRDs");
    assert_eq!(image.run(&[&"crds".into()]), kinds);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_checks_a_configuration_and_mints_a_token() {
    let image = Image::open();
    let (github, _folder, config) = github().await;
    let config = config.into_os_string();
    image.run(&[&"check".into(), &"--config".into(), &config]);
    let token = image.run(&[&"mint".into(), &"--config".into(), &config]);
    let state = github.token_state(token.trim_end());
    assert!(matches!(state, TokenState::Valid { .. }), "{state:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_operator_keeps_a_token() {
    let image = Image::open();
    let (_github, _folder, config) = github().await;
    let kinds = github_token_manager::cli::crds::yaml().expect("CRDs");
    let cluster = Cluster::builder().with_crds(kinds).start().await;
    let cluster = cluster.expect("the cluster starts");
    let operator = Operator::builder(image.program(), cluster.kubeconfig_path())
        .config(&config)
        .namespace("default")
        .leader_elect(false);
    let _operator = operator.start().await.expect("the operator is ready");
    let token = json!({"apiVersion": "github.as-code.io/v1", "kind": "Token",
        "metadata": {"name": "ci", "namespace": "default"}, "spec": {"permissions": {"contents": "read"}}});
    cluster.apply(&token.to_string()).await.expect("the Token is accepted");
    let ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
    eventually(Duration::from_secs(30), "the Token is ready", async || {
        let said = cluster
            .kubectl(&["-n", "default", "get", "token", "ci", "-o", ready])
            .await;
        let said = said.map_err(|error| error.to_string())?;
        (said == "True").then_some(()).ok_or(said)
    })
    .await;
}
