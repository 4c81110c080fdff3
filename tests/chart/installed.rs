//! Releases on a real API server: what Helm makes of the chart when it knows the cluster, and what was there before.

use lab::cluster::{Cluster, Leased};

use crate::helm::{CHART, NAME, helm};

/// Installs or upgrades the release of this cluster.
fn release(cluster: &Leased, command: &[&str], values: &[&str]) -> Result<String, String> {
    let kubeconfig = cluster.kubeconfig_path().display().to_string();
    let place = [NAME, CHART, "--namespace", NAME, "--kubeconfig", &kubeconfig];
    helm(&[command, &place, values].concat())
}

const INSTALL: [&str; 2] = ["install", "--create-namespace"];
const UPGRADE: [&str; 2] = ["upgrade", "--install"];

#[tokio::test]
async fn policies_are_there_at_once_where_the_kinds_were_applied_before() {
    let kinds = github_token_manager::cli::crds::yaml().unwrap();
    let cluster = Cluster::builder().with_crds(kinds).lease().await.unwrap();
    let policies = r#"policies={"read-only": {"permissions": {"*": "read"}}}"#;
    let values = ["--set", "crds.install=false", "--set-json", policies];
    release(&cluster, &INSTALL, &values).unwrap();
    let found = cluster.kubectl(&["get", "tokenpolicies", "-o", "name"]).await.unwrap();
    assert_eq!(found.trim(), "tokenpolicy.github.as-code.io/read-only");
}

#[tokio::test]
async fn a_secret_that_the_chart_has_made_is_not_lost_when_it_becomes_ones_own() {
    let cluster = Cluster::builder().lease().await.unwrap();
    let get = ["-n", NAME, "get", "secret", "gtm-config", "-o", "name"];
    release(
        &cluster,
        &INSTALL,
        &["--set", "config.app_id=1,config.installation_id=2"],
    )
    .unwrap();
    let own = ["--set", "config=null,configSecret=gtm-config"];
    let refused = release(&cluster, &UPGRADE, &own).unwrap_err();
    cluster.kubectl(&get).await.unwrap();
    let (_, cure) = refused.split_once("`kubectl ").expect(&refused);
    let (cure, _) = cure.split_once('`').expect(&refused);
    cluster.kubectl(&cure.split(' ').collect::<Vec<_>>()).await.unwrap();
    // It is in the former release the first time, and in none the second.
    for _ in 0..2 {
        release(&cluster, &UPGRADE, &own).unwrap();
        cluster.kubectl(&get).await.unwrap();
    }
}

#[tokio::test]
async fn a_secret_that_somebody_else_has_made_takes_the_place_of_the_charts() {
    let cluster = Cluster::builder().lease().await.unwrap();
    release(
        &cluster,
        &INSTALL,
        &["--set", "config.app_id=1,config.installation_id=2"],
    )
    .unwrap();
    let mine = ["-n", NAME, "create", "secret", "generic", "mine"];
    cluster.kubectl(&mine).await.unwrap();
    release(&cluster, &UPGRADE, &["--set", "config=null,configSecret=mine"]).unwrap();
    let left = cluster
        .kubectl(&["-n", NAME, "get", "secrets", "-o", "name"])
        .await
        .unwrap();
    assert!(
        left.contains("secret/mine") && !left.contains("secret/gtm-config"),
        "{left}"
    );
}

/// As docs/rbac.md has it.
#[tokio::test]
async fn a_namespace_that_helm_lacks_is_made_up_for_by_an_upgrade() {
    let cluster = Cluster::builder().lease().await.unwrap();
    let values = ["--set", "watchNamespaces={team-b}"];
    let refused = release(&cluster, &INSTALL, &values).unwrap_err();
    assert!(refused.contains("namespaces \"team-b\" not found"), "{refused}");
    cluster.kubectl(&["create", "namespace", "team-b"]).await.unwrap();
    release(&cluster, &UPGRADE, &values).unwrap();
    let roles = cluster
        .kubectl(&["-n", "team-b", "get", "roles", "-o", "name"])
        .await
        .unwrap();
    assert_eq!(
        roles.trim(),
        "role.rbac.authorization.k8s.io/github-token-manager-tokens"
    );
}
