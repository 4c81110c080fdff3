//! What policies let through.

mod large;
mod permissions;
mod selectors;

use serde_json::{Value, json};

use super::*;
use crate::domain::fixtures;

fn policy(name: &str, spec: Value) -> Policy {
    let object =
        json!({"apiVersion": "github.as-code.io/v1", "kind": "TokenPolicy", "metadata": {"name": name}, "spec": spec});
    Policy::new(&serde_json::from_value(object).unwrap())
}

fn policies(all: &[(&str, Value)], default: DefaultPolicy) -> Policies {
    let all = all
        .iter()
        .map(|(name, spec)| ((*name).to_owned(), policy(name, spec.clone())));
    let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let namespaces = [
        ("team-a".to_owned(), labels(&[("team", "a")])),
        ("team-b".to_owned(), labels(&[("team", "b")])),
    ];
    Policies {
        own_namespace: "own".to_owned(),
        all: all.collect(),
        namespaces: namespaces.into(),
        default,
    }
}

/// Why a Token of the namespace `team-a` is forbidden, if it is.
fn refused(all: &[(&str, Value)], token: Value) -> Option<String> {
    let verdict = policies(all, DefaultPolicy::Allow).judge(&fixtures::intent(token));
    verdict.forbidden.map(|forbidden| forbidden.problem.message)
}

#[test]
fn each_limit_names_the_field_the_value_and_what_is_allowed() {
    let table = [
        (
            json!({"permissions": {"*": "read"}}),
            json!({"permissions": {"contents": "read"}}),
            None,
        ),
        (
            json!({"permissions": {"*": "read"}}),
            json!({"permissions": {"contents": "write"}}),
            Some("spec.permissions.contents: 'write' is more than 'read'"),
        ),
        (
            json!({"permissions": {"*": "read"}}),
            json!({"permissions": {"contents": "super"}}),
            Some("'super' is more than 'read'"),
        ),
        (
            json!({"permissions": {"*": "read"}}),
            json!({}),
            Some("spec.permissions is not set, which asks for everything"),
        ),
        (
            json!({"permissions": {"contents": "write"}}),
            json!({"permissions": {"issues": "read"}}),
            Some("spec.permissions.issues is not allowed"),
        ),
        (
            json!({"permissions": {"*": "read", "contents": "write"}}),
            json!({"permissions": {"contents": "write", "issues": "read"}}),
            None,
        ),
        (
            json!({"organizationPermissions": "deny"}),
            json!({"permissions": {"members": "read"}}),
            Some("spec.permissions.members reaches the whole organization"),
        ),
        (
            json!({"organizationPermissions": "deny"}),
            json!({"permissions": {"contents": "write"}}),
            None,
        ),
        (
            json!({"organizationPermissions": "deny", "permissions": {"*": "read"}}),
            json!({"permissions": {"Members": "read"}}),
            Some("spec.permissions.Members is not known to be a repository permission: write one"),
        ),
        (
            json!({"organizationPermissions": "deny", "permissions": {"*": "read"}}),
            json!({"permissions": {"contents": "read", "members ": "read"}}),
            Some("spec.permissions.members\\u{20} is not known to be a repository permission"),
        ),
        (
            json!({"permissions": {"*": "read"}}),
            json!({"permissions": {"quantum_teleportation": "read"}}),
            None,
        ),
        (
            json!({"organizationPermissions": "deny"}),
            json!({}),
            Some("spec.permissions is not set"),
        ),
        (
            json!({"repositories": ["web-*"]}),
            json!({"repositories": ["web-shop", "WEB-x"]}),
            None,
        ),
        (
            json!({"repositories": ["web-*"]}),
            json!({"repositories": ["web-shop", "infra"]}),
            Some("spec.repositories: 'infra' is none of: web-*"),
        ),
        (
            json!({"repositories": ["web-*"]}),
            json!({}),
            Some("spec.repositories is not set, which asks for all"),
        ),
        (
            json!({"repositories": ["web-*"]}),
            json!({"repositories": ["web-a"], "repositoryIDs": [7]}),
            Some("spec.repositoryIDs: 7 says no name"),
        ),
        (json!({"repositories": ["*"]}), json!({"repositoryIDs": [7]}), None),
        (
            json!({"repositories": []}),
            json!({"repositories": ["x"]}),
            Some("'x' is none of"),
        ),
        (json!({"installations": [7]}), json!({"installationID": 7}), None),
        (
            json!({"installations": [7]}),
            json!({"installationID": 8}),
            Some("spec.installationID: 8 is none of: 7"),
        ),
        (json!({"installations": [7]}), json!({}), Some("spec.installationID: 0")),
        (json!({"installations": [0]}), json!({}), None),
        (
            json!({"installations": [0, 7]}),
            json!({"owner": "other"}),
            Some("spec.owner: 'other' says no ID; name the installationID instead: 0, 7"),
        ),
        (json!({"apps": ["operator"]}), json!({}), None),
        (
            json!({"apps": ["team-a/*"]}),
            json!({}),
            Some("the App 'operator' is none of: team-a/*"),
        ),
        (json!({"apps": ["team-a/*"]}), json!({"appRef": {"name": "own"}}), None),
        (
            json!({"requireScope": true}),
            json!({"permissions": {"contents": "read"}}),
            Some("spec.repositories is not set, but has to name"),
        ),
        (
            json!({"requireScope": true}),
            json!({"repositories": ["x"]}),
            Some("spec.permissions is not set, but has to name"),
        ),
        (
            json!({"requireScope": true}),
            json!({"repositories": ["x"], "permissions": {"contents": "read"}}),
            None,
        ),
        (
            json!({"maxRefreshInterval": "20m"}),
            json!({}),
            Some("spec.refreshInterval: 1800s is longer than 1200s"),
        ),
        (
            json!({"maxRefreshInterval": "20m"}),
            json!({"refreshInterval": "10m"}),
            None,
        ),
        (
            json!({"maxRefreshInterval": "1y"}),
            json!({}),
            Some("the policy cannot be read"),
        ),
    ];
    for (limits, token, expected) in table {
        let found = refused(&[("p", limits.clone())], token.clone());
        match expected {
            None => assert_eq!(found, None, "{limits} {token}"),
            Some(text) => assert!(
                found
                    .as_ref()
                    .is_some_and(|found| found.contains(text) && found.contains("TokenPolicy p: ")),
                "{limits} {token}: {found:?}"
            ),
        }
    }
}

#[test]
fn one_policy_that_allows_is_enough_and_those_of_other_namespaces_do_not_count() {
    let (a, b) = (
        json!({"matchLabels": {"team": "a"}}),
        json!({"matchLabels": {"team": "b"}}),
    );
    let none = json!({"repositories": [], "namespaceSelector": a});
    let own = json!({"repositories": ["x"], "namespaceSelector": a});
    let other = json!({"namespaceSelector": b});
    let token = json!({"repositories": ["x"]});
    assert_eq!(refused(&[("none", none.clone()), ("own", own)], token.clone()), None);
    let text = refused(&[("none", none), ("other", other)], token).unwrap();
    assert!(
        text.contains("TokenPolicy none") && !text.contains("TokenPolicy other"),
        "{text}"
    );
}

#[test]
fn without_a_policy_the_default_decides_and_removing_one_never_widens_a_default_of_deny() {
    let token = fixtures::intent(json!({}));
    assert_eq!(policies(&[], DefaultPolicy::Allow).judge(&token).forbidden, None);
    let denied = policies(&[], DefaultPolicy::Deny).judge(&token).forbidden.unwrap();
    assert_eq!(denied.problem.reason, Reason::PolicyForbids);
    assert!(denied.problem.message.contains("--default-policy is deny"));
    let audit = policies(&[("p", json!({"enforcement": "audit"}))], DefaultPolicy::Deny).judge(&token);
    assert!(
        audit.forbidden.is_some(),
        "a policy that only warns lets nothing through either"
    );
}

#[test]
fn where_policies_only_audit_a_default_of_deny_says_so_and_waits_for_the_longest_of_them() {
    let team = json!({"matchLabels": {"team": "b"}});
    let all = [
        ("p", json!({"enforcement": "audit", "gracePeriod": "2h"})),
        ("q", json!({"enforcement": "audit", "gracePeriod": "1m"})),
        (
            "elsewhere",
            json!({"enforcement": "audit", "gracePeriod": "9h", "namespaceSelector": team}),
        ),
    ];
    let token = fixtures::intent(json!({}));
    let forbidden = policies(&all, DefaultPolicy::Deny).judge(&token).forbidden.unwrap();
    assert_eq!(
        forbidden.problem.message,
        "no TokenPolicy that is enforced is about the namespace team-a (only audits: p, q), and the operator's --default-policy is deny: \
         ask the cluster's admin for one"
    );
    assert_eq!(forbidden.grace, Duration::from_secs(7200));
    let enforced = json!({"gracePeriod": "5m", "repositories": []});
    let mixed = [all[0].clone(), ("r", enforced)];
    let forbidden = policies(&mixed, DefaultPolicy::Deny).judge(&token).forbidden.unwrap();
    assert!(
        forbidden.problem.message.starts_with("TokenPolicy r: "),
        "{forbidden:?}"
    );
    assert_eq!(forbidden.grace, Duration::from_secs(300));
}

#[test]
fn a_policy_that_only_warns_says_what_it_would_do() {
    let limits = json!({"enforcement": "audit", "requireScope": true});
    let verdict = policies(&[("p", limits.clone())], DefaultPolicy::Allow).judge(&fixtures::intent(json!({})));
    assert_eq!(verdict.forbidden, None);
    assert_eq!(verdict.warnings[0].reason, Reason::PolicyWarns);
    assert!(
        verdict.warnings[0]
            .message
            .contains("TokenPolicy p: spec.permissions is not set")
    );
    let wider = policies(&[("p", limits), ("q", json!({}))], DefaultPolicy::Allow).judge(&fixtures::intent(json!({})));
    assert!(
        wider.forbidden.is_none() && wider.warnings.is_empty(),
        "another policy would allow it"
    );
    assert_eq!(wider.refusals().count(), 0);
}

#[test]
fn the_secret_stays_for_the_longest_grace_of_the_policies() {
    let all = [
        ("p", json!({"repositories": [], "gracePeriod": "1m"})),
        ("q", json!({"repositories": [], "gracePeriod": "2h"})),
    ];
    let verdict = policies(&all, DefaultPolicy::Allow).judge(&fixtures::intent(json!({})));
    assert_eq!(verdict.forbidden.unwrap().grace, Duration::from_secs(7200));
}

#[test]
fn in_a_namespace_that_is_not_known_nothing_is_issued_and_nothing_is_removed() {
    let mut all = policies(
        &[("p", json!({"namespaceSelector": {"matchLabels": {"team": "b"}}}))],
        DefaultPolicy::Allow,
    );
    all.namespaces.clear();
    let forbidden = all.judge(&fixtures::intent(json!({}))).forbidden.unwrap();
    assert_eq!(
        (forbidden.problem.reason, forbidden.grace),
        (Reason::NamespaceUnavailable, Duration::MAX)
    );
}

#[test]
fn a_cluster_token_is_judged_by_the_namespace_of_its_secret() {
    let object = fixtures::cluster_token(json!({"secret": {"namespace": "team-b"}}));
    let intent = Intent::new(&object).unwrap();
    let selects = |team: &str| {
        policies(
            &[(
                "p",
                json!({"repositories": [], "namespaceSelector": {"matchLabels": {"team": team}}}),
            )],
            DefaultPolicy::Allow,
        )
    };
    assert_eq!(selects("a").judge(&intent).forbidden, None);
    assert!(selects("b").judge(&intent).forbidden.is_some());
}

#[test]
fn a_secret_goes_when_the_grace_is_over_and_not_a_second_before() {
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let problem = Problem::new(Reason::PolicyForbids, Retry::Every(PERIOD), "no");
    let forbidden = Forbidden {
        problem,
        grace: Duration::from_secs(600),
    };
    let secrets = || {
        let named = |name: &str| SecretKey {
            namespace: "ns".into(),
            name: name.into(),
        };
        vec![named("former"), named("wanted")]
    };
    let at = |seconds: i64| Timestamp::from_second(1_700_000_000 + seconds).unwrap();
    let first = consequence(forbidden.clone(), secrets(), None, now).unwrap_err();
    assert_eq!(first.retry, Retry::Every(Duration::from_secs(600)));
    assert!(
        first.message.contains(&Time::from(at(600)).to_string()),
        "{}",
        first.message
    );
    let still = consequence(forbidden.clone(), secrets(), Some(now), at(599)).unwrap_err();
    assert_eq!(still.retry, Retry::Every(Duration::from_secs(1)));
    assert_eq!(
        consequence(forbidden.clone(), secrets(), Some(now), at(600)),
        Ok(Plan::Withdraw(secrets()))
    );
    assert!(
        consequence(forbidden, Vec::new(), Some(now), at(600)).is_err(),
        "there is nothing to remove"
    );
    let elsewhere = Problem::new(Reason::NamespaceUnavailable, Retry::Backoff, "unknown");
    let unknown = Forbidden {
        problem: elsewhere,
        grace: Duration::ZERO,
    };
    assert!(consequence(unknown, secrets(), Some(now), at(600)).is_err());
}

#[test]
fn an_app_of_a_cluster_token_without_a_namespace_is_the_operators_neighbour() {
    let object = fixtures::cluster_token(json!({"secret": {"namespace": "team-a"}, "appRef": {"name": "x"}}));
    let intent = Intent::new(&object).unwrap();
    let forbids = |glob: &str| {
        policies(&[("p", json!({"apps": [glob]}))], DefaultPolicy::Allow)
            .judge(&intent)
            .forbidden
    };
    assert_eq!(forbids("own/*"), None);
    assert!(forbids("operator").is_some() && forbids("team-a/*").is_some());
}

#[test]
fn times_in_days_are_read_and_what_the_schema_lets_through_all_the_same_is_named() {
    let spec = |spec| serde_json::from_value::<crate::api::TokenPolicySpec>(spec).unwrap();
    for right in [json!({}), json!({"gracePeriod": "1d", "maxRefreshInterval": "1w"})] {
        assert_eq!(Policy::flaw(&spec(right)), None);
    }
    for (wrong, text, cure) in [
        (
            json!({"gracePeriod": "1mo"}),
            "spec.gracePeriod: '1mo' is not a duration",
            "such as '1d'",
        ),
        (
            json!({"maxRefreshInterval": "soon"}),
            "spec.maxRefreshInterval: 'soon' is not",
            "such as '1d'",
        ),
        (
            json!({"gracePeriod": "9999999h"}),
            "spec.gracePeriod: '9999999h' is too long",
            "write at most 2562047h",
        ),
    ] {
        let flaw = Policy::flaw(&spec(wrong)).unwrap();
        assert!(flaw.starts_with(text) && flaw.contains(cure), "{flaw}");
    }
    assert_eq!(Policy::flaw(&spec(json!({"gracePeriod": "2562047h"}))), None);
    assert_eq!(duration("1d"), Some(Duration::from_secs(86_400)));
}
