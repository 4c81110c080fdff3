//! The chart's README, written from the comments of its values.

use lab::golden::assert_golden;

use crate::helm::read;

const CHART: &str = "charts/github-token-manager";

const HEAD: &str = "\
# github-token-manager, the chart

    helm install github-token-manager charts/github-token-manager --namespace github-token-manager --create-namespace \\
      --set deployment.containers.githubTokenManager.image.repository=REGISTRY/github-token-manager \\
      --set config.app_id=1234 --set config.installation_id=4567890 --set config.provider=aws --set config.key=alias/github-token-manager

It takes Kubernetes 1.30 or newer. The values of isometry/github-token-manager's chart keep their names and meaning; there is no kube-rbac-proxy any more, so metrics are plain HTTP on port 8080
(`networkPolicy.metricsFrom` says who may read them). The CustomResourceDefinitions are upgraded with the chart, and stay when it is uninstalled (`crds.keep`). Where they were
applied by other means before, add `--take-ownership`, or set `crds.install=false`. Nothing runs at an upgrade but the operator. What the operator may do, and why, is in
[docs/rbac.md](../../docs/rbac.md).

`helm uninstall` first runs a Job with the operator's image, which lets go of all managed Secrets. Where it cannot run (the image cannot be pulled any more), helm gives up after two minutes with `DeadlineExceeded`, and the operator goes on; `BackoffLimitExceeded` means that it ran and failed, and its log says why:
run `gtm release` with your own kubeconfig, then `helm uninstall --no-hooks`; or `helm rollback` to the revision that `helm history` shows as `uninstalling`, to keep it ([docs/operations.md](../../docs/operations.md#install-upgrade-roll-back)).

## Values

| value | meaning | default |
|---|---|---|
";

/// A line of `values.yaml` that names a value: its depth in spaces, its name, and what is behind the colon.
fn named(line: &str) -> Option<(usize, &str, &str)> {
    let rest = line.trim_start_matches(' ');
    let (name, default) = rest.split_once(':')?;
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    plain.then_some((line.len() - rest.len(), name, default.trim()))
}

/// A row for each value that has a comment.
fn rows(values: &str) -> String {
    let mut rows = String::new();
    let mut path: Vec<(usize, &str)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in values.lines() {
        if let Some(text) = line.trim_start().strip_prefix("# ") {
            comment.push(text);
            continue;
        }
        if let Some((depth, name, default)) = named(line) {
            path.retain(|(above, _)| *above < depth);
            path.push((depth, name));
            if !comment.is_empty() {
                let whole: Vec<&str> = path.iter().map(|(_, name)| *name).collect();
                let default = if default.is_empty() {
                    String::new()
                } else {
                    format!("`{default}`")
                };
                rows += &format!("| `{}` | {} | {default} |\n", whole.join("."), comment.join(" "));
            }
        }
        comment.clear();
    }
    rows
}

#[test]
fn the_readme_says_what_the_comments_of_the_values_say() {
    let values = read(&format!("{CHART}/values.yaml"));
    assert_golden(&format!("{CHART}/README.md"), &format!("{HEAD}{}", rows(&values)));
}

#[test]
fn every_value_is_explained() {
    let values = read(&format!("{CHART}/values.yaml"));
    let lines: Vec<&str> = values.lines().collect();
    for pair in lines.windows(2) {
        let (before, line) = (pair[0], pair[1]);
        let scalar = named(line).filter(|(_, _, default)| !default.is_empty());
        let listed = [
            "name: http",
            "port: 8080",
            "protocol:",
            "targetPort:",
            "memory:",
            "cpu:",
            "grafana_dashboard:",
        ];
        let inner = listed
            .iter()
            .any(|inner| line.trim_start().trim_start_matches("- ").starts_with(inner));
        assert!(
            scalar.is_none() || inner || before.trim_start().starts_with("# "),
            "{line} has no comment"
        );
    }
}
