//! The client over real HTTP.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};

use super::super::{Error, HttpOptions, Limits, Revoked, Route, http_client};
use super::server::{Scripted, reply, setup};
use super::*;
use crate::api::Reason;

fn token_answer() -> Scripted {
    reply(
        201,
        format!(r#"{{"token":"{TOKEN}","expires_at":"2999-01-01T00:00:00Z"}}"#),
    )
}

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
    let minted = setup.client.mint(67_890, &scope()).await.unwrap();
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
    setup.client.mint(1, &MintScope::default()).await.unwrap();
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
        let error = setup.client.mint(1, &scope).await.unwrap_err();
        assert_eq!(error.reason(), Reason::InvalidSpec);
        assert!(error.to_string().contains(text), "{error}");
    }
    setup.client.mint(1, &scope(vec![], (0..500).collect())).await.unwrap();
    assert_eq!(setup.server.seen().len(), 1);
}

#[tokio::test]
async fn a_hundred_mints_at_once_cost_one_signature() {
    let setup = setup(Limits::default(), [token_answer()]).await;
    let scope = MintScope::default();
    let minted = join_all((0..100).map(|id| setup.client.mint(id, &scope))).await;
    assert!(minted.iter().all(Result::is_ok));
    assert_eq!(setup.client.signatures(), 1);
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
    let minted = setup.client.mint(1, &MintScope::default()).await.unwrap();
    assert_eq!(minted.issued_at, at(NOW - 7_200));
    assert_eq!(setup.client.skew(), SignedDuration::from_secs(-7_199));
    let iats: Vec<_> = setup.server.bearers().iter().map(|bearer| iat(bearer)).collect();
    assert_eq!(iats, [NOW - 60, NOW - 7_199 - 60]);
    assert_eq!(setup.client.signatures(), 2);
}

fn iat(bearer: &str) -> i64 {
    let payload = URL_SAFE_NO_PAD.decode(bearer.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<serde_json::Value>(&payload).unwrap()["iat"]
        .as_i64()
        .unwrap()
}

#[tokio::test]
async fn a_clock_that_stays_refused_is_asked_twice_and_no_more() {
    let setup = setup(
        Limits::default(),
        [reply(401, message("'Issued at' claim ('iat') must be an Integer"))],
    )
    .await;
    let error = setup.client.mint(1, &MintScope::default()).await.unwrap_err();
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
    setup.client.mint(1, &MintScope::default()).await.unwrap_err();
    assert_eq!(setup.client.skew(), SignedDuration::ZERO);
    setup.client.mint(1, &MintScope::default()).await.unwrap();
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
        assert_eq!(setup.client.mint(1, &MintScope::default()).await.is_ok(), works);
        assert_eq!(setup.client.signatures(), signatures);
    }
}

#[tokio::test]
async fn a_secondary_limit_holds_mints_and_revocations_until_the_announced_time() {
    let mut refusal = reply(429, message("You have exceeded a secondary rate limit."));
    refusal.1.push(("retry-after", "1".into()));
    let setup = setup(
        Limits::default(),
        [dated(refusal, NOW), dated(token_answer(), NOW), reply(204, "")],
    )
    .await;
    let start = tokio::time::Instant::now();
    let error = setup.client.mint(1, &MintScope::default()).await.unwrap_err();
    assert_eq!(error.retry(), crate::domain::schedule::Retry::HoldApp(at(NOW + 1)));
    let abandoned = setup
        .client
        .revoke(&TOKEN.into(), Duration::from_millis(20))
        .await
        .unwrap_err();
    assert_eq!(abandoned.reason(), Reason::GitHubUnavailable);
    assert!(setup.client.mint_gate().held_for().is_some());
    setup.client.mint(1, &MintScope::default()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(
        setup.client.revoke(&TOKEN.into(), Duration::from_secs(10)).await,
        Ok(Revoked::Revoked)
    );
}

#[tokio::test]
async fn an_unannounced_secondary_limit_holds_for_a_minute() {
    let refusal = reply(403, message("You have exceeded a secondary rate limit."));
    let setup = setup(Limits::default(), [dated(refusal, NOW)]).await;
    let error = setup.client.mint(1, &MintScope::default()).await.unwrap_err();
    assert_eq!(error.retry(), crate::domain::schedule::Retry::HoldApp(at(NOW + 60)));
    assert!(
        setup
            .client
            .mint_gate()
            .held_for()
            .is_some_and(|left| left > Duration::from_secs(55))
    );
}

#[tokio::test]
async fn a_revocation_is_authenticated_by_the_token_itself() {
    let setup = setup(
        Limits::default(),
        [reply(204, ""), reply(401, message("Bad credentials")), reply(500, "")],
    )
    .await;
    let revoke = || async { setup.client.revoke(&TOKEN.into(), Duration::from_secs(10)).await };
    assert_eq!(revoke().await, Ok(Revoked::Revoked));
    assert_eq!(revoke().await, Ok(Revoked::AlreadyGone));
    assert_eq!(revoke().await.unwrap_err().reason(), Reason::GitHubUnavailable);
    assert_eq!(setup.server.lines()[0], "DELETE /api/v3/installation/token");
    assert_eq!(setup.server.bearers()[0], format!("Bearer {TOKEN}"));
    assert_eq!(setup.client.signatures(), 0);
}

#[tokio::test]
async fn a_revocation_never_takes_longer_than_its_deadline() {
    let setup = setup(Limits::default(), [(None, Vec::new(), String::new())]).await;
    let error = setup
        .client
        .revoke(&TOKEN.into(), Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("not revoked within 50ms"), "{error}");
    let observed = setup.observed.0.lock().unwrap();
    assert_eq!(
        (observed[0].route, observed[0].failure),
        (Route::Revoke, Some(Reason::GitHubUnavailable))
    );
}

#[tokio::test]
async fn a_token_that_is_no_header_is_refused_without_being_shown() {
    let setup = setup(Limits::default(), [reply(204, "")]).await;
    let token = SecretString::from("hunter2\r\nHost: evil");
    for error in [
        setup.client.revoke(&token, Duration::from_secs(1)).await.unwrap_err(),
        setup.client.verify(&token).await.unwrap_err(),
    ] {
        assert!(
            matches!(error, Error::InvalidRequest(_)) && !error.to_string().contains("hunter2"),
            "{error}"
        );
    }
    assert!(setup.server.seen().is_empty());
}

#[tokio::test]
async fn verifying_tells_whether_a_token_works_yet() {
    let setup = setup(
        Limits::default(),
        [reply(404, message("Not Found")), reply(200, r#"{"total_count":0}"#)],
    )
    .await;
    assert!(matches!(
        setup.client.verify(&TOKEN.into()).await,
        Err(Error::TokenNotActive { status: 404, .. })
    ));
    assert_eq!(setup.client.verify(&TOKEN.into()).await, Ok(()));
    assert_eq!(
        setup.server.lines()[0],
        "GET /api/v3/installation/repositories?per_page=1"
    );
}

#[tokio::test]
async fn the_app_and_all_pages_of_its_installations_are_read() {
    let app = r#"{"id":12345,"slug":"our-app","client_id":"Iv23","name":"Our App","owner":{"login":"acme","type":"Organization"},
        "permissions":{"contents":"write"},"events":["push"]}"#;
    let mut first = reply(
        200,
        r#"[{"id":1,"account":{"login":"acme","type":"Organization"},"repository_selection":"all","permissions":{"issues":"read"},
            "suspended_at":null,"app_slug":"our-app"}]"#,
    );
    first.1.push((
        "link",
        "<https://x/app/installations?page=2>; rel=\"next\", <https://x/?page=2>; rel=\"last\"".into(),
    ));
    let second = reply(
        200,
        r#"[{"id":2,"account":{"slug":"big","name":"Big"},"suspended_at":"2024-01-01T00:00:00Z"}]"#,
    );
    let setup = setup(Limits::default(), [reply(200, app), first, second]).await;
    let app = setup.client.app().await.unwrap();
    assert_eq!(
        (app.id, app.slug.as_str(), app.owner.unwrap().login.as_str()),
        (12_345, "our-app", "acme")
    );
    let installations = setup.client.installations().await.unwrap();
    let logins: Vec<_> = installations
        .iter()
        .map(|found| found.account.as_ref().unwrap().login.as_str())
        .collect();
    assert_eq!(logins, ["acme", "big"]);
    assert_eq!(installations[1].suspended_at, "2024-01-01T00:00:00Z".parse().ok());
    assert_eq!(
        setup.server.lines()[1..],
        [
            "GET /api/v3/app/installations?per_page=100&page=1",
            "GET /api/v3/app/installations?per_page=100&page=2",
        ]
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut moved = reply(302, "");
    moved.1.push(("location", "http://127.0.0.1:9/steal".into()));
    let setup = setup(Limits::default(), [moved]).await;
    let error = setup.client.mint(1, &MintScope::default()).await.unwrap_err();
    assert!(error.to_string().contains("HTTP 302 redirects to 127.0.0.1"), "{error}");
    assert_eq!(setup.server.seen().len(), 1);
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let setup = setup(
        Limits::default(),
        [reply(201, " ".repeat((8 << 20) + 1)), reply(500, " ".repeat(100_000))],
    )
    .await;
    let mut errors = Vec::new();
    for _ in 0..2 {
        errors.push(setup.client.mint(1, &MintScope::default()).await.unwrap_err());
    }
    assert!(errors[0].to_string().contains("longer than 8 MiB"), "{}", errors[0]);
    assert!(errors[1].to_string().contains("HTTP 500 no message"), "{}", errors[1]);
}

#[tokio::test]
async fn no_connection_is_an_outage_that_says_so() {
    // A port that was just free, and on which nothing listens.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = reqwest::Client::new()
        .get(format!("http://{free}/"))
        .send()
        .await
        .unwrap_err();
    let text = super::super::http::cause(&error);
    assert!(
        text.starts_with("no connection: ") && text.contains("refused"),
        "{text}"
    );
}

#[tokio::test]
async fn every_request_is_observed_with_its_route_and_reason() {
    let setup = setup(Limits::default(), [reply(503, ""), token_answer()]).await;
    let _ = setup.client.mint(1, &MintScope::default()).await;
    let _ = setup.client.mint(1, &MintScope::default()).await;
    let observed: Vec<_> = setup
        .observed
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|seen| (seen.route, seen.failure))
        .collect();
    assert_eq!(
        observed,
        [(Route::Mint, Some(Reason::GitHubUnavailable)), (Route::Mint, None)]
    );
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
        .mint_gate()
        .record_past([Duration::from_secs(1), Duration::from_secs(60)]);
    setup.client.mint(1, &MintScope::default()).await.unwrap();
    let scope = MintScope::default();
    let late = tokio::time::timeout(Duration::from_millis(100), setup.client.mint(1, &scope)).await;
    assert!(late.is_err(), "a fourth mint within 61 s");
    assert_eq!(setup.server.seen().len(), 1);
}

#[test]
fn limits_are_githubs_and_off_on_an_enterprise_server() {
    let of = |url: &str| Limits::of(&url.parse().unwrap());
    let github = Limits {
        concurrent: NonZeroU32::new(100),
        per_minute: NonZeroU32::new(180),
    };
    assert_eq!(of(BaseUrl::GITHUB_COM), github);
    assert_eq!(of("https://api.acme.ghe.com"), github);
    assert_eq!(of("https://ghe.acme.org/api/v3"), Limits::default());
}

#[test]
fn a_ca_bundle_that_is_none_names_its_field() {
    for (pem, text) in [
        ("", "ca_bundle holds no certificate"),
        (
            "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n",
            "ca_bundle",
        ),
    ] {
        let error = http_client(&HttpOptions {
            ca_bundle: Some(pem.into()),
            ..HttpOptions::default()
        })
        .unwrap_err();
        assert!(error.to_string().starts_with(text), "{error}");
    }
}

#[test]
fn a_timestamp_far_away_does_not_break_the_wait() {
    let error = with_asked(true, |asked| {
        super::super::classify(asked, &Answer::new(429, HeaderMap::new(), Vec::new(), Timestamp::MAX))
    });
    assert_eq!(error.retry(), crate::domain::schedule::Retry::HoldApp(Timestamp::MAX));
}
