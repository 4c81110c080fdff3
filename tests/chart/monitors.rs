//! What is rendered for the Prometheus operator is what its kinds take.

use lab::cluster::Cluster;

use crate::helm::{NAME, template};

#[tokio::test]
async fn monitors_and_rules_are_of_the_prometheus_operators_kinds() {
    let cluster = Cluster::builder().lease().await.unwrap();
    lab::prometheus::install_kinds(&cluster).await.unwrap();
    cluster.kubectl(&["create", "namespace", NAME]).await.unwrap();
    let on = "{enabled: true, labels: {release: prometheus}}";
    let values = format!("metrics: {{serviceMonitor: {on}, podMonitor: {on}, prometheusRule: {on}}}");
    let rendered = template(&values, &["--show-only", "templates/metrics.yaml"]).unwrap();
    let check = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
    let said = cluster.kubectl_with_input(&check, &rendered).await.unwrap();
    for kind in ["servicemonitor", "podmonitor", "prometheusrule"] {
        assert!(said.contains(&format!("{kind}.monitoring.coreos.com/")), "{said}");
    }
    let wrong = rendered.replace("honorLabels", "honourLabels");
    let refused = cluster
        .kubectl_with_input(&check, &wrong)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("honourLabels"), "{refused}");
}
