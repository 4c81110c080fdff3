//! What stands between the operator and its API server, and reads along.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST};
use axum::http::{Method, Response, StatusCode};
use futures::StreamExt;
use kube::Client;
use lab::gtm::Operator;
use lab::process::Folder;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::world::World;

/// What goes wrong on the way.
#[derive(Clone, Copy, Default)]
struct Faults {
    /// The status that takes the place of the answer to the next write of a Secret.
    loses: Option<StatusCode>,
    /// Secrets lose their annotations while they are written, as by a webhook of the cluster.
    strips: bool,
    /// Watches of this resource live on, and tell of nothing.
    silent: Option<&'static str>,
    /// How long each write of a Secret takes longer.
    slow: Duration,
}

type Shared = Arc<Mutex<Faults>>;

/// A way to the API server which can lose, strip, hold up and silence what passes.
pub struct Line {
    faults: Shared,
    folder: Folder,
    _task: AbortOnDropHandle<()>,
}

impl Line {
    /// To this client's API server, with its rights.
    pub async fn to(client: Client) -> Line {
        let faults = Shared::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = format!("http://{}", listener.local_addr().expect("an address"));
        let router = axum::Router::new()
            .fallback(forward)
            .with_state((client, faults.clone()));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}], "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
        let folder = Folder::new().expect("a folder");
        folder
            .write("kubeconfig", kubeconfig.to_string().as_bytes())
            .expect("written");
        Line {
            faults,
            folder,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// An operator that goes this way.
    pub async fn operator(&self, world: &World) -> Operator {
        let kubeconfig = self.folder.path().join("kubeconfig");
        world
            .replica(|operator| operator.leader_elect(false).env("KUBECONFIG", kubeconfig))
            .await
    }

    /// The next write of a Secret is answered with this status, whatever came of it.
    pub fn lose(&self, status: u16) {
        let status = StatusCode::from_u16(status).expect("a status");
        self.faults.lock().unwrap().loses = Some(status);
    }

    /// Whether Secrets lose their annotations while they are written.
    pub fn strip(&self, strips: bool) {
        self.faults.lock().unwrap().strips = strips;
    }

    /// Watches of this resource, in the plural, tell of nothing from now on.
    pub fn silence(&self, resource: &'static str) {
        self.faults.lock().unwrap().silent = Some(resource);
    }

    /// Each write of a Secret takes so much longer from now on.
    pub fn slow_down(&self, by: Duration) {
        self.faults.lock().unwrap().slow = by;
    }
}

async fn forward(State((client, faults)): State<(Client, Shared)>, request: Request) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    for name in [HOST, AUTHORIZATION] {
        parts.headers.remove(name);
    }
    let is_write = parts.method != Method::GET && parts.uri.path().contains("/secrets");
    let watches = parts.uri.query().is_some_and(|query| query.contains("watch="));
    let watched = watches.then(|| parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned());
    let mut body = to_bytes(body, 1 << 22).await.expect("a request").to_vec();
    if is_write {
        let Faults { slow, strips, .. } = *faults.lock().unwrap();
        tokio::time::sleep(slow).await;
        if strips && !body.is_empty() {
            parts.headers.remove(CONTENT_LENGTH);
            body = without_annotations(&body);
        }
    }
    let answer = client
        .send(Request::from_parts(parts, kube::client::Body::from(body)))
        .await;
    let lost = is_write.then(|| faults.lock().unwrap().loses.take()).flatten();
    if let Some(lost) = lost {
        return status(lost);
    }
    answer.map_or_else(
        |_| status(StatusCode::BAD_GATEWAY),
        |answer| match watched {
            None => answer.map(Body::new),
            Some(resource) => answer.map(|events| unless_silent(Body::new(events), faults, resource)),
        },
    )
}

fn without_annotations(body: &[u8]) -> Vec<u8> {
    let mut object: Value = serde_json::from_slice(body).expect("JSON");
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("annotations");
    }
    object.to_string().into_bytes()
}

fn unless_silent(events: Body, faults: Shared, resource: String) -> Body {
    let told = events.into_data_stream().filter(move |_| {
        let silent = faults.lock().unwrap().silent;
        std::future::ready(silent != Some(&*resource))
    });
    Body::from_stream(told)
}

fn status(code: StatusCode) -> Response<Body> {
    let said = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code.as_u16(), "reason": "Timeout",
        "message": "the answer was lost"});
    let mut answer = Response::new(Body::from(said.to_string()));
    *answer.status_mut() = code;
    answer
}
