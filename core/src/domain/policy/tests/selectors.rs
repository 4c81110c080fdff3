//! Which namespaces a policy is about.

use super::*;

#[test]
fn selectors_are_read_as_kubernetes_reads_them() {
    for (selector, selects) in [
        (json!({}), true),
        (
            json!({"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "c"]}]}),
            true,
        ),
        (
            json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]}),
            false,
        ),
        (
            json!({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["a"]}]}),
            true,
        ),
        (
            json!({"matchExpressions": [{"key": "team", "operator": "Exists"}]}),
            true,
        ),
        (
            json!({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}),
            false,
        ),
        (
            json!({"matchLabels": {"team": "a"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}),
            false,
        ),
    ] {
        let all = policies(&[("p", json!({"namespaceSelector": selector}))], DefaultPolicy::Allow);
        assert_eq!(
            all.selects(&all.all["p"], &fixtures::intent(json!({}))),
            Some(selects),
            "{selector}"
        );
    }
}

#[test]
fn a_selector_that_says_nothing_selects_everything_and_allows_nothing() {
    let rule = |rule: Value| json!({"matchExpressions": [rule]});
    for (selector, told) in [
        (
            rule(json!({"key": "team", "operator": "Resembles"})),
            "matchExpressions[0].operator: 'Resembles' is none that this version knows; write In",
        ),
        (
            rule(json!({"key": "team", "operator": "In"})),
            "matchExpressions[0].values: none for In; write at least one",
        ),
        (
            rule(json!({"key": "team", "operator": "NotIn", "values": []})),
            "matchExpressions[0].values: none for NotIn",
        ),
        (
            rule(json!({"key": "my team", "operator": "DoesNotExist"})),
            "matchExpressions[0].key: 'my team' is no label's name: write at most 63",
        ),
        (
            rule(json!({"key": "team", "operator": "NotIn", "values": ["a", "Team_A/x"]})),
            "matchExpressions[0].values: 'Team_A/x' is no label's value: write at most 63",
        ),
        (
            json!({"matchLabels": {"team": "web "}}),
            "matchLabels.team: 'web\\u{20}' is no label's value: write at most 63 letters, digits, '-', '_' and '.', no blanks",
        ),
        (
            json!({"matchLabels": {"a b": "c"}}),
            "matchLabels: 'a b' is no label's name: write at most 63",
        ),
    ] {
        let spec = json!({"namespaceSelector": selector});
        let flaw = Policy::flaw(&serde_json::from_value(spec.clone()).unwrap()).unwrap();
        assert!(flaw.starts_with(&format!("spec.namespaceSelector.{told}")), "{flaw}");
        for default in [DefaultPolicy::Allow, DefaultPolicy::Deny] {
            let all = policies(&[("p", spec.clone())], default);
            let token = fixtures::intent(json!({}));
            assert_eq!(all.selects(&all.all["p"], &token), Some(true), "{selector}");
            let forbidden = all.judge(&token).forbidden.expect("forbidden").problem.message;
            assert!(
                forbidden.contains(&format!("cannot be read, so it allows nothing: {flaw}")),
                "{forbidden}"
            );
        }
    }
}
