//! The webhook's server as a process of its own, so that its memory is not the load's.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::routing::post;
use github_token_manager::api::Reason;
use github_token_manager::cluster::{Change, Events, Record, Scope, Secrets, TokenRecord, Tokens};
use github_token_manager::domain::authority::{Life, Terms};
use github_token_manager::domain::intent::Kind;
use github_token_manager::telemetry::logs::{self, Format, Level};
use github_token_manager::telemetry::metrics::{Metrics, Review, Webhook};
use github_token_manager::webhook::certificate::Signer;
use github_token_manager::webhook::{Desk, Known, Observer, Operation, Outcome, Owners, guarded, routes, server};
use jiff::Timestamp;
use kube::Client;
use lab::process::Usage;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Failed;
use super::load::Target;

/// Which of the two.
#[derive(Clone, Copy)]
pub enum Handler {
    Inject,
    Empty,
}

/// A server that runs; dropping it ends it.
pub struct Server {
    child: Child,
    pub target: Target,
}

impl Server {
    pub async fn start(handler: Handler) -> Result<Self, Failed> {
        let word = match handler {
            Handler::Inject => "inject",
            Handler::Empty => "empty",
        };
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", word])
            .stdout(Stdio::piped())
            // A line for each decision is written, but not read.
            .stderr(Stdio::null())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let port = lines.next().ok_or("no port")??.parse()?;
        let mut ca = String::new();
        for line in lines {
            let line = line?;
            ca += &line;
            ca.push('\n');
            if line.starts_with("-----END") {
                break;
            }
        }
        let target = Target {
            port,
            ca,
            path: "/inject",
            annotations: &[("github.as-code.io/token", "ci")],
            patches: matches!(handler, Handler::Inject),
        };
        Ok(Server { child, target })
    }

    /// Bytes of memory.
    pub fn resident(&self) -> Result<f64, Failed> {
        Ok(Usage::of(self.child.id())?.resident as f64)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Counts as the operator does.
struct Counting(Metrics);

impl Observer for Counting {
    fn reviewed(&self, _: Operation, outcome: Outcome, reason: Option<Reason>, took: Duration) {
        let outcome = if outcome == Outcome::Patched {
            Review::Patched
        } else {
            Review::Rejected
        };
        self.0.reviewed(Webhook::Inject, outcome, reason, took);
    }
}

#[expect(clippy::disallowed_methods, reason = "the wall clock, as the operator reads it")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Serves until it is killed.
pub async fn run(handler: &str) -> Result<(), Failed> {
    logs::init(Format::Json, &Level::default())?;
    let terms = Terms::default();
    let signer = Signer::generate(Life::new(now(), terms.authority, terms.backdate))?;
    let leaf = signer.leaf(Life::new(now(), terms.leaf, terms.backdate), &["127.0.0.1".to_owned()])?;
    let (_serve, certificate) = watch::channel(Some(Arc::new(leaf)));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    // In one write: the reader leaves after the last line.
    println!("{}\n{}", listener.local_addr()?.port(), signer.certificate.trim_end());
    let stop = CancellationToken::new();
    let routes = match handler {
        "inject" => routes(Arc::new(desk().await?), stop.clone()),
        _ => guarded(axum::Router::new().route("/inject", post(empty)), stop.clone()),
    };
    server::serve(listener, server::tls(certificate)?, routes, stop).await;
    Ok(())
}

/// The least that a webhook can do: it reads the body, and lets everything in.
async fn empty(body: Bytes) -> Vec<u8> {
    let uid = if body.is_empty() { "" } else { "u" };
    let answer =
        r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"UID","allowed":true}}"#;
    answer.replace("UID", uid).into_bytes()
}

async fn desk() -> Result<Desk, Failed> {
    // Nothing is ever asked of a cluster: the Token is in memory.
    let client = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse()?))?;
    let known = Known::new(Tokens::new(client.clone(), Scope::new(&[])));
    let object = json!({"apiVersion": "github.as-code.io/v1", "kind": "Token",
        "metadata": {"name": "ci", "namespace": "team", "uid": "u"}, "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Issued", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    let record = TokenRecord::new(Kind::Token, serde_json::from_value(object)?).ok_or("no record")?;
    known
        .clone()
        .follow(futures::stream::iter([Change::Token(record)]))
        .await;
    let (owners, _telling) = Owners::new(Events::new(client.clone(), "Admit", "bench".to_owned(), now));
    let (_publish, policies) = watch::channel(None);
    Ok(Desk {
        known,
        observer: Arc::new(Counting(Metrics::new("bench"))),
        owners,
        secrets: Secrets::new(client),
        policies,
        record: Record::default(),
        namespace: "own".to_owned(),
        clock: now,
    })
}
