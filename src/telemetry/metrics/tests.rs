use super::*;
use crate::domain::intent::Kind;

fn text(metrics: &Metrics) -> String {
    metrics.render().expect("rendered")
}

fn key(kind: Kind, namespace: Option<&str>, name: &str) -> Arc<Key> {
    Arc::new(Key {
        kind,
        namespace: namespace.map(Into::into),
        name: name.into(),
    })
}

fn token(namespace: &str, name: &str) -> Arc<Key> {
    key(Kind::Token, Some(namespace), name)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

#[test]
fn the_peers_metrics_have_their_names_and_labels() {
    let metrics = Metrics::new("1.2.3");
    let second = Duration::from_secs(1);
    metrics.token_refreshed(Controller::Token, Operation::Create, Outcome::Success, second);
    metrics.github_called(Controller::ClusterToken, Outcome::Error, second);
    metrics.token_live(&token("team", "ci"), "team", at(1_800_000_000));
    metrics.reconcile_failed(Controller::Token, Reason::SecretConflict);
    metrics.secret_operated(Controller::ClusterToken, Operation::Update, Outcome::Success);
    metrics.config_failed(Controller::App, ConfigSource::App);
    metrics.config_failed(Controller::Token, ConfigSource::Startup);
    let text = text(&metrics);
    for line in [
        r#"token_refresh_total{controller="github-token",result="success"} 1"#,
        r#"token_refresh_duration_seconds_sum{controller="github-token",operation="create"} 1.0"#,
        r#"token_refresh_duration_seconds_count{controller="github-token",operation="create"} 1"#,
        r#"github_api_requests_total{controller="github-clustertoken",result="error"} 1"#,
        r#"github_api_call_duration_seconds_count{controller="github-clustertoken",result="error"} 1"#,
        r#"token_expiry_timestamp_seconds{controller="github-token",namespace="team",name="ci"} 1800000000"#,
        r#"token_reconcile_errors_total{controller="github-token",reason="SecretConflict"} 1"#,
        r#"tokens_active{controller="github-token"} 1"#,
        r#"tokens_active{controller="github-clustertoken"} 0"#,
        r#"kubernetes_secret_operations_total{controller="github-clustertoken",operation="update",result="success"} 1"#,
        r#"config_errors_total{controller="github-app",source="app"} 1"#,
        r#"config_errors_total{controller="github-token",source="ghapp"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn our_metrics_have_their_names_and_labels() {
    let metrics = Metrics::new("1.2.3");
    metrics.app_known("team/a");
    metrics.ask_budgets(|| vec![("team/a".to_owned(), Some(7)), ("gone/b".to_owned(), None)]);
    metrics.signed("team/a", Outcome::from(&Err::<(), ()>(())));
    metrics.gate_held("team/a");
    metrics.revocation(Revocation::Abandoned);
    metrics.leader(true);
    metrics.waiting("team/a", 1);
    let before = text(&metrics);
    metrics.waiting("team/a", 0);
    let after = text(&metrics);
    for line in [
        r#"github_app_signatures_total{app="team/a",result="error"} 1"#,
        r#"github_app_signatures_total{app="team/a",result="success"} 0"#,
        r#"github_gate_holds_total{app="team/a"} 1"#,
        r#"github_gate_waiting{app="team/a"} 1"#,
        r#"github_app_budget_remaining{app="team/a"} 7.0"#,
        r#"token_revocations_total{result="abandoned"} 1"#,
        r#"token_revocations_total{result="revoked"} 0"#,
        "github_token_manager_leader 1",
        r#"github_token_manager_build_info{version="1.2.3"} 1"#,
    ] {
        assert!(before.lines().any(|found| found == line), "{line} is not in\n{before}");
    }
    assert!(after.contains("\ngithub_gate_waiting{app=\"team/a\"} 0\n"), "{after}");
    assert!(!after.contains("gone/b"), "{after}");
}

#[test]
fn an_app_that_is_gone_has_no_series_and_late_news_do_not_bring_them_back() {
    let metrics = Metrics::new("0");
    metrics.app_known("team/a");
    metrics.ask_budgets(|| vec![("team/a".to_owned(), None)]);
    assert!(
        text(&metrics).contains("github_app_budget_remaining{app=\"team/a\"} inf\n"),
        "{}",
        text(&metrics)
    );
    metrics.app_gone("team/a");
    metrics.signed("team/a", Outcome::Success);
    metrics.gate_held("team/a");
    metrics.waiting("team/a", 3);
    assert!(!text(&metrics).contains("team/a"));
    metrics.app_known("team/a");
    assert!(text(&metrics).contains("github_gate_waiting{app=\"team/a\"} 0\n"));
}

#[test]
fn a_token_that_is_gone_has_no_series_and_is_not_counted() {
    let metrics = Metrics::new("0");
    metrics.token_live(&token("a", "x"), "a", at(5));
    metrics.token_live(&token("a", "x"), "a", at(6));
    metrics.token_live(&key(Kind::ClusterToken, None, "x"), "a", at(7));
    let both = text(&metrics);
    assert!(
        both.contains(r#"{controller="github-token",namespace="a",name="x"} 6"#),
        "{both}"
    );
    assert!(
        both.contains(r#"{controller="github-clustertoken",namespace="a",name="x"} 7"#),
        "{both}"
    );
    metrics.token_gone(&token("a", "x"));
    let one = text(&metrics);
    assert!(!one.contains(r#"{controller="github-token",namespace"#), "{one}");
    assert!(one.contains("tokens_active{controller=\"github-token\"} 0\n"), "{one}");
    metrics.tokens_handed_over();
    assert!(!text(&metrics).contains("namespace="));
}

#[test]
fn the_text_is_openmetrics_to_its_last_line() {
    let metrics = Metrics::new("0");
    metrics.token_live(&token("a", "x"), "a", at(5));
    let text = text(&metrics);
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert_eq!(text.matches("# EOF").count(), 1);
    let mut described = std::collections::BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let (value, _) = line
            .rsplit_once(' ')
            .map(|(_, value)| (value.parse::<f64>(), ()))
            .expect("name and value");
        assert!(value.is_ok(), "{line}");
        described.insert(name.to_owned());
    }
    for name in described {
        let family = ["_total", "_info", "_sum", "_count", "_bucket"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(&name);
        assert!(
            text.contains(&format!("# TYPE {family} ")),
            "{name} has no type in\n{text}"
        );
    }
}

#[test]
fn every_clone_counts_into_the_same_metrics() {
    let metrics = Metrics::new("0");
    metrics.clone().app_known("a/b");
    metrics.clone().gate_held("a/b");
    assert!(text(&metrics).contains("github_gate_holds_total{app=\"a/b\"} 1\n"));
}
