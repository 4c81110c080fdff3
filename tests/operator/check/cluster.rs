//! What `gtm check` finds in a cluster, with the rights of whoever runs it.

use std::path::Path;

use lab::cluster::Cluster;
use lab::github::Settings;
use lab::wait::eventually;
use serde_json::json;

use super::{Report, github};
use crate::peer::older;
use crate::world::{SOON, World, cluster, configure};

/// What is found once the API server serves the schemas of its kinds, some moments after the kinds.
async fn found(config: &Path, kubeconfig: &Path, args: &[&str]) -> Report {
    eventually(SOON, "the schemas are served", async || {
        let report = Report::of(config, Some(kubeconfig), args);
        let unseen = report.verdict("cluster").1.starts_with("not looked at");
        (!unseen).then_some(report).ok_or("they are not")
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_that_are_too_old_are_told_with_the_cure_and_those_that_are_missing_are_no_fault_of_the_app() {
    let (github, folder) = github().await;
    let config = configure(&folder, &github);
    let old = Cluster::builder().with_crds(older()).lease().await.expect("a cluster");
    let report = found(&config, old.kubeconfig_path(), &[]).await;
    assert!(!report.success, "{:?}", report.links);
    report.expect("cluster", "bad", "older than this program");
    report.expect("cluster", "bad", "gtm crds | kubectl apply --server-side -f -");
    report.expect("installation", "good", "");

    let crds = github_token_manager::cli::crds::yaml().expect("CRDs");
    old.install_crds(&crds).await.expect("the upgrade");
    eventually(SOON, "the new kinds are served", async || {
        let report = Report::of(&config, Some(old.kubeconfig_path()), &[]);
        report
            .success
            .then_some(())
            .ok_or_else(|| format!("{:?}", report.links))
    })
    .await;

    let bare = Cluster::builder().lease().await.expect("a cluster");
    let report = Report::of(&config, Some(bare.kubeconfig_path()), &[]);
    assert!(report.success, "{:?}", report.links);
    report.expect("cluster", "doubtful", "gtm crds");
    let report = Report::of(&config, Some(bare.kubeconfig_path()), &["token", "default/t"]);
    assert!(!report.success, "{:?}", report.links);
    let told = report
        .links
        .iter()
        .any(|link| link["verdict"] == "bad" && link["message"].to_string().contains("gtm crds"));
    assert!(told, "{:?}", report.links);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_installation_is_told_while_it_leads() {
    let world = World::with(cluster(), Settings::default(), |operator| operator).await;
    let config = world.folder.path().join("gtm.yaml");
    let check = |own: &str| Report::of(&config, Some(world.cluster.kubeconfig_path()), &["--namespace", own]);
    let lease = |renewed: jiff::Timestamp| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "github.as-code.io", "namespace": world.namespace},
            "spec": {"holderIdentity": "someone", "leaseDurationSeconds": 60, "renewTime": format!("{renewed:.6}")}})
        .to_string()
    };
    let now = world.github.now();
    world.cluster.apply(&lease(now)).await.expect("a Lease");
    let other = found(&config, world.cluster.kubeconfig_path(), &["--namespace", "default"]).await;
    other.expect("other installations", "doubtful", &world.namespace);
    assert!(other.success, "{:?}", other.links);
    let others = |report: &Report| report.links.iter().any(|link| link["check"] == "other installations");
    assert!(!others(&check(&world.namespace)), "it is this one");
    let long_ago = now - jiff::SignedDuration::from_mins(2);
    world.cluster.apply(&lease(long_ago)).await.expect("a Lease");
    assert!(!others(&check("default")), "it has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_someone_may_not_look_at_is_said_and_an_app_that_cannot_be_read_is_not_called_wrong() {
    let world = World::with(cluster(), Settings::default(), |operator| operator).await;
    let config = world.folder.path().join("gtm.yaml");
    let jane = world
        .cluster
        .kubeconfig_for("jane", &["system:authenticated"])
        .expect("a kubeconfig");
    let hers = found(&config, &jane, &[]).await;
    assert!(hers.success, "{:?}", hers.links);
    hers.expect("cluster", "good", "every field");
    hers.expect("other installations", "doubtful", "not looked at");
    hers.expect("webhook", "doubtful", "not looked at");

    let manifest = "apiVersion: github.as-code.io/v1\nkind: Token\nmetadata: {name: t}\nspec: {appRef: {name: team}}\n";
    let file = world
        .folder
        .write("token.yaml", manifest)
        .expect("a file")
        .display()
        .to_string();
    let hers = Report::of(&config, Some(&jane), &["-f", &file]);
    assert!(!hers.success);
    hers.expect("cluster", "bad", "spec.appRef: the App default/team cannot be read");
    hers.expect("cluster", "bad", "ask for the right to get it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_does_not_answer_is_told_as_that_and_the_app_is_checked_all_the_same() {
    let (github, folder) = github().await;
    let config = configure(&folder, &github);
    let dead = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n\
        clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: u, user: {}}]\n";
    let dead = folder.write("kubeconfig", dead).expect("a file");
    let by_flag = ["--kubeconfig", &dead.display().to_string()];
    for (variable, args) in [(Some(&*dead), &[][..]), (None, &by_flag[..])] {
        let report = Report::of(&config, variable, args);
        assert!(!report.success, "{:?}", report.links);
        report.expect(
            "cluster",
            "bad",
            "the API server cannot be reached: https://127.0.0.1:1",
        );
        report.expect("cluster", "bad", "name another kubeconfig");
        report.expect("installation", "good", "");
    }
    let report = Report::of(&config, None, &["--kubeconfig", "/nonexistent"]);
    assert!(!report.success);
    report.expect("cluster", "bad", "--kubeconfig /nonexistent: ");

    let list = std::env::join_paths([&folder.path().join("absent"), &dead]).expect("a list");
    let report = Report::of(&config, Some(list.as_ref()), &[]);
    report.expect("cluster", "bad", "https://127.0.0.1:1");
}
