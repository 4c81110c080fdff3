//! Wrong values, and what Helm says about them.

use crate::helm::template;

/// Values, and words of the error: the place, and what is wrong with it.
const WRONG: [(&str, &[&str]); 21] = [
    ("deployment: {replicas: -1}", &["/deployment/replicas", "minimum"]),
    ("deployment: {replicas: two}", &["/deployment/replicas", "want integer"]),
    ("deployment: {replica: 2}", &["/deployment", "'replica' not allowed"]),
    ("replicas: 2", &["'replicas' not allowed"]),
    ("defaultPolicy: perhaps", &["/defaultPolicy", "'allow', 'deny'"]),
    ("config: {provider: gpg}", &["/config/provider", "'vault'"]),
    ("config: {app_id: my-app}", &["/config/app_id"]),
    ("config: {rate_limit: true}", &["/config/rate_limit"]),
    (
        "config: {base_url: github.example.com}",
        &["/config/base_url", "pattern"],
    ),
    ("webhook: {enabled: maybe}", &["/webhook/enabled", "want boolean"]),
    ("webhook: {timeoutSeconds: 60}", &["/webhook/timeoutSeconds", "maximum"]),
    ("watchNamespaces: [Team_A]", &["/watchNamespaces/0", "pattern"]),
    ("caBundle: /etc/ca.pem", &["/caBundle", "pattern"]),
    (
        "metrics: {service: {ports: [{port: 8080}]}}",
        &["/metrics/service/ports/0", "missing"],
    ),
    (
        "deployment: {containers: {githubTokenManager: {image: {digest: latest}}}}",
        &["/image/digest", "pattern"],
    ),
    (
        "metrics: {service: {type: ExternalName}}",
        &["/metrics/service/type", "'LoadBalancer'"],
    ),
    // With what the chart puts behind it, longer names would be none.
    (
        "fullnameOverride: the-name-of-a-release-has-forty-eight-characters",
        &["/fullnameOverride", "47"],
    ),
    (
        "extraEnv: [{name: POD_NAMESPACE, value: elsewhere}]",
        &["extraEnv: POD_NAMESPACE", "leave it out"],
    ),
    (
        "{watchNamespaces: [a], config: {app_id: 1, provider: secret, key: null}}",
        &["config.key is not set", "NAME/KEY"],
    ),
    // Helm takes `null` for "without this default".
    ("webhook: null", &["missing property 'webhook'"]),
    ("metrics: {service: null}", &["/metrics", "missing property 'service'"]),
];

#[test]
fn a_wrong_value_is_named_with_its_place() {
    for (values, words) in WRONG {
        let error = template(values, &[]).expect_err(values);
        for word in words {
            assert!(error.contains(word), "{values}: {error}");
        }
    }
}

#[test]
fn what_reads_metrics_is_refused_where_there_are_none() {
    for reader in ["serviceMonitor", "podMonitor", "prometheusRule", "dashboard"] {
        let values = format!("metrics: {{enabled: false, {reader}: {{enabled: true}}}}");
        let error = template(&values, &[]).unwrap_err();
        let named = format!("metrics.{reader}.enabled is true and metrics.enabled is false");
        assert!(error.contains(&named), "{error}");
    }
}

#[test]
fn policies_wait_until_the_cluster_knows_their_kind() {
    let policies = "policies: {read-only: {permissions: {'*': read}}}";
    let error = template(policies, &[]).unwrap_err();
    assert!(error.contains("install the chart without policies first"), "{error}");
    let known = ["--api-versions", "github.as-code.io/v1/TokenPolicy"];
    assert!(template(policies, &known).unwrap().contains("kind: TokenPolicy"));
}
