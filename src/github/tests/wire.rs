//! The client over real HTTP.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::FutureExt as _;
use futures::future::join_all;
use jiff::SignedDuration;
use jiff::fmt::rfc2822::DateTimePrinter;
use secrecy::ExposeSecret;

use super::super::{Limits, Revoked};
use super::server::{Scripted, reply, setup, token_answer};
use super::*;
use crate::api::Reason;

fn date(second: i64) -> (&'static str, String) {
    (
        "date",
        DateTimePrinter::new().timestamp_to_rfc9110_string(&at(second)).unwrap(),
    )
}

fn dated(mut answer: Scripted, second: i64) -> Scripted {
    answer.1.push(date(second));
    answer
}

#[tokio::test]
async fn a_mint_sends_what_github_documents_byte_for_byte() {
    let setup = setup(Limits::default(), [token_answer()]).await;
    let minted = setup.mint(67_890, &scope()).await.unwrap();
    assert_eq!(minted.token.expose_secret(), TOKEN);
    let seen = &setup.server.seen()[0];
    assert_eq!(seen.line, "POST /api/v3/app/installations/67890/access_tokens");
    assert_eq!(
        seen.body,
        r#"{"permissions":{"contents":"write","issues":"read"},"repositories":["alpha","beta"],"repository_ids":[101]}"#
    );
    for (name, value) in [
        ("accept", "application/vnd.github+json"),
        ("content-type", "application/json"),
        (
            "user-agent",
            concat!("github-token-manager/", env!("CARGO_PKG_VERSION")),
        ),
        ("x-github-api-version", "2022-11-28"),
    ] {
        assert_eq!(seen.headers[name], value);
    }
    let bearer = seen.headers["authorization"]
        .to_str()
        .unwrap()
        .strip_prefix("Bearer ")
        .unwrap()
        .to_owned();
    let parts: Vec<_> = bearer
        .split('.')
        .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap())
        .collect();
    let [header, payload, signature] = &parts[..] else {
        panic!("{bearer}")
    };
    assert_eq!(header, br#"{"alg":"RS256","typ":"JWT"}"#);
    assert_eq!(
        String::from_utf8_lossy(payload),
        format!(r#"{{"iat":{},"exp":{},"iss":12345}}"#, NOW - 60, NOW + 300)
    );
    assert_eq!(signature, &vec![0xab; 256]);
}

#[tokio::test]
async fn an_unlimited_scope_sends_an_empty_object() {
    let setup = setup(Limits::default(), [token_answer()]).await;
    setup.mint(1, &MintScope::default()).await.unwrap();
    assert_eq!(setup.server.seen()[0].body, "{}");
}

#[tokio::test]
async fn a_scope_that_github_would_misunderstand_is_never_sent() {
    let setup = setup(Limits::default(), [token_answer()]).await;
    let scope = |repositories: Vec<String>, repository_ids| MintScope {
        permissions: None,
        repositories,
        repository_ids,
    };
    for (scope, text) in [
        (
            MintScope {
                permissions: Some(BTreeMap::new()),
                ..MintScope::default()
            },
            "permissions is empty",
        ),
        (
            scope(vec!["acme/alpha".into()], vec![]),
            "repositories has \"acme/alpha\", which is not a bare name: write \"alpha\"",
        ),
        (scope(vec![String::new()], vec![]), "repositories has \"\""),
        (
            scope(vec!["a".into()], (0..500).collect()),
            "are 501, and GitHub takes at most 500",
        ),
    ] {
        let error = setup.mint(1, &scope).await.unwrap_err();
        assert_eq!(error.reason(), Reason::InvalidSpec);
        assert!(error.to_string().contains(text), "{error}");
    }
    setup.mint(1, &scope(vec![], (0..500).collect())).await.unwrap();
    assert_eq!(setup.server.seen().len(), 1);
}

#[tokio::test]
async fn a_hundred_mints_at_once_cost_one_signature() {
    let setup = setup(Limits::default(), [token_answer()]).await;
    let scope = MintScope::default();
    let minted = join_all((0..100).map(|id| setup.mint(id, &scope))).await;
    assert!(minted.iter().all(Result::is_ok));
    assert_eq!(setup.signatures(), 1);
    assert_eq!(setup.server.seen().len(), 100);
}

#[tokio::test]
async fn a_refused_clock_is_corrected_from_the_date_and_asked_again_at_once() {
    let refusal = reply(401, message("'Expiration time' claim ('exp') is too far in the future"));
    let setup = setup(
        Limits::default(),
        [dated(refusal, NOW - 7_200), dated(token_answer(), NOW - 7_200)],
    )
    .await;
    let minted = setup.mint(1, &MintScope::default()).await.unwrap();
    assert_eq!(minted.issued_at, at(NOW - 7_200));
    assert_eq!(setup.client.skew(), SignedDuration::from_secs(-7_199));
    let iats: Vec<_> = setup.server.bearers().iter().map(|bearer| iat(bearer)).collect();
    assert_eq!(iats, [NOW - 60, NOW - 7_199 - 60]);
    assert_eq!(setup.signatures(), 2);
}

fn iat(bearer: &str) -> i64 {
    let payload = URL_SAFE_NO_PAD.decode(bearer.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<serde_json::Value>(&payload).unwrap()["iat"]
        .as_i64()
        .unwrap()
}

#[tokio::test]
async fn asking_again_after_a_refused_clock_takes_a_turn_of_its_own() {
    let limits = Limits {
        concurrent: NonZeroU32::new(1),
        per_minute: NonZeroU32::new(3),
    };
    let refusal = reply(401, message("'Expiration time' claim ('exp') is too far in the future"));
    let setup = setup(limits, [refusal, token_answer()]).await;
    setup.mint(1, &MintScope::default()).await.unwrap();
    assert!(setup.client.mint_turn().now_or_never().is_some(), "the third of three");
    assert!(setup.client.mint_turn().now_or_never().is_none(), "a fourth of three");
}

#[tokio::test]
async fn a_clock_that_stays_refused_is_asked_twice_and_no_more() {
    let setup = setup(
        Limits::default(),
        [reply(401, message("'Issued at' claim ('iat') must be an Integer"))],
    )
    .await;
    let error = setup.mint(1, &MintScope::default()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ClockSkew);
    assert_eq!(setup.server.seen().len(), 2);
}

#[tokio::test]
async fn the_date_of_a_server_error_is_not_believed() {
    let setup = setup(
        Limits::default(),
        [dated(reply(502, "<html>"), 0), dated(token_answer(), NOW + 1)],
    )
    .await;
    setup.mint(1, &MintScope::default()).await.unwrap_err();
    assert_eq!(setup.client.skew(), SignedDuration::ZERO);
    setup.mint(1, &MintScope::default()).await.unwrap();
    assert_eq!(setup.client.skew(), SignedDuration::ZERO);
}

#[tokio::test]
async fn a_jwt_is_renewed_when_its_time_ends_and_when_github_refuses_the_key() {
    let refusal = reply(401, message("A JSON web token could not be decoded"));
    let setup = setup(
        Limits::default(),
        [token_answer(), token_answer(), refusal, token_answer()],
    )
    .await;
    // The server's own Date header would be taken for GitHub's clock: the script sets none, and hyper's is of this machine.
    for (advance, signatures, works) in [(0, 1, true), (0, 1, true), (0, 1, false), (0, 2, true)] {
        setup.clock.fetch_add(advance, Ordering::SeqCst);
        assert_eq!(setup.mint(1, &MintScope::default()).await.is_ok(), works);
        assert_eq!(setup.signatures(), signatures);
    }
}

#[tokio::test]
async fn a_secondary_limit_holds_mints_until_the_announced_time_and_no_revocation() {
    let mut refusal = reply(429, message("You have exceeded a secondary rate limit."));
    refusal.1.push(("retry-after", "1".into()));
    let setup = setup(
        Limits::default(),
        [dated(refusal, NOW), reply(204, ""), dated(token_answer(), NOW)],
    )
    .await;
    let start = tokio::time::Instant::now();
    let error = setup.mint(1, &MintScope::default()).await.unwrap_err();
    assert_eq!(error.retry(), crate::domain::schedule::Retry::HoldApp(at(NOW + 1)));
    assert_eq!(setup.observed.holds.load(Ordering::SeqCst), 1);
    assert!(setup.client.mint_turn().now_or_never().is_none());
    assert_eq!(
        setup.revoke(&TOKEN.into(), Duration::from_secs(10)).await,
        Ok(Revoked::Revoked)
    );
    assert!(start.elapsed() < Duration::from_secs(1));
    setup.mint(1, &MintScope::default()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_limit_on_one_token_stops_no_mint_and_revocations_for_less_than_each_is_tried() {
    let mut refusal = reply(403, message("You have exceeded a secondary rate limit."));
    refusal.1.push(("retry-after", "3600".into()));
    let setup = setup(Limits::default(), [dated(refusal, NOW)]).await;
    let error = setup.revoke(&TOKEN.into(), Duration::from_secs(10)).await.unwrap_err();
    assert_eq!(error.retry(), crate::domain::schedule::Retry::HoldApp(at(NOW + 20)));
    assert_eq!(setup.observed.holds.load(Ordering::SeqCst), 0);
    assert!(setup.client.mint_turn().now_or_never().is_some());
    assert!(setup.client.revocation_turn().now_or_never().is_none());
}

#[tokio::test]
async fn a_client_that_follows_another_goes_on_waiting() {
    let refusal = reply(403, message("You have exceeded a secondary rate limit."));
    let former = setup(Limits::default(), [dated(refusal, NOW)]).await;
    let next = setup(Limits::default(), [token_answer()]).await;
    next.client.inherit(&former.client);
    assert!(next.client.mint_turn().now_or_never().is_some(), "nobody was held");
    former.mint(1, &MintScope::default()).await.unwrap_err();
    next.client.inherit(&former.client);
    assert!(next.client.mint_turn().now_or_never().is_none());
    assert!(next.client.on_hold().is_some());
    assert!(next.client.revocation_turn().now_or_never().is_some());
}

#[tokio::test]
async fn a_proxys_page_revokes_nothing_and_sets_no_clock() {
    let page = || dated(reply(401, "<html>401</html>"), NOW + 7_200);
    let setup = setup(Limits::default(), [page(), page()]).await;
    let error = setup.revoke(&TOKEN.into(), Duration::from_secs(10)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::InvalidAnswer);
    let error = setup.mint(1, &MintScope::default()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::InvalidAnswer);
    assert_eq!(setup.client.skew(), jiff::SignedDuration::ZERO);
}

#[tokio::test]
async fn an_unannounced_secondary_limit_holds_for_a_minute() {
    let refusal = reply(403, message("You have exceeded a secondary rate limit."));
    let setup = setup(Limits::default(), [dated(refusal, NOW)]).await;
    let error = setup.mint(1, &MintScope::default()).await.unwrap_err();
    assert_eq!(error.retry(), crate::domain::schedule::Retry::HoldApp(at(NOW + 60)));
    assert!(setup.client.mint_turn().now_or_never().is_none());
}

#[tokio::test]
async fn the_clients_gate_keeps_to_the_limit_of_a_minute() {
    let limits = Limits {
        concurrent: NonZeroU32::new(2),
        per_minute: NonZeroU32::new(3),
    };
    let setup = setup(limits, [token_answer()]).await;
    setup
        .client
        .record_past_mints([Duration::from_secs(1), Duration::from_secs(60)]);
    setup.mint(1, &MintScope::default()).await.unwrap();
    let scope = MintScope::default();
    let late = tokio::time::timeout(Duration::from_millis(100), setup.mint(1, &scope)).await;
    assert!(late.is_err(), "a fourth mint within 61 s");
    assert_eq!(setup.server.seen().len(), 1);
}
