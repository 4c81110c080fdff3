//! Alerts and dashboard, with Prometheus' own promtool and the metrics of a running operator.

mod queries;
mod series;
mod trouble;

use std::path::{Path, PathBuf};

use lab::github::{Fault, Route};
use lab::gtm::{Metrics, Operator};
use lab::process::Port;
use lab::tools::Tool;
use lab::wait::eventually;
use serde_json::{Value, json};

use crate::world::{SOON, World};
use series::{END, Scrape, input_series};

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/github-token-manager/files");

fn alerts() -> PathBuf {
    Path::new(FILES).join("alerts.yaml")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every alert's name and query.
fn rules() -> Vec<(String, String)> {
    let file: Value = serde_saphyr::from_str(&read(&alerts())).expect("YAML");
    let rules = file["groups"].as_array().expect("groups").iter();
    let rules = rules.flat_map(|group| group["rules"].as_array().expect("rules"));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    rules.map(|rule| (text(&rule["alert"]), text(&rule["expr"]))).collect()
}

/// Runs promtool with a test of rules, which must succeed.
#[track_caller]
fn promtool(test: &str) {
    let folder = lab::process::Folder::new().expect("a folder");
    let file = folder.write("test.yaml", test).expect("the test is written");
    let promtool = Tool::Promtool.find().expect("promtool");
    let output = std::process::Command::new(promtool)
        .args(["test", "rules"])
        .arg(&file)
        .output()
        .expect("promtool runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

#[test]
fn each_alert_fires_when_it_should_and_not_a_moment_before() {
    let test = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guides/alerts.yaml"));
    for (name, _) in rules() {
        let fires = format!("alertname: {name}\n");
        let silent = format!("alertname: {name}, eval_time");
        assert!(test.contains(&fires), "no test in which {name} fires");
        assert!(test.contains(&silent), "no test in which {name} does not fire yet");
    }
    promtool(&test.replace("RULES", &alerts().display().to_string()));
}

#[test]
fn each_alert_has_its_place_in_the_docs() {
    let docs = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md"));
    for (name, _) in rules() {
        assert!(
            docs.contains(&format!("| `{name}` |")),
            "docs/operations.md lacks {name}"
        );
    }
}

/// A test of rules over these series: expressions, when, and what they yield (labels, value).
fn test_of(series: &Value, expectations: &[(&str, &str, Value)]) -> String {
    let tests: Vec<Value> = expectations
        .iter()
        .map(|(expr, time, samples)| json!({"expr": expr, "eval_time": time, "exp_samples": samples}))
        .collect();
    let test = json!({
        "rule_files": [alerts()],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": tests}],
    });
    test.to_string()
}

/// That alerts fire: their labels in the order of promtool.
fn firing(rest: &str) -> Value {
    json!([{"labels": format!("ALERTS{{alertstate=\"firing\", {rest}}}"), "value": 1}])
}

/// An operator with everything on, in a namespace `team`.
async fn start(world: &World) -> (Operator, Port) {
    let port = Port::take().expect("a port");
    drop(world.installed("team").await);
    let operator = world
        .operator_with(|operator| operator.arg(format!("--webhook-bind-address={}", port.address())))
        .await;
    (operator, port)
}

fn token(world: &World, name: &str, spec: &str) {
    world.file(
        "applied.yaml",
        &format!(
            "apiVersion: github.as-code.io/v1\nkind: Token\nmetadata: {{name: {name}, namespace: team}}\nspec: {spec}\n"
        ),
    );
    world.sh("kubectl apply -f applied.yaml");
}

/// Two calls of the webhook: a pod, and what is no review.
fn call_webhook(world: &World, port: &Port) {
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "1", "operation": "CREATE", "namespace": "team",
        "kind": {"group": "", "version": "v1", "kind": "Pod"}, "resource": {"group": "", "version": "v1", "resource": "pods"},
        "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "team"},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    world.file("review.json", &review.to_string());
    let post = format!(
        "curl -ksS -H 'Content-Type: application/json' https://{}",
        port.address()
    );
    world.sh(&format!("{post}/inject --data @review.json; {post}/validate --data x"));
}

async fn scrape(operator: &Operator, what: &str, ready: impl Fn(&Metrics) -> bool) -> Scrape {
    let metrics = eventually(SOON, what, async || {
        let metrics = operator.metrics().await.map_err(|error| error.to_string())?;
        if ready(&metrics) {
            Ok(metrics)
        } else {
            Err(metrics.to_string())
        }
    })
    .await;
    Scrape::new(&metrics.to_string())
}

fn failures(reason: &'static str, at_least: f64) -> impl Fn(&Metrics) -> bool {
    move |metrics| {
        let value = metrics.value("token_reconcile_errors_total", &[("reason", reason)]);
        value.is_some_and(|value| value >= at_least)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_fire_and_the_dashboard_shows_with_the_metrics_of_a_real_operator() {
    let world = World::new().await;
    let (operator, port) = start(&world).await;
    token(&world, "good", "{permissions: {contents: read}}");
    world.ready("-n team token good");
    token(&world, "gone", "{}");
    world.ready("-n team token gone");
    world.sh("kubectl -n team delete token gone");
    call_webhook(&world, &port);
    let revoked = |metrics: &Metrics| metrics.value("token_revocations_total", &[("result", "revoked")]) == Some(1.0);
    let well = scrape(&operator, "a quiet operator", revoked).await;

    // GitHub fails, a token is about to expire, and an App does not exist.
    world.github.set_token_lifetime(std::time::Duration::from_secs(300));
    token(&world, "short", "{retryInterval: 1s}");
    world.ready("-n team token short");
    world.github.fail_while(Some(Route::Mint), Fault::Unavailable(503));
    token(&world, "failing", "{retryInterval: 1s}");
    token(&world, "lost", "{appRef: {name: nowhere}}");
    call_webhook(&world, &port);
    let first = scrape(&operator, "first failures", |metrics| {
        failures("GitHubUnavailable", 1.0)(metrics) && failures("AppNotFound", 1.0)(metrics)
    })
    .await;
    for name in ["lost-2", "lost-3", "lost-4"] {
        token(&world, name, "{appRef: {name: nowhere}}");
    }
    call_webhook(&world, &port);
    let more = scrape(&operator, "more failures", |metrics| {
        failures("GitHubUnavailable", 5.0)(metrics) && failures("AppNotFound", 4.0)(metrics)
    })
    .await;

    queries::fit(&rules(), &more);
    queries::fit(&queries::of_dashboard(&Path::new(FILES).join("dashboard.json")), &more);

    let quiet = input_series(&[&well, &well, &well]);
    promtool(&test_of(&quiet, &[("ALERTS", END, json!([]))]));
    let trouble = input_series(&[&well, &first, &more]);
    let expectations = [
        (
            "ALERTS{alertname=\"GitHubTokenExpiresSoon\",alertstate=\"firing\"}",
            END,
            firing(
                "alertname=\"GitHubTokenExpiresSoon\", severity=\"critical\", controller=\"github-token\", namespace=\"team\", name=\"short\"",
            ),
        ),
        (
            "ALERTS{alertname=\"GitHubTokenExpired\",alertstate=\"firing\"}",
            END,
            firing(
                "alertname=\"GitHubTokenExpired\", severity=\"critical\", controller=\"github-token\", namespace=\"team\", name=\"short\"",
            ),
        ),
        (
            "ALERTS{alertname=\"GitHubTokenRefreshFails\",alertstate=\"firing\",reason=\"GitHubUnavailable\"}",
            END,
            firing(
                "alertname=\"GitHubTokenRefreshFails\", severity=\"warning\", controller=\"github-token\", reason=\"GitHubUnavailable\"",
            ),
        ),
        (
            "ALERTS{alertname=\"GitHubAppConfigurationWrong\",alertstate=\"firing\"}",
            END,
            firing(
                "alertname=\"GitHubAppConfigurationWrong\", severity=\"warning\", controller=\"github-token\", source=\"ghapp\"",
            ),
        ),
        // While the calls that are no reviews are less than ten minutes ago.
        (
            "ALERTS{alertname=\"GitHubWebhookRejects\",alertstate=\"firing\"}",
            "26m",
            firing("alertname=\"GitHubWebhookRejects\", severity=\"warning\", operation=\"validate\""),
        ),
    ];
    promtool(&test_of(&trouble, &expectations));
    let down = [(
        "ALERTS{alertstate=\"firing\"}",
        END,
        firing("alertname=\"GitHubTokenManagerDown\", severity=\"critical\""),
    )];
    promtool(&test_of(&json!([]), &down));
    the_dashboard_shows_something(&trouble);
}

fn the_dashboard_shows_something(series: &Value) {
    let queries = queries::of_dashboard(&Path::new(FILES).join("dashboard.json"));
    let counts: Vec<String> = queries
        .iter()
        .map(|(_, query)| format!("count({query}) > bool 0"))
        .collect();
    let yes = json!([{"labels": "{}", "value": 1}]);
    let expectations: Vec<_> = counts.iter().map(|query| (query.as_str(), END, yes.clone())).collect();
    promtool(&test_of(series, &expectations));
}
