//! A scripted HTTP server on loopback: answers in order, the last one again and again, and a record of what was asked.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response};
use jiff::Timestamp;
use secrecy::SecretString;

use super::super::{
    AppSettings, Client, Clock, Error, HttpOptions, Limits, MintScope, Minted, Observation, Observe, Revoked,
    http_client,
};
use super::{NOW, TOKEN};
use crate::domain::{Sign, SignError};

/// What came in.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub line: String,
    pub headers: HeaderMap,
    pub body: String,
}

/// One answer: status, headers, body. No status: none ever comes.
pub(super) type Scripted = (Option<u16>, Vec<(&'static str, String)>, String);

pub(super) fn reply(status: u16, body: impl Into<String>) -> Scripted {
    (Some(status), Vec::new(), body.into())
}

/// A good token.
pub(super) fn token_answer() -> Scripted {
    reply(
        201,
        format!(r#"{{"token":"{TOKEN}","expires_at":"2999-01-01T00:00:00Z"}}"#),
    )
}

#[derive(Default)]
pub(super) struct Server {
    answers: Mutex<VecDeque<Scripted>>,
    seen: Mutex<Vec<Seen>>,
}

impl Server {
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }

    pub fn bearers(&self) -> Vec<String> {
        self.seen()
            .iter()
            .map(|seen| seen.headers["authorization"].to_str().unwrap().to_owned())
            .collect()
    }
}

/// Signs by repeating a byte.
pub(super) struct FakeKey;

impl Sign for FakeKey {
    async fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignError> {
        tokio::task::yield_now().await;
        Ok(vec![0xab; 256])
    }
}

/// Remembers what was observed.
#[derive(Default)]
pub(super) struct Observed {
    pub requests: Mutex<Vec<Observation>>,
    pub signatures: AtomicU64,
    pub holds: AtomicU64,
}

impl Observe for Observed {
    fn request(&self, observation: Observation) {
        self.requests.lock().unwrap().push(observation);
    }

    fn signed(&self, ok: bool) {
        assert!(ok);
        self.signatures.fetch_add(1, Ordering::SeqCst);
    }

    fn held(&self) {
        self.holds.fetch_add(1, Ordering::SeqCst);
    }
}

/// A client, its server, and our clock in seconds.
pub(super) struct Setup {
    pub client: Client<FakeKey>,
    pub server: Arc<Server>,
    pub observed: Arc<Observed>,
    pub clock: Arc<AtomicI64>,
}

impl Setup {
    /// Waits for a turn and mints.
    pub async fn mint(&self, installation_id: u64, scope: &MintScope) -> Result<Minted, Error> {
        let turn = self.client.mint_turn().await;
        self.client.mint(installation_id, scope, turn).await
    }

    /// How often the key was asked to sign.
    pub fn signatures(&self) -> u64 {
        self.observed.signatures.load(Ordering::SeqCst)
    }

    /// Waits for a turn and revokes.
    pub async fn revoke(&self, token: &SecretString, deadline: Duration) -> Result<Revoked, Error> {
        let turn = self.client.revocation_turn().await;
        self.client.revoke(token, deadline, turn).await
    }
}

pub(super) async fn setup(limits: Limits, answers: impl IntoIterator<Item = Scripted>) -> Setup {
    let server = Arc::new(Server {
        answers: Mutex::new(answers.into_iter().collect()),
        ..Server::default()
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/api/v3", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let router = axum::Router::new().fallback(serve).with_state(Arc::clone(&server));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let clock = Arc::new(AtomicI64::new(NOW));
    let read = Arc::clone(&clock);
    let now: Clock = Arc::new(move || Timestamp::from_second(read.load(Ordering::SeqCst)).unwrap());
    let observed = Arc::new(Observed::default());
    let settings = AppSettings {
        app_id: 12_345,
        client_id: None,
        base_url,
        api_version: "2022-11-28".into(),
        limits,
        quotes: true,
    };
    let http = http_client(&HttpOptions::default()).unwrap();
    Setup {
        client: Client::new(settings, FakeKey, http, now, Arc::clone(&observed) as _),
        server,
        observed,
        clock,
    }
}

async fn serve(State(server): State<Arc<Server>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let line = format!("{} {}", parts.method, parts.uri);
    let body = String::from_utf8(body.to_vec()).unwrap();
    server.seen.lock().unwrap().push(Seen {
        line,
        headers: parts.headers,
        body,
    });
    let (status, headers, body) = {
        let mut answers = server.answers.lock().unwrap();
        if answers.len() > 1 {
            answers.pop_front().unwrap()
        } else {
            answers[0].clone()
        }
    };
    let Some(status) = status else { return pending().await };
    // Without a Date of its own, an answer has that of the moment at which our clock starts.
    let date = (!headers.iter().any(|(name, _)| *name == "date"))
        .then(|| ("date", "Fri, 22 Nov 2024 10:00:00 GMT".to_owned()));
    let mut response = Response::builder().status(status);
    for (name, value) in headers.into_iter().chain(date) {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap()
}
