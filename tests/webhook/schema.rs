//! What the schema of a TokenPolicy refuses, whether or not the webhook is there.

use serde_json::{Value, json};

use crate::validate::apply_object;
use crate::world::World;

#[tokio::test]
async fn a_policys_times_are_checked_by_its_schema() {
    let world = World::new().await;
    for (field, wrong, right, message) in [
        (
            "maxRefreshInterval",
            ["59s", "0s", "-1h", "9999999h"],
            "1m",
            "maxRefreshInterval must be at least 1m, the shortest interval of a Token, and at most 2562047h",
        ),
        (
            "gracePeriod",
            ["-1s", "-1ms", "-1h", "9999999h"],
            "0s",
            "gracePeriod must not be negative, and at most 2562047h",
        ),
    ] {
        let policy = |value: &str| {
            json!({"apiVersion": "github.as-code.io/v1", "kind": "TokenPolicy", "metadata": {"name": "times"},
                "spec": {field: value, "namespaceSelector": {"matchLabels": {"no": "such"}}}})
        };
        for value in wrong {
            let error = apply_object(&world, &policy(value)).await.unwrap_err();
            assert!(
                error.contains(&format!("spec.{field}")) && error.contains(message),
                "{value}: {error}"
            );
        }
        for value in [right, "1d", "2562047h"] {
            apply_object(&world, &policy(value)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_policys_selector_is_checked_by_its_schema() {
    let world = World::new().await;
    let policy = |rule: Value| {
        json!({"apiVersion": "github.as-code.io/v1", "kind": "TokenPolicy", "metadata": {"name": "selects"},
            "spec": {"namespaceSelector": {"matchExpressions": [rule]}}})
    };
    for rule in [
        json!({"key": "team", "operator": "In"}),
        json!({"key": "team", "operator": "NotIn", "values": []}),
        json!({"key": "team", "operator": "Exists", "values": ["a"]}),
    ] {
        let error = apply_object(&world, &policy(rule.clone())).await.unwrap_err();
        let told = "values: In and NotIn take at least one, Exists and DoesNotExist none";
        assert!(
            error.contains("spec.namespaceSelector.matchExpressions[0]") && error.contains(told),
            "{rule}: {error}"
        );
    }
    for rule in [
        json!({"key": "team", "operator": "NotIn", "values": ["a"]}),
        json!({"key": "team", "operator": "DoesNotExist"}),
    ] {
        apply_object(&world, &policy(rule)).await.unwrap();
    }
}
