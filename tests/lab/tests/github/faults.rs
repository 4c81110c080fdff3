//! Failures on command.

use std::time::{Duration, Instant};

use lab::github::{Fault, NotAToken, Route, Settings, TokenState};
use serde_json::json;

use crate::client::{Client, until};

#[tokio::test]
async fn every_row_of_the_table_can_be_had() {
    let client = Client::start().await;
    for (fault, status, message) in [
        (Fault::JwtExpired, 401, "('exp') must be a numeric"),
        (Fault::JwtExpiresTooLate, 401, "('exp') is too far"),
        (Fault::JwtIssuedInFuture, 401, "('iat') must be an Integer"),
        (Fault::JwtUndecodable, 401, "could not be decoded"),
        (Fault::NoPublicKey, 401, "must generate a public key"),
        (Fault::IntegrationNotFound, 404, "Integration not found"),
        (Fault::BadCredentials, 401, "Bad credentials"),
        (Fault::Suspended, 403, "has been suspended"),
        (Fault::IpAllowList, 403, "`octo-org` organization has an IP allow list"),
        (
            Fault::SecondaryLimit {
                status: 429,
                retry_after: None,
            },
            429,
            "secondary rate limit",
        ),
        (Fault::NotFound, 404, "Not Found"),
        (
            Fault::PermissionsNotGranted,
            422,
            "permissions requested are not granted",
        ),
        (Fault::RepositoriesNotAccessible, 422, "at least one repository"),
        (Fault::Unavailable(502), 502, "Server Error"),
        (Fault::Unavailable(408), 408, "Server Error"),
        (
            Fault::Status {
                status: 418,
                body: r#"{"message": "teapot"}"#.to_owned(),
            },
            418,
            "teapot",
        ),
    ] {
        client.github.fail_next(1, Some(Route::Mint), fault.clone());
        assert!(!client.github.would_issue(client.installation()), "{fault:?}");
        let reply = client.mint(json!({})).await;
        assert_eq!(reply.status, status, "{fault:?}");
        assert!(reply.message().contains(message), "{fault:?}: {}", reply.json);
        assert_eq!(reply.header("retry-after"), None, "{fault:?}");
        assert!(reply.header("date").is_some(), "{fault:?}");
    }
    client.token(json!({})).await;
    assert_eq!(client.github.mint_count(), 1);
}

#[tokio::test]
async fn limits_on_command_carry_their_headers() {
    let client = Client::start().await;
    let reset_in = Duration::from_secs(90);
    client
        .github
        .fail_next(1, None, Fault::PrimaryLimit { status: 429, reset_in });
    let reply = client.mint(json!({})).await;
    let reset: i64 = reply.header("x-ratelimit-reset").unwrap().parse().unwrap();
    assert_eq!((reply.status, reply.header("x-ratelimit-remaining")), (429, Some("0")));
    assert!((85..=90).contains(&(reset - client.github.now().as_second())));
    client.github.fail_next(
        1,
        None,
        Fault::SecondaryLimit {
            status: 403,
            retry_after: Some(7),
        },
    );
    assert_eq!(client.mint(json!({})).await.header("retry-after"), Some("7"));
}

#[tokio::test]
async fn a_fault_is_for_its_route_and_as_often_as_it_says() {
    let client = Client::start().await;
    client.github.fail_next(2, Some(Route::App), Fault::Unavailable(500));
    client.token(json!({})).await;
    let statuses = [
        client.get_as_app("/app").await.status,
        client.get_as_app("/app/installations").await.status,
        client.get_as_app("/app").await.status,
    ];
    assert_eq!(statuses, [500, 500, 200]);
    client.github.fail_while(None, Fault::HtmlErrorPage(503));
    for _ in 0..3 {
        let reply = client.mint(json!({})).await;
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (503, Some("text/html; charset=utf-8"))
        );
    }
    client.github.clear_faults();
    client.token(json!({})).await;
}

#[tokio::test]
async fn a_request_that_hangs_is_served_once_the_faults_are_cleared() {
    let client = Client::start().await;
    client.github.fail_while(Some(Route::Mint), Fault::Hang);
    let clear = async {
        until("both hang", || client.github.counts().most_at_once == 2).await;
        assert_eq!(client.github.mint_count(), 0);
        client.github.clear_faults();
    };
    let (one, two, ()) = tokio::join!(client.mint(json!({})), client.mint(json!({})), clear);
    assert_eq!((one.status, two.status), (201, 201));
}

#[tokio::test]
async fn a_client_that_leaves_a_hanging_request_is_recorded_without_a_status() {
    let client = Client::start().await;
    client.github.fail_while(Some(Route::Mint), Fault::Hang);
    let body = json!({});
    tokio::select! {
        _ = client.try_mint(&body) => panic!("answered"),
        () = until("it hangs", || client.github.counts().most_at_once == 1) => {}
    }
    until("the request is recorded", || client.github.counts().requests == 1).await;
    assert_eq!(client.github.requests()[0].status, None);
}

#[tokio::test]
async fn a_closed_connection_does_nothing_and_a_lost_answer_has_minted() {
    let client = Client::start().await;
    client.github.fail_next(1, Some(Route::Mint), Fault::CloseConnection);
    let closed = client.try_mint(&json!({})).await.err().expect("no answer");
    assert!(closed.is_request(), "{closed:?}");
    assert_eq!(client.github.mint_count(), 0);
    client.github.fail_next(1, Some(Route::Mint), Fault::LoseAnswer);
    assert!(client.try_mint(&json!({})).await.is_err());
    assert_eq!(client.github.mint_count(), 1);
    client.token(json!({})).await;
}

#[tokio::test]
async fn answers_that_are_not_a_token() {
    let client = Client::start().await;
    client.github.fail_next(1, None, Fault::Garbage);
    let garbage = client.mint(json!({})).await;
    assert_eq!((garbage.status, garbage.json), (201, json!(null)));
    for how in [
        NotAToken::Missing,
        NotAToken::Empty,
        NotAToken::WrongTypes,
        NotAToken::BadExpiry,
        NotAToken::Array,
    ] {
        client.github.fail_next(1, None, Fault::NotAToken(how));
        let reply = client.mint(json!({})).await;
        let good = reply.json["token"].as_str().is_some_and(|token| !token.is_empty())
            && reply.json["expires_at"]
                .as_str()
                .is_some_and(|time| time.parse::<jiff::Timestamp>().is_ok());
        assert!(reply.status == 201 && !good, "{how:?}: {}", reply.json);
    }
    assert_eq!(client.github.mint_count(), 0);
}

#[tokio::test]
async fn a_truncated_answer_breaks_off() {
    let client = Client::start().await;
    client.github.fail_next(1, None, Fault::Truncated);
    let failure = client.try_mint(&json!({})).await.err().expect("broken off");
    assert!(failure.is_body() || failure.is_decode(), "{failure:?}");
}

#[tokio::test]
async fn a_trickling_answer_takes_its_time() {
    let client = Client::start().await;
    let started = Instant::now();
    client.github.fail_next(
        1,
        None,
        Fault::SlowTrickle {
            pause: Duration::from_millis(2),
        },
    );
    let token = client.token(json!({})).await;
    assert!(
        started.elapsed() >= Duration::from_millis(200),
        "{:?}",
        started.elapsed()
    );
    assert!(matches!(client.github.token_state(&token), TokenState::Valid { .. }));
}

#[tokio::test]
async fn an_endless_answer_never_ends() {
    let client = Client::start().await;
    client.github.fail_next(1, None, Fault::EndlessBody);
    let url = format!("{}/app", client.github.url());
    let http = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap();
    let mut response = http.get(url).send().await.unwrap();
    let mut received = 0;
    while received < 4 << 20 {
        received += response.chunk().await.unwrap().expect("no end").len();
    }
}

#[tokio::test]
async fn an_expired_token_is_issued_on_command() {
    let client = Client::start().await;
    client.github.fail_next(1, None, Fault::ExpiredToken);
    let token = client.token(json!({})).await;
    assert_eq!(client.github.token_state(&token), TokenState::Expired);
}

#[tokio::test]
async fn latency_is_for_everyone_and_half_of_it_comes_after_the_effect() {
    let client = Client::start().await;
    client.github.set_latency(Duration::from_secs(3600));
    let body = json!({});
    let never = tokio::time::timeout(Duration::from_millis(100), client.try_mint(&body));
    assert!(never.await.is_err(), "too fast");
    assert_eq!(client.github.mint_count(), 0);
    client.github.set_latency(Duration::from_secs(2));
    let started = Instant::now();
    tokio::select! {
        _ = client.try_mint(&body) => panic!("answered before it had its effect"),
        () = until("it is minted", || client.github.mint_count() == 1) => {}
    }
    assert!(started.elapsed() >= Duration::from_secs(1));
    until("it is recorded", || client.github.counts().requests == 2).await;
    assert_eq!(
        client.github.requests()[1].status,
        None,
        "minted, but nobody waited for the answer"
    );
}

#[tokio::test]
async fn https_with_its_own_ca_resets_too() {
    let client = Client::start_with(Settings {
        tls: true,
        ..Settings::default()
    })
    .await;
    assert!(client.github.url().starts_with("https://127.0.0.1:"));
    client.token(json!({})).await;
    client.github.fail_next(1, None, Fault::CloseConnection);
    assert!(client.try_mint(&json!({})).await.is_err());
    let stranger = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap();
    assert!(
        stranger.get(client.github.url()).send().await.is_err(),
        "its CA is not trusted"
    );
}

#[tokio::test]
async fn a_request_without_a_user_agent_is_refused() {
    let client = Client::start().await;
    let http = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap();
    let reply = http.get(format!("{}/meta", client.github.url())).send().await.unwrap();
    assert_eq!(reply.status(), 403);
    assert!(reply.text().await.unwrap().contains("User-Agent"));
}
