//! Writes that succeed although their answer is lost, or of which a part is lost on the way.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST};
use axum::http::{Method, Response, StatusCode};
use kube::{Client, ResourceExt};
use lab::process::Folder;
use lab::wait::eventually;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::world::{SOON, World};

/// The status that takes the place of the next answer; 0: it comes through.
type Loses = Arc<AtomicU16>;

/// Whether Secrets lose their annotations while they are written, as by a webhook of the cluster.
type Strips = Arc<AtomicBool>;

/// What stands between the operator and its API server, and can lose the answer to the next write of a Secret.
struct Line {
    loses: Loses,
    strips: Strips,
    folder: Folder,
    _task: AbortOnDropHandle<()>,
}

impl Line {
    async fn to(client: Client) -> Line {
        let (loses, strips) = (Loses::default(), Strips::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = format!("http://{}", listener.local_addr().expect("an address"));
        let router = axum::Router::new()
            .fallback(forward)
            .with_state((client, loses.clone(), strips.clone()));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}], "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
        let folder = Folder::new().expect("a folder");
        folder
            .write("kubeconfig", kubeconfig.to_string().as_bytes())
            .expect("written");
        Line {
            loses,
            strips,
            folder,
            _task: AbortOnDropHandle::new(task),
        }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }
}

async fn forward(State((client, loses, strips)): State<(Client, Loses, Strips)>, request: Request) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    for name in [HOST, AUTHORIZATION] {
        parts.headers.remove(name);
    }
    let is_write = parts.method != Method::GET && parts.uri.path().contains("/secrets");
    let mut body = to_bytes(body, 1 << 22).await.expect("a request").to_vec();
    if is_write && strips.load(Ordering::SeqCst) && !body.is_empty() {
        let mut object: Value = serde_json::from_slice(&body).expect("JSON");
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("annotations");
        }
        body = object.to_string().into_bytes();
        parts.headers.remove(CONTENT_LENGTH);
    }
    let answer = client
        .send(Request::from_parts(parts, kube::client::Body::from(body)))
        .await;
    let lost = if is_write { loses.swap(0, Ordering::SeqCst) } else { 0 };
    if let Ok(lost) = StatusCode::from_u16(lost) {
        return status(lost);
    }
    answer.map_or_else(|_| status(StatusCode::BAD_GATEWAY), |answer| answer.map(Body::new))
}

fn status(code: StatusCode) -> Response<Body> {
    let said = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code.as_u16(), "reason": "Timeout",
        "message": "the answer was lost"});
    let mut answer = Response::new(Body::from(said.to_string()));
    *answer.status_mut() = code;
    answer
}

#[tokio::test]
async fn a_token_whose_write_was_not_answered_is_not_written_again_when_another_one_is_asked_for() {
    let world = World::new().await;
    world.operator.kill();
    let line = Line::to(world.client.clone()).await;
    let operator = world
        .replica(|operator| operator.leader_elect(false).env("KUBECONFIG", line.kubeconfig()))
        .await;
    world.token("demo", json!({})).await;
    let first = world.settled("demo").await;
    line.loses.store(500, Ordering::SeqCst);
    world.request("demo", "1").await;
    let second = world.good_token("demo", Some(&first)).await;
    eventually(SOON, "the write is taken for one that failed", async || {
        let logs = operator.logs();
        logs.contains("the answer was lost").then_some(()).ok_or(logs)
    })
    .await;
    assert_eq!(world.settled("demo").await, second);
    assert_eq!(world.github.mint_count(), 2, "not issued again");

    // It has leaked.
    world.request("demo", "2").await;
    let third = world.good_token("demo", Some(&second)).await;
    assert_eq!(world.settled("demo").await, third);
    assert_eq!(world.github.mint_count(), 3);

    // The operator's client repeats the write by itself.
    let before = world.secrets().get("demo").await.unwrap();
    line.loses.store(504, Ordering::SeqCst);
    world.request("demo", "3").await;
    let fourth = world.good_token("demo", Some(&third)).await;
    assert_eq!(world.settled("demo").await, fourth);
    assert_eq!(world.secrets().get("demo").await.unwrap().uid(), before.uid());
    assert_eq!(world.github.mint_count(), 4, "not issued again");
    operator.terminate(SOON).await.unwrap();
    assert!(world.github.revocations().is_empty(), "what is in a Secret is in use");
}

#[tokio::test]
async fn a_webhook_that_takes_annotations_off_is_told_of_and_costs_one_token() {
    let world = World::new().await;
    world.operator.kill();
    let line = Line::to(world.client.clone()).await;
    line.strips.store(true, Ordering::SeqCst);
    let operator = world
        .replica(|operator| operator.leader_elect(false).env("KUBECONFIG", line.kubeconfig()))
        .await;
    world.token("demo", json!({"retryInterval": "2s"})).await;
    let told = world.condition("demo", "Ready", "False", "SecretWriteFailed").await;
    assert!(told.message.contains("was taken off the Secret"), "{}", told.message);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(world.github.mint_count(), 1, "the same token is tried again");
    line.strips.store(false, Ordering::SeqCst);
    world.settled("demo").await;
    assert_eq!(world.github.mint_count(), 1, "it is the one that is used");
    operator.terminate(SOON).await.unwrap();
}
