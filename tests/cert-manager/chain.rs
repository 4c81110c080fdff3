//! From what is applied to a pod with its token.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use serde_json::json;

use crate::world::{LEAF, OWN, ROOT, World, chart, der, text};

#[test]
fn certs_readme_names_the_cert_manager_that_is_run() {
    let required = include_str!("../lab/tools/cert-manager/go.mod").lines();
    let version = required
        .filter_map(|line| line.trim().strip_prefix("github.com/cert-manager/cert-manager "))
        .next();
    let readme = include_str!("../../certs/README.md");
    assert!(readme.contains(version.expect("it is required")), "{version:?}");
}

/// For how long a Certificate is good.
async fn life(world: &World, name: &str) -> SignedDuration {
    let kind = GroupVersionKind::gvk("cert-manager.io", "v1", "Certificate");
    let all: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), OWN, &ApiResource::from_gvk(&kind));
    let found = all.get(name).await.unwrap();
    let at = |field: &str| -> Timestamp { found.data["status"][field].as_str().unwrap().parse().unwrap() };
    at("notAfter").duration_since(at("notBefore"))
}

/// All that certs/README.md says of it.
async fn holds(world: &World) {
    let (leaf, root) = (world.secret(LEAF[1]).await, world.secret(ROOT[1]).await);
    let authority = text(&root, "tls.crt");
    assert_eq!(text(&leaf, "ca.crt"), authority);
    assert_eq!(life(world, LEAF[0]).await, SignedDuration::from_hours(90 * 24));
    assert_eq!(life(world, ROOT[0]).await, SignedDuration::from_hours(87_600));
    assert_eq!(world.served(&authority).await.unwrap(), der(&leaf));

    let trust = world.trust().await.unwrap();
    for trust in &trust {
        assert_eq!(trust.bundle, authority);
        assert_eq!(trust.writers, ["cert-manager-cainjector"]);
    }
    let pod = world.dry_run(&[("github.as-code.io/token", "ci")]).await.unwrap();
    assert!(pod.annotations().contains_key("github.as-code.io/status"), "{pod:?}");
    let plain = world.dry_run(&[]).await.unwrap();
    assert!(plain.annotations().is_empty(), "{plain:?}");
    // A validating webhook that cannot be called would let it pass.
    let wrong = json!({"secret": {"format": "template", "template": {"k": "{{ .tokn }}"}}});
    let refused = world.store("wrong", wrong).await.unwrap_err();
    assert!(refused.contains("'{{ .tokn }}' is not known"), "{refused}");

    world.apply_again().await;
    assert_eq!(world.trust().await.unwrap(), trust);
}

#[tokio::test]
async fn what_kubectl_applies_becomes_a_certificate_that_the_api_server_trusts() {
    let world = World::with_certs("").await;
    holds(&world).await;
}

#[tokio::test]
async fn what_the_chart_makes_does_so_as_well_and_all_of_it_is_accepted() {
    let world = World::with_chart().await;
    holds(&world).await;
    let own = "webhook.certManager.issuerRef";
    let own = [
        "--set",
        &format!("{own}.kind=ClusterIssuer,{own}.name=ca,{own}.group=cert-manager.io"),
    ];
    let dry = ["apply", "--server-side", "--force-conflicts", "--dry-run=server"];
    for arguments in [&[][..], &own] {
        let strict = [&dry[..], &["--validate=strict", "-f", "-"]].concat();
        world
            .cluster
            .kubectl_with_input(&strict, &chart(arguments))
            .await
            .unwrap();
    }
}
