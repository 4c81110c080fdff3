//! What people and dashboards see: metrics, Events, kubectl's columns and explanations.

use lab::github::{Fault, Route};
use lab::gtm::Metrics;
use lab::wait::eventually;
use serde_json::json;

use crate::world::{SOON, World};

const TOKEN: (&str, &str) = ("controller", "github-token");

/// Waits until the metrics are as `check` wants them.
async fn metrics(world: &World, what: &str, check: impl Fn(&Metrics) -> bool) -> Metrics {
    eventually(SOON, what, async || {
        let metrics = world.operator.metrics().await.map_err(|error| error.to_string())?;
        if check(&metrics) {
            Ok(metrics)
        } else {
            Err(metrics.to_string())
        }
    })
    .await
}

#[tokio::test]
async fn the_metrics_have_the_peers_names_and_follow_what_happens() {
    let world = World::new().await;
    let empty = metrics(&world, "an answer", |_| true).await;
    let success = [TOKEN, ("result", "success")];
    assert_eq!(empty.value("token_refresh_total", &success), Some(0.0), "{empty}");

    world.token("demo", json!({"retryInterval": "1s"})).await;
    world.ready("demo").await;
    let first = world.good_token("demo", None).await;
    let series = [
        ("controller", "github-token"),
        ("namespace", &world.namespace),
        ("name", "demo"),
    ];
    let issued = metrics(&world, "its expiry is known", |metrics| {
        metrics.value("token_expiry_timestamp_seconds", &series).is_some()
    })
    .await;
    let expires_at = world.github.mints()[0].expires_at.as_second() as f64;
    let create = [TOKEN, ("operation", "create"), ("result", "success")];
    let wanted = [
        ("token_expiry_timestamp_seconds", &series[..], expires_at),
        ("tokens_active", &[TOKEN][..], 1.0),
        ("token_refresh_total", &success[..], 1.0),
        (
            "token_refresh_duration_seconds_count",
            &[TOKEN, ("operation", "create")][..],
            1.0,
        ),
        ("github_api_requests_total", &success[..], 1.0),
        ("github_api_call_duration_seconds_count", &success[..], 1.0),
        ("kubernetes_secret_operations_total", &create[..], 1.0),
    ];
    for (name, labels, value) in wanted {
        assert_eq!(issued.value(name, labels), Some(value), "{name}: {issued}");
    }

    world.github.fail_while(Some(Route::Mint), Fault::Suspended);
    world.request("demo", "1").await;
    world.condition("demo", "Ready", "False", "InstallationSuspended").await;
    let failed = metrics(&world, "the failure", |metrics| {
        let reason = [TOKEN, ("reason", "InstallationSuspended")];
        metrics.value("token_reconcile_errors_total", &reason) == Some(1.0)
    })
    .await;
    let error = [TOKEN, ("result", "error")];
    assert_eq!(failed.value("github_api_requests_total", &error), Some(1.0), "{failed}");
    assert_eq!(failed.value("token_refresh_total", &error), Some(1.0), "{failed}");
    assert_eq!(
        failed.value("token_expiry_timestamp_seconds", &series),
        Some(expires_at)
    );
    world.github.clear_faults();
    world.request("demo", "2").await;
    world.good_token("demo", Some(&first)).await;
    world.ready("demo").await;
    let update = [TOKEN, ("operation", "update"), ("result", "success")];
    let again = metrics(&world, "the write", |metrics| {
        metrics.value("kubernetes_secret_operations_total", &update) == Some(1.0)
    })
    .await;
    assert_eq!(again.value("token_refresh_total", &success), Some(2.0), "{again}");

    world.delete("demo").await;
    let gone = metrics(&world, "the series goes", |metrics| {
        metrics.value("token_expiry_timestamp_seconds", &series).is_none()
    })
    .await;
    assert_eq!(gone.value("tokens_active", &[TOKEN]).unwrap_or(0.0), 0.0, "{gone}");
    metrics(&world, "the revocation", |metrics| {
        metrics.value("token_revocations_total", &[("result", "revoked")]) == Some(1.0)
    })
    .await;
}

#[tokio::test]
async fn a_token_whose_app_is_missing_counts_as_a_configuration_error() {
    let world = World::new().await;
    world.token("demo", json!({"appRef": {"name": "nope"}})).await;
    world.condition("demo", "Ready", "False", "AppNotFound").await;
    // One for each attempt: there is another when more is known of other Apps.
    metrics(&world, "the error", |metrics| {
        let as_configuration = metrics.value("config_errors_total", &[TOKEN, ("source", "ghapp")]);
        let as_attempt = metrics.value("token_reconcile_errors_total", &[TOKEN, ("reason", "AppNotFound")]);
        as_configuration.is_some_and(|errors| errors >= 1.0) && as_configuration == as_attempt
    })
    .await;
}

#[tokio::test]
async fn an_event_says_why_and_when_it_goes_on_once_and_another_that_all_is_well() {
    let world = World::new().await;
    world.token("demo", json!({"retryInterval": "1s"})).await;
    world.ready("demo").await;
    world.github.fail_while(Some(Route::Mint), Fault::Unavailable(503));
    world.request("demo", "1").await;
    world.condition("demo", "Ready", "False", "GitHubUnavailable").await;
    let count = world.github.requests().len();
    eventually(SOON, "some more attempts", async || {
        let more = world.github.requests().len() - count;
        if more >= 3 { Ok(()) } else { Err(more) }
    })
    .await;
    let events = world.events("demo").await;
    let about: Vec<_> = events
        .iter()
        .filter(|(reason, _)| reason == "GitHubUnavailable")
        .collect();
    assert_eq!(about.len(), 1, "one Event for one trouble: {events:?}");
    assert!(
        about[0].1.contains("HTTP 503") && about[0].1.contains("next attempt at 20"),
        "{about:?}"
    );
    world.github.clear_faults();
    world.ready("demo").await;
    let events = world.events("demo").await;
    assert!(
        events
            .iter()
            .any(|(reason, note)| reason == "Issued" && note.contains("good token again")),
        "{events:?}"
    );
    let shown = [
        "get",
        "events",
        "-n",
        &world.namespace,
        "--field-selector=involvedObject.kind=Token",
    ];
    let shown = world.cluster.kubectl(&shown).await.unwrap();
    assert!(
        shown.contains("GitHubUnavailable") && shown.contains("token/demo"),
        "{shown}"
    );
}

#[tokio::test]
async fn kubectl_shows_columns_short_names_the_category_and_explanations() {
    let world = World::new().await;
    world.token("demo", json!({})).await;
    let token = world.ready("demo").await;
    let kubectl = async |arguments: &[&str]| world.cluster.kubectl(arguments).await.expect("kubectl");
    let table = kubectl(&["get", "ght", "-n", &world.namespace, "-o", "wide"]).await;
    let (head, row) = table.trim_end().split_once('\n').expect("two lines");
    for column in ["NAME", "READY", "REASON", "SECRET", "EXPIRES", "NEXT REFRESH", "AGE"] {
        assert!(head.contains(column), "{head}");
    }
    let status = token.status.expect("a status");
    let expires = status
        .installation_access_token
        .unwrap()
        .expires_at
        .unwrap()
        .to_string();
    let next = status.next_attempt_at.unwrap().to_string();
    for value in ["demo", "True", "Issued", &expires, &next] {
        assert!(row.contains(value), "{row}");
    }
    let category = kubectl(&["get", "github", "-n", &world.namespace, "-o", "name"]).await;
    assert!(category.contains("token.github.as-code.io/demo"), "{category}");
    let resources = kubectl(&["api-resources", "--api-group=github.as-code.io", "-o", "wide"]).await;
    assert!(
        resources.contains("ght") && resources.contains("ClusterToken"),
        "{resources}"
    );

    let explained = [
        ("token", "short-lived GitHub token"),
        ("token.spec.permissions", "name -> read, write or admin"),
        ("token.spec.refreshInterval", "1m to 55m"),
        ("token.spec.retryInterval", "1s to 1h"),
        (
            "token.spec.installationID",
            "the installation of the App's own configuration",
        ),
        ("token.spec.secret.format", "`gitCredentials`"),
        ("token.spec.secret.name", "Default: the name of the Token"),
        ("clustertoken.spec.secret.namespace", "It must exist"),
        ("token.status.conditions", "FIELD"),
        ("token.status.nextAttemptAt", "FIELD"),
        ("token.status.hashedToken", "FIELD"),
    ];
    for (path, words) in explained {
        let text = kubectl(&["explain", path, "--api-version=github.as-code.io/v1"]).await;
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            text.contains(words) && !text.contains("<no description>"),
            "{path}: {text}"
        );
    }
}

#[tokio::test]
async fn each_trouble_has_its_event_although_the_reason_is_the_same_and_so_has_each_recovery() {
    let world = World::new().await;
    world.token("demo", json!({})).await;
    world.ready("demo").await;
    let mut notes = Vec::new();
    for (n, status) in [500, 503].into_iter().enumerate() {
        world.github.fail_next(1, Some(Route::Mint), Fault::Unavailable(status));
        world.request("demo", &format!("2026-01-01T00:00:0{n}Z")).await;
        world.mints(n + 2, SOON).await;
        let token = world.settled("demo").await;
        notes.push(("GitHubUnavailable", format!("HTTP {status}")));
        notes.push(("Issued", lab::github::hashed(&token)));
    }
    // Troubles first.
    notes.sort_by_key(|(reason, _)| *reason);
    for (reason, part) in notes {
        eventually(SOON, &format!("an Event {reason} with {part}"), async || {
            let told = world.events("demo").await;
            let is_it = |(of, note): &(String, String)| of == reason && note.contains(&part);
            told.iter().any(is_it).then_some(()).ok_or(format!("{told:#?}"))
        })
        .await;
    }
}
