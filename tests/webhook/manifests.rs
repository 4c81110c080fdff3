//! What a cluster's admin applies.

use crate::world::{cluster, read};

#[tokio::test]
async fn both_kustomizations_build_and_the_api_server_takes_the_webhook_as_it_is() {
    let cluster = cluster().lease().await.unwrap();
    cluster.apply(&read("deploy/rbac.yaml")).await.unwrap();
    let root = env!("CARGO_MANIFEST_DIR");
    let built = cluster
        .kubectl(&["kustomize", &format!("{root}/webhook-config")])
        .await
        .unwrap();
    assert_eq!(built.matches("\nkind: ").count(), 3, "{built}");
    assert!(!built.contains("caBundle"), "the operator writes it");
    let check = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
    cluster.kubectl_with_input(&check, &built).await.unwrap();
    // cert-manager's own kinds are not known here.
    let built = cluster.kubectl(&["kustomize", &format!("{root}/certs")]).await.unwrap();
    let inject = "cert-manager.io/inject-ca-from: github-token-manager/github-token-manager-webhook";
    assert_eq!(built.matches(inject).count(), 2, "{built}");
    assert!(
        built.contains("kind: Issuer") && built.contains("kind: Certificate"),
        "{built}"
    );
}
