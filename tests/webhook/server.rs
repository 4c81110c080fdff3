//! The server by itself: protocols, and requests that go wrong.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use github_token_manager::domain::authority::{Life, Terms};
use github_token_manager::webhook::certificate::Signer;
use github_token_manager::webhook::{guarded, server};
use jiff::Timestamp;
use reqwest::{StatusCode, Version, tls};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A server with these routes; its port, and whom to trust.
async fn start(routes: Router) -> (u16, reqwest::Certificate, CancellationToken) {
    #[expect(clippy::disallowed_methods, reason = "the wall clock, as the operator reads it")]
    let now = Timestamp::now();
    let terms = Terms::default();
    let signer = Signer::generate(Life::new(now, terms.authority, terms.backdate)).unwrap();
    let leaf = signer
        .leaf(Life::new(now, terms.leaf, terms.backdate), &["127.0.0.1".to_owned()])
        .unwrap();
    let (serve, certificate) = watch::channel(Some(Arc::new(leaf)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let serving = server::serve(
        listener,
        server::tls(certificate).unwrap(),
        guarded(routes, stop.clone()),
        stop.clone(),
    );
    tokio::spawn(async move {
        serving.await;
        drop(serve);
    });
    let trusted = reqwest::Certificate::from_pem(signer.certificate.as_bytes()).unwrap();
    (port, trusted, stop)
}

fn client(trusted: &reqwest::Certificate) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([trusted.clone()])
        .timeout(Duration::from_secs(20))
}

#[tokio::test]
async fn both_versions_of_http_and_of_tls_are_spoken() {
    let (port, trusted, _stop) = start(Router::new().route("/", post(|body: Bytes| async { body }))).await;
    let url = format!("https://127.0.0.1:{port}/");
    for tls in [tls::Version::TLS_1_2, tls::Version::TLS_1_3] {
        let new = client(&trusted)
            .tls_version_min(tls)
            .tls_version_max(tls)
            .build()
            .unwrap();
        let answer = new.post(&url).body("x").send().await.unwrap();
        assert_eq!(
            (answer.version(), answer.text().await.unwrap().as_str()),
            (Version::HTTP_2, "x")
        );
        let old = client(&trusted)
            .tls_version_min(tls)
            .tls_version_max(tls)
            .http1_only()
            .build()
            .unwrap();
        assert_eq!(
            old.post(&url).body("x").send().await.unwrap().version(),
            Version::HTTP_11
        );
    }
}

async fn faulty(body: Bytes) -> String {
    assert!(body != "panic", "as it was asked to");
    "fine".to_owned()
}

#[tokio::test]
async fn a_request_that_panics_is_a_500_and_its_connection_and_all_others_go_on() {
    let (port, trusted, _stop) = start(Router::new().route("/", post(faulty))).await;
    let url = format!("https://127.0.0.1:{port}/");
    for old in [true, false] {
        let client = if old {
            client(&trusted).http1_only()
        } else {
            client(&trusted)
        }
        .build()
        .unwrap();
        for _ in 0..3 {
            let broken = client.post(&url).body("panic").send().await.unwrap();
            assert_eq!(broken.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(
                client.post(&url).body("x").send().await.unwrap().text().await.unwrap(),
                "fine"
            );
        }
    }
}

#[tokio::test]
async fn more_requests_than_fit_are_told_so_and_none_waits_forever() {
    let (release, held) = watch::channel(false);
    let hold = move |_: Bytes| {
        let mut held = held.clone();
        async move {
            let _ = held.wait_for(|free| *free).await;
            "done"
        }
    };
    let (port, trusted, _stop) = start(Router::new().route("/", post(hold))).await;
    let url = format!("https://127.0.0.1:{port}/");
    let clients: Vec<_> = (0..4).map(|_| client(&trusted).build().unwrap()).collect();
    let mut sent = tokio::task::JoinSet::new();
    for n in 0..300 {
        let request = clients[n % clients.len()].post(&url).body("x");
        sent.spawn(async move { request.send().await.unwrap().status() });
    }
    let mut refused = 0;
    while refused < 300 - 256 {
        assert_eq!(
            sent.join_next().await.unwrap().unwrap(),
            StatusCode::SERVICE_UNAVAILABLE
        );
        refused += 1;
    }
    release.send(true).unwrap();
    while let Some(status) = sent.join_next().await {
        assert_eq!(status.unwrap(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_server_that_ends_lets_what_is_under_way_come_to_its_end() {
    let begun = Arc::new(tokio::sync::Notify::new());
    let told = begun.clone();
    let slow = move |_: Bytes| {
        let told = told.clone();
        async move {
            told.notify_one();
            tokio::time::sleep(Duration::from_secs(4)).await;
            "late"
        }
    };
    let (port, trusted, stop) = start(Router::new().route("/", post(slow))).await;
    let url = format!("https://127.0.0.1:{port}/");
    let request = client(&trusted).build().unwrap().post(&url).body("x");
    let answer = tokio::spawn(async move { request.send().await.unwrap().text().await.unwrap() });
    begun.notified().await;
    stop.cancel();
    assert_eq!(answer.await.unwrap(), "late");
}
