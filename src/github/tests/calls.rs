//! The other calls, and HTTP itself, over real connections.

use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;

use super::super::{Budget, Error, HttpOptions, Limits, Revoked, Route, http_client};
use super::server::{Scripted, Setup, reply, setup, token_answer};
use super::*;
use crate::api::Reason;
use crate::domain::schedule::Retry;

#[tokio::test]
async fn a_revocation_is_authenticated_by_the_token_itself() {
    let setup = setup(
        Limits::default(),
        [reply(204, ""), reply(401, message("Bad credentials")), reply(500, "")],
    )
    .await;
    let revoke = || async { setup.revoke(&TOKEN.into(), Duration::from_secs(10)).await };
    assert_eq!(revoke().await, Ok(Revoked::Revoked));
    assert_eq!(revoke().await, Ok(Revoked::AlreadyGone));
    assert_eq!(revoke().await.unwrap_err().reason(), Reason::GitHubUnavailable);
    assert_eq!(setup.server.lines()[0], "DELETE /api/v3/installation/token");
    assert_eq!(setup.server.bearers()[0], format!("Bearer {TOKEN}"));
    assert_eq!(setup.signatures(), 0);
}

#[tokio::test]
async fn a_revocation_never_takes_longer_than_its_deadline() {
    let setup = setup(Limits::default(), [(None, Vec::new(), String::new())]).await;
    let error = setup
        .revoke(&TOKEN.into(), Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("not revoked within 50ms"), "{error}");
    let observed = setup.observed.requests.lock().unwrap();
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
        setup.revoke(&token, Duration::from_secs(1)).await.unwrap_err(),
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
async fn an_app_that_github_holds_is_asked_for_nothing_until_then() {
    let mut limited = reply(403, message("You have exceeded a secondary rate limit."));
    limited.1.push(("retry-after", "300".into()));
    let setup = setup(Limits::default(), [limited]).await;
    let turn = setup.client.mint_turn().await;
    let first = setup.client.app().await.unwrap_err();
    let until = first.retry().not_before();
    assert_eq!(until, Some(at(NOW + 300)));
    let later = [
        setup.client.app().await.unwrap_err(),
        setup.client.installations().await.unwrap_err(),
        setup.client.mint(1, &MintScope::default(), turn).await.unwrap_err(),
    ];
    for error in later {
        assert_eq!((error.reason(), error.retry().not_before()), (first.reason(), until));
    }
    assert_eq!(setup.server.lines(), ["GET /api/v3/app"]);
    assert_eq!(setup.observed.holds.load(std::sync::atomic::Ordering::SeqCst), 1);
}

/// The same with so many requests left until two minutes after the start.
fn left(mut reply: Scripted, remaining: u32) -> Scripted {
    reply.1.push(("x-ratelimit-remaining", remaining.to_string()));
    reply.1.push(("x-ratelimit-reset", (NOW + 120).to_string()));
    reply
}

/// Nothing is asked as the App before GitHub has new requests for it; how many were asked before that was known.
async fn is_used_up(setup: &Setup, asked: usize) {
    let turn = setup.client.mint_turn_now();
    assert!(turn.is_none() && setup.client.budget() == Budget::NONE);
    for error in [
        setup.client.app().await.unwrap_err(),
        setup.client.installations().await.unwrap_err(),
    ] {
        assert_eq!(
            (error.reason(), error.retry()),
            (Reason::RateLimited, Retry::HoldApp(at(NOW + 121)))
        );
    }
    assert_eq!(setup.server.seen().len(), asked);
    assert_eq!(setup.observed.holds.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_app_that_has_used_up_its_hour_is_asked_for_nothing_until_the_next() {
    let setup = setup(Limits::default(), [left(token_answer(), 1), left(token_answer(), 0)]).await;
    for _ in 0..2 {
        setup.mint(1, &MintScope::default()).await.unwrap();
    }
    is_used_up(&setup, 2).await;
    let next = super::server::setup(Limits::default(), [token_answer()]).await;
    next.client.inherit(&setup.client);
    assert!(next.client.on_hold().is_some() && next.client.mint_turn_now().is_none());
}

#[tokio::test]
async fn a_refusal_for_a_used_up_hour_holds_the_whole_app() {
    let refusal = reply(403, message("API rate limit exceeded for app ID 12345."));
    let setup = setup(Limits::default(), [left(refusal, 0)]).await;
    let turn = setup.client.mint_turn().await;
    setup.mint(1, &MintScope::default()).await.unwrap_err();
    // It had its turn before.
    let late = setup.client.mint(1, &MintScope::default(), turn).await.unwrap_err();
    assert_eq!(late.reason(), Reason::RateLimited);
    is_used_up(&setup, 1).await;
}

#[tokio::test]
async fn a_refusal_whose_hour_is_over_already_holds_the_app_for_a_minute() {
    let mut refusal = reply(403, message("API rate limit exceeded for app ID 12345."));
    refusal.1.push(("x-ratelimit-remaining", "0".into()));
    refusal.1.push(("x-ratelimit-reset", (NOW - 5).to_string()));
    let setup = setup(Limits::default(), [refusal]).await;
    setup.mint(1, &MintScope::default()).await.unwrap_err();
    assert!(setup.client.mint_turn_now().is_none());
    let held = setup.client.on_hold().expect("it is held");
    assert_eq!(held.retry(), Retry::HoldApp(at(NOW + 60)));
}

#[tokio::test]
async fn what_the_tokens_of_an_installation_have_used_up_holds_no_mint() {
    let refusal = reply(403, message("API rate limit exceeded for installation ID 67890."));
    let setup = setup(Limits::default(), [left(refusal, 0), left(reply(204, ""), 0)]).await;
    let limited = setup.client.verify(&TOKEN.into()).await.unwrap_err();
    assert_eq!(limited.reason(), Reason::RateLimited);
    setup.revoke(&TOKEN.into(), Duration::from_secs(10)).await.unwrap();
    assert!(setup.client.on_hold().is_none() && setup.client.mint_turn_now().is_some());
    assert_eq!(setup.client.budget(), Budget::Unlimited);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut moved = reply(302, "");
    moved.1.push(("location", "http://127.0.0.1:9/steal".into()));
    let setup = setup(Limits::default(), [moved]).await;
    let error = setup.mint(1, &MintScope::default()).await.unwrap_err();
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
        errors.push(setup.mint(1, &MintScope::default()).await.unwrap_err());
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
    let url = format!("http://{free}/");
    let error = reqwest::Client::new().get(&url).send().await.unwrap_err();
    let text = super::super::http::failure(&error, &url.parse().unwrap());
    assert!(
        text.starts_with("no connection: ") && text.contains("refused") && text.contains("check base_url"),
        "{text}"
    );
}

#[tokio::test]
async fn every_request_is_observed_with_its_route_and_reason() {
    let setup = setup(Limits::default(), [reply(503, ""), token_answer()]).await;
    let _ = setup.mint(1, &MintScope::default()).await;
    let _ = setup.mint(1, &MintScope::default()).await;
    let observed: Vec<_> = setup
        .observed
        .requests
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
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "ca_bundle holds a damaged certificate: it must be PEM certificates",
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
    assert_eq!(error.retry(), Retry::HoldApp(Timestamp::MAX));
}
