//! One source of truth: what is applied without Helm is what Helm applies.

use std::collections::BTreeMap;

use lab::golden::assert_golden;
use serde_json::Value;

use crate::helm::{NAME, objects, path, read, template};

const HEAD: &str = "# Rendered from charts/github-token-manager with its default values: `make chart`.\n";

/// What Helm rendered, without what says that it was Helm.
fn plain(yaml: &str) -> String {
    let helm = ["# Source: ", "helm.sh/chart: ", "app.kubernetes.io/managed-by: Helm"];
    let lines = yaml
        .lines()
        .filter(|line| !helm.iter().any(|mark| line.trim_start().starts_with(mark)));
    let text: Vec<&str> = lines.collect();
    text.join("\n").trim_start_matches("---\n").to_owned() + "\n"
}

fn only(templates: &[&str]) -> String {
    let shown: Vec<String> = templates.iter().map(|name| format!("templates/{name}.yaml")).collect();
    let arguments: Vec<&str> = shown.iter().flat_map(|name| ["--show-only", name]).collect();
    plain(&template("", &arguments).unwrap())
}

#[test]
fn the_rights_and_the_operator_of_kustomize_are_the_charts() {
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAME}\n---\n");
    assert_golden("deploy/rbac.yaml", &format!("{HEAD}{namespace}{}", only(&["rbac"])));
    assert_golden(
        "deploy/operator.yaml",
        &format!("{HEAD}{}", only(&["deployment", "metrics"])),
    );
}

#[test]
fn the_charts_kinds_are_those_that_the_operator_prints() {
    for file in ["apps", "clustertokens", "tokenpolicies", "tokens"] {
        let file = format!("github.as-code.io_{file}.yaml");
        assert_golden(
            &format!("charts/github-token-manager/files/crds/{file}"),
            &read(&format!("crds/{file}")),
        );
    }
    let known = objects(&github_token_manager::cli::crds::yaml().unwrap());
    let rendered = objects(&template("", &["--show-only", "templates/crds.yaml"]).unwrap());
    assert_eq!(rendered.len(), 4);
    for crd in &rendered {
        let same = known
            .iter()
            .find(|known| known["metadata"]["name"] == crd["metadata"]["name"])
            .unwrap();
        assert!(crd["spec"] == same["spec"], "{}", crd["metadata"]["name"]);
        assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
    let dropped = template("crds: {keep: false}", &["--show-only", "templates/crds.yaml"]).unwrap();
    assert!(!dropped.contains("resource-policy"));
    assert!(
        !template("crds: {install: false}", &[])
            .unwrap()
            .contains("CustomResourceDefinition")
    );
}

/// Objects by kind and name, without the marks that only some carry.
pub fn by_name(yaml: &str) -> BTreeMap<String, Value> {
    let keyed = objects(yaml).into_iter().map(|mut object| {
        let name = format!(
            "{} {}",
            object["kind"].as_str().unwrap(),
            object["metadata"]["name"].as_str().unwrap()
        );
        let meta = object["metadata"].as_object_mut().unwrap();
        meta.remove("annotations");
        let labels = meta.get("labels").cloned().unwrap_or_default();
        meta.insert(
            "labels".into(),
            labels["github.as-code.io/webhook-configuration"].clone(),
        );
        without_pod_labels(&mut object);
        (name, object)
    });
    keyed.collect()
}

/// Helm's own labels are on pods, too; and what selects them is the release's name here and not there.
fn without_pod_labels(object: &mut Value) {
    if let Some(labels) = object
        .pointer_mut("/spec/template/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.retain(|name, _| name != "helm.sh/chart" && name != "app.kubernetes.io/managed-by");
    }
    let port = "/spec/ports/0/targetPort";
    let webhook = object
        .pointer("/spec/ports/0/name")
        .is_some_and(|name| name == "webhook");
    if let Some(port) = object.pointer_mut(port).filter(|_| webhook) {
        // By number or by name: the same port of the pod.
        *port = Value::from(9443);
    }
    if let Some(selector) = object
        .pointer_mut("/spec/selector")
        .filter(|_| webhook)
        .and_then(Value::as_object_mut)
    {
        selector.remove("app.kubernetes.io/instance");
    }
}

/// So what is rendered without hooks is all that is installed.
#[test]
fn the_only_hook_is_the_job_before_an_uninstallation() {
    let all = objects(&template("", &[]).unwrap());
    let hooks = all.iter().filter_map(|object| {
        let hook = object["metadata"]["annotations"]["helm.sh/hook"].as_str()?;
        Some((object["kind"].as_str()?, hook))
    });
    assert_eq!(hooks.collect::<Vec<_>>(), [("Job", "pre-delete")]);
}

#[tokio::test]
async fn kubectl_apply_k_installs_what_the_chart_installs() {
    let cluster = lab::cluster::Cluster::builder().lease().await.unwrap();
    let root = path("").display().to_string();
    let built = cluster.kubectl(&["kustomize", &root]).await.unwrap();
    let mut kustomize = by_name(&built);
    kustomize.remove(&format!("Namespace {NAME}")).expect("its namespace");
    let chart = by_name(&template("", &["--no-hooks"]).unwrap());
    let names = |all: &BTreeMap<String, Value>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&kustomize), names(&chart));
    for (name, object) in &chart {
        let other = &kustomize[name];
        assert!(other == object, "{name}:\n{other:#}\n{object:#}");
    }
    let applied = cluster.kubectl(&["apply", "-k", &root]).await.unwrap();
    assert_eq!(applied.matches(" created").count(), chart.len() + 1, "{applied}");
}
