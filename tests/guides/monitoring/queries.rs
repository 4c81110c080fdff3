//! Queries: which metrics and labels they are about.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::series::Scrape;

/// Labels that Prometheus adds to what it scrapes from a pod.
const OF_THE_POD: [&str; 2] = ["job", "namespace"];

/// Words of the language that are neither metrics nor labels.
const KEYWORDS: [&str; 12] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "offset",
    "bool",
    "and",
    "or",
    "unless",
    "inf",
];

/// Every query of a dashboard with its panel's title, variables filled in.
pub fn of_dashboard(path: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let queries = panels.iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().expect("targets").iter();
        targets.map(|target| {
            let query = target["expr"].as_str().expect("a query");
            let query = query.replace("$__rate_interval", "30m").replace("$namespace", ".*");
            (panel["title"].to_string(), query)
        })
    });
    let queries: Vec<_> = queries.collect();
    assert!(
        queries.len() > 10 && queries.iter().all(|(_, query)| !query.contains('$')),
        "{queries:?}"
    );
    queries
}

/// The names in a query: metrics, and labels.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    metrics: BTreeSet<String>,
    labels: BTreeSet<String>,
}

/// What stands behind `by (` and in braces is a label, what stands before a parenthesis a function, the rest a metric. A metric with
/// braces that lack a name, a duration in brackets, and texts are skipped.
fn names(query: &str) -> Names {
    let mut names = Names::default();
    let outside: Vec<&str> = query.split('"').step_by(2).collect();
    let query = outside.join("\"\"");
    let (mut in_labels, mut in_range, mut last) = (false, false, String::new());
    let mut rest = query.as_str();
    while let Some(first) = rest.chars().next() {
        let word: &str = rest
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
            .next()
            .unwrap_or("");
        if word.is_empty() {
            match first {
                '{' => in_labels = true,
                '(' => in_labels = ["by", "without", "on", "ignoring"].contains(&last.as_str()),
                '}' | ')' => in_labels = false,
                '[' => in_range = true,
                ']' => in_range = false,
                _ => {}
            }
            rest = rest.get(first.len_utf8()..).unwrap_or("");
            continue;
        }
        rest = rest.get(word.len()..).unwrap_or("");
        last = word.to_owned();
        let function = rest.trim_start().starts_with('(');
        if in_range || word.starts_with(|c: char| c.is_ascii_digit()) || KEYWORDS.contains(&word) {
            continue;
        }
        if in_labels {
            names.labels.insert(word.to_owned());
        } else if !function && !aggregates(rest) {
            names.metrics.insert(word.to_owned());
        }
    }
    names
}

/// Whether a word before this is an operator such as `sum`, with its labels first.
fn aggregates(rest: &str) -> bool {
    let rest = rest.trim_start();
    ["by (", "without ("].iter().any(|start| rest.starts_with(start))
}

/// Fails for a query about a metric, or a label, that the operator does not have.
#[track_caller]
pub fn fit(queries: &[(String, String)], real: &Scrape) {
    for (place, query) in queries {
        let names = names(query);
        assert!(!names.metrics.is_empty(), "{place}: {query} is about nothing");
        let mut known = BTreeSet::from(OF_THE_POD);
        for metric in &names.metrics {
            let labels = real.labels(metric);
            known.extend(labels.unwrap_or_else(|| panic!("{place}: the operator has no {metric}: {query}")));
        }
        for label in &names.labels {
            assert!(
                known.contains(label.as_str()),
                "{place}: no label {label} in {query}: {known:?}"
            );
        }
    }
}

#[test]
fn metrics_and_labels_are_told_apart() {
    let found = names("sum by (le, operation) (rate(a_bucket{result=\"error {x}\"}[5m])) > 1 and b - time() < 600");
    let set = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(found.metrics, set(&["a_bucket", "b"]));
    assert_eq!(found.labels, set(&["le", "operation", "result"]));
    let after = names("sum(x) by (reason)");
    assert_eq!((after.metrics, after.labels), (set(&["x"]), set(&["reason"])));
}

#[test]
#[should_panic(expected = "no label place")]
fn a_label_that_does_not_exist_is_noticed() {
    let real = Scrape::new("tokens_active{controller=\"a\"} 1\n");
    fit(&[("panel".into(), "sum by (place) (tokens_active)".into())], &real);
}
