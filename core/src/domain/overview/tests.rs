//! States, order, and times in words.

use serde_json::json;

use super::*;
use crate::domain::fixtures;
use crate::domain::intent::Kind;

const NOW: &str = "2026-01-02T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn condition(kind: &str, status: &str, reason: &str) -> serde_json::Value {
    json!({"type": kind, "status": status, "reason": reason, "message": format!("{reason} it is"), "lastTransitionTime": NOW})
}

fn line(spec: serde_json::Value, status: serde_json::Value) -> Line {
    let intent = Intent::new(&fixtures::token(spec));
    let status: TokenStatus = serde_json::from_value(status).unwrap();
    let key = Key {
        kind: Kind::Token,
        namespace: Some("team-a".into()),
        name: "ci".into(),
    };
    let seen = Seen {
        key,
        generation: 3,
        deleting: false,
        intent: &intent,
        status: &status,
    };
    Line::new(seen, now())
}

#[test]
fn one_that_is_being_deleted_is_called_so_also_where_its_token_has_expired() {
    let intent = Intent::new(&fixtures::token(json!({})));
    let status = json!({"observedGeneration": 3, "conditions": [condition("Ready", "True", "Issued")],
        "installationAccessToken": {"expiresAt": EARLIER}});
    let status: TokenStatus = serde_json::from_value(status).unwrap();
    let seen = |deleting| Seen {
        key: Key {
            kind: Kind::Token,
            namespace: Some("team-a".into()),
            name: "ci".into(),
        },
        generation: 3,
        deleting,
        intent: &intent,
        status: &status,
    };
    let said = |deleting| {
        let line = Line::new(seen(deleting), now());
        (line.state, line.reason)
    };
    assert_eq!(said(true), (State::Waiting, "Deleting".to_owned()));
    assert_eq!(said(false), (State::Expired, "TokenExpired".to_owned()));
}

fn state_of(conditions: serde_json::Value, expires: &str, generation: i64) -> (State, String) {
    let status = json!({"observedGeneration": generation, "conditions": conditions,
        "installationAccessToken": {"expiresAt": expires}});
    let line = line(json!({}), status);
    (line.state, line.reason)
}

const LATER: &str = "2026-01-02T12:43:30Z";
const EARLIER: &str = "2026-01-02T11:59:00Z";

#[test]
fn the_worst_that_is_true_is_said() {
    let ready = condition("Ready", "True", "Issued");
    let failed = condition("Ready", "False", "GitHubUnavailable");
    let expired = condition("Expired", "True", "TokenExpired");
    let warning = condition("Warning", "True", "UnknownPermission");
    let is = |state: State, reason: &str| (state, reason.to_owned());
    assert_eq!(state_of(json!([ready]), LATER, 3), is(State::Ready, "Issued"));
    assert_eq!(
        state_of(json!([ready, warning]), LATER, 3),
        is(State::Doubtful, "UnknownPermission")
    );
    assert_eq!(state_of(json!([ready]), LATER, 2), is(State::Waiting, "NotObserved"));
    assert_eq!(
        state_of(json!([failed, warning]), LATER, 2),
        is(State::Failing, "GitHubUnavailable")
    );
    assert_eq!(
        state_of(json!([failed, expired]), EARLIER, 3),
        is(State::Expired, "GitHubUnavailable")
    );
    assert_eq!(
        state_of(json!([ready, expired]), EARLIER, 3),
        is(State::Expired, "TokenExpired")
    );
    // As it stands there when the operator died.
    assert_eq!(state_of(json!([ready]), EARLIER, 3), is(State::Expired, "TokenExpired"));
    assert_eq!(
        state_of(json!([failed]), EARLIER, 3),
        is(State::Expired, "GitHubUnavailable")
    );
    let unknown = condition("Ready", "Unknown", "Pending");
    assert_eq!(state_of(json!([unknown]), LATER, 3), is(State::Waiting, "Pending"));
}

#[test]
fn what_stood_in_the_way_before_a_token_expired_is_not_hidden() {
    let invalid = condition("Ready", "False", "InvalidTemplate");
    let status = json!({"conditions": [invalid], "installationAccessToken": {"expiresAt": EARLIER}});
    let line = line(json!({}), status);
    for part in ["InvalidTemplate it is", "the token expired", "does it run?"] {
        assert!(line.message.contains(part), "{}", line.message);
    }
}

#[test]
fn where_the_kind_is_too_old_for_the_generation_of_the_status_that_of_its_condition_counts() {
    for (generation, state) in [(3, State::Ready), (2, State::Waiting)] {
        let mut ready = condition("Ready", "True", "Issued");
        ready["observedGeneration"] = generation.into();
        let line = line(json!({}), json!({"conditions": [ready]}));
        assert_eq!(line.state, state, "{line:?}");
    }
}

#[test]
fn one_that_nobody_has_looked_at_waits_and_names_its_secret() {
    let line = line(json!({"secret": {"name": "ci-token"}}), json!({}));
    assert_eq!((line.state, line.reason.as_str()), (State::Waiting, "NotObserved"));
    assert_eq!(line.secret.unwrap().to_string(), "team-a/ci-token");
    assert_eq!((line.expires, line.next), (None, None));
}

#[test]
fn a_spec_that_cannot_be_read_fails_before_the_operator_says_so() {
    let line = line(json!({"permissions": {}}), json!({}));
    assert_eq!(line.state, State::Failing);
    assert!(
        line.message.contains("permissions") && line.secret.is_none(),
        "{line:?}"
    );
}

#[test]
fn trouble_comes_first_and_then_what_expires_first() {
    let named = |name: &str, state: State, expires: Option<&str>| Line {
        key: Key {
            kind: Kind::Token,
            namespace: Some("team-a".into()),
            name: name.into(),
        },
        state,
        reason: String::new(),
        message: String::new(),
        secret: None,
        expires: expires.map(|at| at.parse().unwrap()),
        next: None,
    };
    let mut lines = [
        named("b", State::Ready, Some(LATER)),
        named("never", State::Ready, None),
        named("a", State::Ready, Some(LATER)),
        named("soon", State::Ready, Some(NOW)),
        named("failing", State::Failing, None),
        named("over", State::Expired, Some(EARLIER)),
    ];
    sort(&mut lines);
    let names: Vec<&str> = lines.iter().map(|line| &*line.key.name).collect();
    assert_eq!(names, ["over", "failing", "soon", "a", "b", "never"]);
}

#[test]
fn times_are_said_in_two_units() {
    let said = |at: &str| relative(at.parse().unwrap(), now());
    assert_eq!(said("2026-01-02T12:00:09Z"), "in 9s");
    assert_eq!(said("2026-01-02T12:43:30Z"), "in 43m");
    assert_eq!(said("2026-01-02T14:05:00Z"), "in 2h5m");
    assert_eq!(said("2026-01-05T13:00:00Z"), "in 3d1h");
    assert_eq!(said("2026-01-02T11:59:00Z"), "1m ago");
    assert_eq!(said(NOW), "in 0s");
}
