use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::Value;
use tower::{BoxError, service_fn};

use super::*;
use crate::api::names::FINALIZER;

/// An API server with managed Secrets. It never lets go of those that are called `no-…`, and answers that another one, `busy`, was
/// changed by someone else.
struct Server {
    held: Vec<String>,
    /// Namespaces of which it refuses to list the Secrets.
    closed: Vec<&'static str>,
    /// Writes under way, and the most that there were.
    writes: (usize, usize),
}

fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
}

impl Server {
    fn read(&self, path: &str) -> Value {
        let named = path.strip_prefix("/api/v1/namespaces/").unwrap_or_default();
        match named.split_once('/') {
            Some((namespace, _)) if self.closed.contains(&namespace) => failure(403, "Forbidden", "no Role"),
            None if named == "gone" => failure(404, "NotFound", "no such namespace"),
            None if !named.is_empty() => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": named}})
            }
            _ => self.list(),
        }
    }

    fn list(&self) -> Value {
        let metadata = |name: &String| json!({"metadata": {"name": name, "namespace": "team", "uid": name, "finalizers": [FINALIZER]}});
        let items: Vec<Value> = self.held.iter().map(metadata).collect();
        json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": items})
    }

    fn release(&mut self, name: &str) -> Value {
        self.writes.0 -= 1;
        if name.starts_with("no-") {
            return failure(
                403,
                "Forbidden",
                "admission webhook \"names.example.com\" denied the request: no",
            );
        }
        if name == "busy" {
            return failure(409, "Conflict", "the object has been modified");
        }
        self.held.retain(|held| held != name);
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": name}})
    }
}

fn server(names: &[&str]) -> (Secrets, Arc<Mutex<Server>>) {
    let held = names.iter().map(|name| (*name).to_owned()).collect();
    let server = Arc::new(Mutex::new(Server {
        held,
        closed: Vec::new(),
        writes: (0, 0),
    }));
    let known = server.clone();
    let serve = move |request: Request<Body>| {
        let server = known.clone();
        async move {
            let answer = if request.method() == Method::PATCH {
                {
                    let (now, most) = &mut server.lock().unwrap().writes;
                    *now += 1;
                    *most = (*most).max(*now);
                }
                sleep(RENEW).await;
                let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
                server.lock().unwrap().release(&name)
            } else {
                server.lock().unwrap().read(request.uri().path())
            };
            let code = answer["code"].as_u64().map_or(200, |code| u16::try_from(code).unwrap());
            let body = Full::new(Bytes::from(answer.to_string()));
            Ok::<_, BoxError>(Response::builder().status(code).body(body)?)
        }
    };
    (Secrets::new(Client::new(service_fn(serve), "default")), server)
}

async fn released(names: &[&str]) -> (Result<usize, Trouble>, Arc<Mutex<Server>>) {
    let (secrets, server) = server(names);
    let scope = Scope::new(&[]);
    (let_go(&secrets, &scope).await, server)
}

#[tokio::test(start_paused = true)]
async fn one_that_the_api_server_keeps_holds_up_no_other_and_is_named() {
    let (done, server) = released(&["a", "busy", "no-1", "z"]).await;
    let Err(Trouble::Held { of, why }) = done else {
        panic!("{done:?}")
    };
    assert_eq!(server.lock().unwrap().held, ["busy", "no-1"]);
    let told = "2 of 4 managed Secrets are still held; mend what stands in the way, and run it again:\n\
        team/busy: it is held again and again: stop the operator first\n\
        team/no-1: admission webhook \"names.example.com\" denied the request: no";
    assert_eq!(still_held(of, &why), told);
}

#[tokio::test(start_paused = true)]
async fn many_are_let_go_of_at_once_but_not_all() {
    let names: Vec<String> = (0..24).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let begun = Instant::now();
    let (done, server) = released(&names).await;
    assert_eq!(done.unwrap(), names.len());
    let (_, most) = server.lock().unwrap().writes;
    assert!(most < names.len(), "{most}");
    assert!(begun.elapsed() < RENEW * 4, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn of_very_many_that_are_kept_the_first_are_named_and_the_others_counted() {
    let names: Vec<String> = (0..TOLD + 3).map(|n| format!("no-{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let Err(Trouble::Held { of, why }) = released(&names).await.0 else {
        panic!("all are let go of")
    };
    let told = still_held(of, &why);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 1 + TOLD + 1, "{told}");
    assert!(lines[0].starts_with("23 of 23 "), "{told}");
    assert!(lines[TOLD].starts_with("team/no-19: "), "{told}");
    assert_eq!(lines.last(), Some(&"and 3 more"));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_gone_or_closed_holds_up_no_other() {
    let scope = |names: &[&str]| Scope::new(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let (secrets, known) = server(&["a"]);
    known.lock().unwrap().closed = vec!["gone", "closed"];
    assert_eq!(let_go(&secrets, &scope(&["gone", "team"])).await.unwrap(), 1);

    let (secrets, known) = server(&["a"]);
    known.lock().unwrap().closed = vec!["closed"];
    let done = let_go(&secrets, &scope(&["closed", "team"])).await;
    let Err(Trouble::Held { of, why }) = done else {
        panic!("{done:?}")
    };
    let told = still_held(of, &why);
    assert!(
        told.starts_with("0 of 1 ") && told.ends_with("\nnamespace closed: no Role"),
        "{told}"
    );
}
