//! What the chart puts around the operator's pods: who may talk to them, and how many of them may be away.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::helm::{objects, one, template};

/// The numbers at this place of each item.
fn numbers(items: &Value, field: &str) -> BTreeSet<u64> {
    let items = items.as_array().expect("a list").iter();
    items.filter_map(|item| item[field].as_u64()).collect()
}

/// Whether a selector finds the pods of a Deployment or Job.
fn selects(selector: &Value, workload: &Value) -> bool {
    let labels = &workload["spec"]["template"]["metadata"]["labels"];
    let wanted = selector["matchLabels"].as_object().expect("labels");
    !wanted.is_empty() && wanted.iter().all(|(name, value)| labels[name] == *value)
}

#[test]
fn the_network_policy_lets_in_what_the_operator_listens_on_and_out_what_it_calls() {
    for more in [
        "",
        "webhook: {enabled: false}",
        "metrics: {enabled: false}",
        "deployment: {podLabels: {app.kubernetes.io/name: other, app.kubernetes.io/part-of: other}}",
    ] {
        let values = format!("networkPolicy: {{enabled: true}}\n{more}\n");
        let rendered = objects(&template(&values, &[]).unwrap());
        let (policy, deployment) = (
            one(&rendered, "NetworkPolicy")["spec"].clone(),
            one(&rendered, "Deployment"),
        );
        for kind in ["Deployment", "Job"] {
            assert!(
                selects(&policy["podSelector"], &one(&rendered, kind)),
                "{more}: {kind} {policy}"
            );
        }
        assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
        let rules = policy["ingress"].as_array().unwrap();
        let let_in: BTreeSet<u64> = rules.iter().flat_map(|rule| numbers(&rule["ports"], "port")).collect();
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(let_in, numbers(&container["ports"], "containerPort"), "{more}");
        let out = &policy["egress"][0];
        assert_eq!(numbers(&out["ports"], "port"), [53, 443, 6443].into(), "{more}");
        assert!(out["to"].is_null(), "GitHub's addresses change: {out}");
    }
}

/// A Service would send reviews to it, and a sidecar would go on when it has ended.
#[test]
fn the_job_before_an_uninstallation_is_nobodys_pod_but_its_own() {
    let values = "deployment: {podLabels: {app.kubernetes.io/name: github-token-manager, sidecar.istio.io/inject: 'true'}, podAnnotations: {linkerd.io/inject: enabled}}";
    let rendered = objects(&template(values, &[]).unwrap());
    let (deployment, job) = (one(&rendered, "Deployment"), one(&rendered, "Job"));
    let services = rendered.iter().filter(|object| object["kind"] == "Service");
    let services: Vec<Value> = services
        .map(|service| json!({"matchLabels": service["spec"]["selector"]}))
        .collect();
    assert_eq!(services.len(), 2);
    let budget = one(&rendered, "PodDisruptionBudget")["spec"]["selector"].clone();
    for selector in services.iter().chain([&budget]) {
        assert!(selects(selector, &deployment) && !selects(selector, &job), "{selector}");
    }
    let meta = &job["spec"]["template"]["metadata"];
    assert_eq!(meta["labels"]["sidecar.istio.io/inject"], "false");
    assert_eq!(
        meta["annotations"],
        json!({"linkerd.io/inject": "disabled", "sidecar.istio.io/inject": "false"})
    );
}

#[test]
fn who_may_read_metrics_is_said_of_metrics_alone() {
    let values = "networkPolicy: {enabled: true, metricsFrom: [{namespaceSelector: {matchLabels: {name: monitoring}}}], extraEgress: [{ports: [{port: 8200}]}]}";
    let policy = one(&objects(&template(values, &[]).unwrap()), "NetworkPolicy");
    let rules = policy["spec"]["ingress"].as_array().unwrap();
    let (kept, open): (Vec<&Value>, Vec<&Value>) = rules.iter().partition(|rule| !rule["from"].is_null());
    let ports = |rules: Vec<&Value>| -> BTreeSet<u64> {
        rules.iter().flat_map(|rule| numbers(&rule["ports"], "port")).collect()
    };
    assert_eq!((ports(kept), ports(open)), ([8080].into(), [8081, 9443].into()));
    assert_eq!(policy["spec"]["egress"][1], json!({"ports": [{"port": 8200}]}));
}

#[test]
fn of_two_replicas_one_may_be_away_and_they_are_spread() {
    let rendered = objects(&template("", &[]).unwrap());
    let deployment = one(&rendered, "Deployment");
    assert_eq!(deployment["spec"]["replicas"], 2);
    let budget = &one(&rendered, "PodDisruptionBudget")["spec"];
    assert_eq!(budget["maxUnavailable"], 1);
    assert!(selects(&budget["selector"], &deployment), "{budget}");
    let spread = &deployment["spec"]["template"]["spec"]["topologySpreadConstraints"];
    let spread = spread.as_array().unwrap();
    assert_eq!(spread.len(), 2, "nodes and zones");
    assert!(spread.iter().all(|by| selects(&by["labelSelector"], &deployment)));

    let alone = objects(&template("deployment: {replicas: 1}", &[]).unwrap());
    let budgets = alone.iter().filter(|object| object["kind"] == "PodDisruptionBudget");
    assert_eq!(budgets.count(), 0, "one replica could not be evicted");
}
