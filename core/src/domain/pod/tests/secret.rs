//! What is said of a Token that is not ready.

use super::*;
use crate::api::{InstallationAccessToken, ManagedSecret};

/// What is said about a pod that asks for the Token `ci` of this spec and status.
fn said(spec: &Value, status: &TokenStatus) -> String {
    let read = Intent::new(&fixtures::token(spec.clone()));
    let all = BTreeMap::from([(key(Kind::Token, "ci"), TokenFacts::new(&read, status, false))]);
    let pod = r#"{"metadata": {"annotations": {"github.as-code.io/token": "ci"}}, "spec": {"containers": [{"name": "app"}]}}"#;
    let view: Pod<'_> = serde_json::from_str(pod).unwrap();
    let mut warnings = Warnings::default();
    let asks = asks(view.annotations(), NAMESPACE, &mut warnings).unwrap();
    inject(&view, NAMESPACE, &asks, &all, &mut warnings).unwrap();
    warnings.into_texts().concat()
}

/// A status with `Ready=False`, and with another condition.
fn troubled(reason: &str, kind: &str) -> TokenStatus {
    let mut all = status(false).conditions;
    reason.clone_into(&mut all[0].reason);
    let mut other = all[0].clone();
    kind.clone_into(&mut other.kind);
    other.status = "True".into();
    all.push(other);
    TokenStatus {
        conditions: all,
        ..TokenStatus::default()
    }
}

/// The same with a token in the Secret `ci`.
fn held(status: TokenStatus) -> TokenStatus {
    let at: jiff::Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
    TokenStatus {
        managed_secret: Some(ManagedSecret {
            namespace: Some(NAMESPACE.into()),
            name: Some("ci".into()),
            ..ManagedSecret::default()
        }),
        installation_access_token: Some(InstallationAccessToken {
            updated_at: None,
            expires_at: Some(Time::from(at)),
        }),
        ..status
    }
}

const STARTS: &str = "the pod starts with the token that is in its Secret, good until 2026-01-01T01:00:00Z at most, and gets no other \
                      before the Token is ready";
const WAITS: &str = "the pod waits until its Secret is there";
const STAYS: &str = "the pod does not start before the Token is put right: its condition says what is wrong";

#[test]
fn what_is_said_of_a_token_that_is_not_ready_is_what_happens_to_the_pod() {
    let forbidden = || troubled("PolicyForbids", condition::STALLED);
    let unreachable = || troubled("GitHubUnavailable", condition::RECONCILING);
    for (reason, status, told) in [
        ("PolicyForbids", held(forbidden()), STARTS),
        ("PolicyForbids", forbidden(), STAYS),
        ("GitHubUnavailable", held(unreachable()), STARTS),
        ("GitHubUnavailable", unreachable(), WAITS),
        ("Pending", TokenStatus::default(), WAITS),
    ] {
        let expected = format!("Token ci is not ready ({reason}): {told}");
        assert_eq!(said(&json!({}), &status), expected);
    }
}

#[test]
fn a_secret_of_a_former_name_or_form_is_none_that_a_pod_starts_with() {
    let status = held(troubled("GitHubUnavailable", condition::RECONCILING));
    for (secret, told) in [
        (json!({"name": "ci"}), STARTS),
        (json!({"name": "other"}), WAITS),
        (json!({"format": "basicAuth"}), WAITS),
    ] {
        let said = said(&json!({"secret": secret}), &status);
        assert!(said.ends_with(told), "{secret}: {said}");
    }
}
