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
    for rule in [
        json!({"key": "team", "operator": "Resembles"}),
        json!({"key": "team", "operator": "In"}),
        json!({"key": "team", "operator": "NotIn", "values": []}),
    ] {
        for default in [DefaultPolicy::Allow, DefaultPolicy::Deny] {
            let all = policies(
                &[("p", json!({"namespaceSelector": {"matchExpressions": [rule]}}))],
                default,
            );
            let token = fixtures::intent(json!({}));
            assert_eq!(all.selects(&all.all["p"], &token), Some(true), "{rule}");
            let forbidden = all.judge(&token).forbidden.expect("forbidden").problem.message;
            assert!(forbidden.contains("cannot be read"), "{rule}: {forbidden}");
        }
    }
}
