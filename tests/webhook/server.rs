//! The server by itself: protocols, and requests that go wrong.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use futures::future::join_all;
use github_token_manager::domain::authority::{Life, Terms};
use github_token_manager::webhook::certificate::Signer;
use github_token_manager::webhook::{guarded, server};
use hyper_util::client::legacy::connect::HttpInfo;
use jiff::Timestamp;
use reqwest::{StatusCode, Version, tls};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

/// A server with these routes; its port, and whom to trust, as PEM.
async fn start(routes: Router) -> (u16, String, CancellationToken) {
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
    (port, signer.certificate, stop)
}

fn client(trusted: &str) -> reqwest::ClientBuilder {
    let trusted = reqwest::Certificate::from_pem(trusted.as_bytes()).unwrap();
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([trusted])
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

/// Six requests with long bodies, each by a client of its own.
fn six_long(trusted: &str, url: &str) -> tokio::task::JoinSet<StatusCode> {
    let mut sent = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let request = client(trusted).build().unwrap().post(url).body("x".repeat(300 * 1024));
        sent.spawn(async move { request.send().await.unwrap().status() });
    }
    sent
}

#[tokio::test]
async fn long_bodies_take_turns_and_no_other_waits_for_them() {
    let busy = watch::Sender::new(0);
    let work = move |body: Bytes| {
        let busy = busy.clone();
        async move {
            if body.len() > 1 {
                busy.send_modify(|count| *count += 1);
                assert_eq!(*busy.borrow(), 1, "side by side");
                tokio::time::sleep(Duration::from_millis(50)).await;
                busy.send_modify(|count| *count -= 1);
            }
            busy.borrow().to_string()
        }
    };
    let (port, trusted, _stop) = start(Router::new().route("/", post(work))).await;
    let url = format!("https://127.0.0.1:{port}/");
    let short = client(&trusted).build().unwrap();
    let ask = async || short.post(&url).body("x").send().await.unwrap().text().await.unwrap();
    let (mut long, mut beside) = (six_long(&trusted, &url), false);
    while !long.is_empty() {
        beside |= ask().await == "1";
        while let Some(done) = long.try_join_next() {
            assert_eq!(done.unwrap(), StatusCode::OK);
        }
    }
    assert!(beside, "no other was answered while a long one was read");
}

#[tokio::test]
async fn a_long_one_that_waits_for_someone_else_gives_its_turn_up() {
    let begun = Arc::new(tokio::sync::Barrier::new(6));
    let meet = move |_: Bytes| {
        let begun = begun.clone();
        async move {
            begun.wait().await;
            "done"
        }
    };
    let (port, trusted, _stop) = start(Router::new().route("/", post(meet))).await;
    let url = format!("https://127.0.0.1:{port}/");
    assert_eq!(six_long(&trusted, &url).join_all().await, [StatusCode::OK; 6]);
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

/// A connection with this protocol after its handshake.
pub async fn greeted(port: u16, trusted: &str, protocol: &[u8]) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = "127.0.0.1".try_into().unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

#[tokio::test]
async fn who_does_not_send_a_request_after_the_handshake_is_not_waited_for() {
    let (port, trusted, _stop) = start(Router::new().route("/", post(|| async { "fine" }))).await;
    let silent = [
        ("http/1.1", ""),
        ("http/1.1", "POST / HTTP/1.1\r\nHost: x\r\n"),
        ("h2", ""),
        ("h2", "PRI * HTTP/2.0\r\n"),
    ];
    let waits = silent.map(async |(protocol, first)| {
        let mut stream = greeted(port, &trusted, protocol.as_bytes()).await;
        stream.write_all(first.as_bytes()).await.unwrap();
        let began = Instant::now();
        let mut said = Vec::new();
        let end = timeout(server::HEAD_TIMEOUT * 2, stream.read_to_end(&mut said)).await;
        assert!(end.is_ok(), "{protocol} {first:?} is still waited for");
        assert!(
            began.elapsed() + Duration::from_secs(1) > server::HEAD_TIMEOUT,
            "{protocol} {first:?} was not waited for at all"
        );
    });
    join_all(waits).await;
}

#[tokio::test]
async fn a_connection_that_has_asked_before_may_rest() {
    let (port, trusted, _stop) = start(Router::new().route("/", post(|| async { "fine" }))).await;
    let client = client(&trusted).build().unwrap();
    let url = format!("https://127.0.0.1:{port}/");
    let ask = async || {
        let answer = client.post(&url).send().await.unwrap();
        assert_eq!(answer.version(), Version::HTTP_2);
        answer.extensions().get::<HttpInfo>().unwrap().local_addr()
    };
    let before = ask().await;
    tokio::time::sleep(server::HEAD_TIMEOUT + Duration::from_secs(2)).await;
    assert_eq!(ask().await, before, "it is the same connection");
}
