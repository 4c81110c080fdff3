//! The webhook's certificate where cert-manager keeps it.

use serde_json::{Value, json};

use crate::helm::{NAME, objects, one, path, template};
use crate::rendered::by_name;

const ON: &str = "webhook: {certManager: {enabled: true}}";

/// The object of this kind and name.
fn named<'a>(objects: &'a [Value], kind: &str, name: &Value) -> &'a Value {
    let mut found = objects
        .iter()
        .filter(|object| object["kind"] == kind && object["metadata"]["name"] == *name);
    found.next().unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

#[test]
fn every_renewal_is_signed_by_an_authority_that_stays() {
    for values in [ON.to_owned(), format!("{ON}\nfullnameOverride: {}\n", "x".repeat(47))] {
        let rendered = objects(&template(&values, &[]).unwrap());
        let hook = one(&rendered, "MutatingWebhookConfiguration");
        let from = hook["metadata"]["annotations"]["cert-manager.io/inject-ca-from"].as_str();
        let (namespace, leaf) = from.unwrap().split_once('/').unwrap();
        assert_eq!(namespace, NAME);
        let leaf = named(&rendered, "Certificate", &json!(leaf));
        let service = &hook["webhooks"][0]["clientConfig"]["service"]["name"];
        let host = format!("{}.{NAME}.svc", service.as_str().unwrap());
        assert!(leaf["spec"]["dnsNames"].as_array().unwrap().contains(&json!(host)));
        assert!(leaf["spec"]["isCA"].is_null());

        let issuer = named(&rendered, "Issuer", &leaf["spec"]["issuerRef"]["name"]);
        let holds = &issuer["spec"]["ca"]["secretName"];
        let certificates = rendered.iter().filter(|object| object["kind"] == "Certificate");
        let mut of = certificates.filter(|object| object["spec"]["secretName"] == *holds);
        let authority = of.next().expect("the authority's Certificate");
        assert_eq!(authority["spec"]["isCA"], true);
        assert_eq!(
            authority["spec"]["privateKey"]["rotationPolicy"], "Never",
            "what it signed before its own renewal stays good"
        );
        assert_ne!(leaf["spec"]["secretName"], *holds);
        assert_ne!(*holds, "github-token-manager-webhook-ca", "the operator's own is there");
        let common = authority["spec"]["commonName"].as_str().unwrap();
        assert!((1..=64).contains(&common.len()), "X.509's limit: {common}");
        let root = named(&rendered, "Issuer", &authority["spec"]["issuerRef"]["name"]);
        assert_eq!(root["spec"], json!({"selfSigned": {}}));

        let pod = &one(&rendered, "Deployment")["spec"]["template"]["spec"];
        let arguments = pod["containers"][0]["args"].as_array().unwrap();
        assert!(arguments.contains(&json!("--webhook-cert-path=/webhook-tls")));
        let volumes = pod["volumes"].as_array().unwrap();
        let mounted = volumes
            .iter()
            .filter_map(|volume| volume["secret"]["secretName"].as_str());
        let mounted: Vec<&str> = mounted.collect();
        assert!(mounted.contains(&leaf["spec"]["secretName"].as_str().unwrap()));
        assert!(
            !mounted.contains(&holds.as_str().unwrap()),
            "its key is for cert-manager"
        );
    }
}

#[test]
fn with_an_issuer_of_the_admins_none_is_made() {
    let values = "webhook: {certManager: {enabled: true, issuerRef: {kind: ClusterIssuer, name: ca}}}";
    let rendered = objects(&template(values, &[]).unwrap());
    assert!(rendered.iter().all(|object| object["kind"] != "Issuer"));
    let certificate = one(&rendered, "Certificate");
    assert_eq!(
        certificate["spec"]["issuerRef"],
        json!({"kind": "ClusterIssuer", "name": "ca"})
    );
}

#[tokio::test]
async fn kubectl_apply_k_certs_makes_what_the_chart_makes() {
    let cluster = lab::cluster::Cluster::builder().lease().await.unwrap();
    let certs = path("certs").display().to_string();
    let kustomize = by_name(&cluster.kubectl(&["kustomize", &certs]).await.unwrap());
    let chart = by_name(&template(ON, &["--show-only", "templates/webhook.yaml"]).unwrap());
    let names = |all: &std::collections::BTreeMap<String, Value>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&kustomize), names(&chart));
    for (name, object) in &chart {
        let other = &kustomize[name];
        assert!(other == object, "{name}:\n{other:#}\n{object:#}");
    }
}
