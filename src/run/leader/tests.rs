use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Response};
use kube::client::Body;
use serde_json::Value;
use tower::{BoxError, service_fn};

use super::*;

/// An API server that answers so, in turn, and again and again with the last; and what is written to it.
fn server(mut answers: Vec<(u16, Value)>) -> (Client, Arc<Mutex<Vec<Value>>>) {
    answers.reverse();
    let (answers, written) = (Arc::new(Mutex::new(answers)), Arc::new(Mutex::new(Vec::new())));
    let writes = written.clone();
    let serve = move |request: Request<Body>| {
        let (answers, writes) = (answers.clone(), writes.clone());
        async move {
            let patch = request.method() == Method::PATCH;
            let body = request.into_body().collect().await?.to_bytes();
            if patch {
                writes.lock().unwrap().push(serde_json::from_slice(&body)?);
            }
            let mut left = answers.lock().unwrap();
            let (status, body) = if left.len() > 1 {
                left.pop()
            } else {
                left.last().cloned()
            }
            .unwrap();
            let answer = Response::builder().status(status);
            Ok::<_, BoxError>(answer.body(Full::new(Bytes::from(body.to_string())))?)
        }
    };
    (Client::new(service_fn(serve), "default"), written)
}

fn failure(code: u16) -> (u16, Value) {
    let reason = if code == 404 { "NotFound" } else { "InternalError" };
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code});
    (code, status)
}

fn lease(holder: Option<&str>, renewed: &str) -> (u16, Value) {
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": LEASE, "resourceVersion": "7"},
        "spec": {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": DURATION}});
    (200, lease)
}

fn lookout(answers: Vec<(u16, Value)>) -> (Lookout, Arc<Mutex<Vec<Value>>>) {
    let (client, written) = server(answers);
    let lookout = Lookout {
        lease: Api::namespaced(client, "default"),
        identity: "ours".to_owned(),
        renewed: None,
    };
    (lookout, written)
}

const EARLIER: &str = "2030-01-01T00:00:00.000000Z";
const LATER: &str = "2030-01-01T00:00:05.000000Z";

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_gone_or_free_calls_everyone_and_one_that_somebody_else_holds_calls_who_leads() {
    for (answer, leads, called) in [
        (failure(404), true, true),
        (failure(404), false, true),
        (lease(None, EARLIER), true, true),
        (lease(Some("ours"), EARLIER), true, false),
        (lease(Some("a"), EARLIER), true, true),
        (failure(503), true, false),
        (lease(None, EARLIER), false, true),
        (lease(Some(""), EARLIER), false, true),
        (lease(Some("a"), EARLIER), false, false),
        (failure(503), false, false),
    ] {
        let (mut lookout, written) = lookout(vec![answer.clone()]);
        assert_eq!(lookout.calls(leads).await, called, "{answer:?} {leads}");
        assert!(written.lock().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_renews_nothing_loses_the_lease_whatever_its_clock_says() {
    let renewals = [EARLIER, EARLIER, LATER].map(|renewed| lease(Some("a"), renewed));
    let (mut lookout, written) = lookout(renewals.into());
    let begun = Instant::now();
    while !lookout.calls(false).await {
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
    // The last renewal was seen after 3 s.
    assert!(begun.elapsed() > Duration::from_secs(3 + DURATION) + SLACK);
    let written = written.lock().unwrap();
    assert_eq!(written.len(), 1);
    assert_eq!(
        written[0]["metadata"]["resourceVersion"], "7",
        "a renewal meanwhile is a conflict"
    );
    assert_eq!(written[0]["spec"]["holderIdentity"], Value::Null);
}

fn candidate(answers: Vec<(u16, Value)>) -> Candidate {
    Candidate {
        client: server(answers).0,
        namespace: "default".to_owned(),
        identity: "b".to_owned(),
    }
}

#[tokio::test]
async fn a_lease_that_cannot_be_made_is_told_shortly_and_with_what_helps() {
    let mut missing = failure(404);
    missing.1["message"] = json!("namespaces \"default\" not found");
    missing.1["details"] = json!({"name": "default", "kind": "namespaces"});
    for (answer, text) in [
        (
            missing,
            "namespaces \"default\" not found; create the namespace default, or name another by --namespace",
        ),
        (failure(500), "no"),
    ] {
        let told = candidate(vec![failure(404), answer]).manager().await.err();
        let text = format!("the Lease default/{LEASE} cannot be used: {text}");
        assert_eq!(told, Some(text));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_read_at_the_moment_ends_nothing() {
    let candidate = candidate(vec![failure(500), failure(404), failure(500), lease(None, EARLIER)]);
    let begun = Instant::now();
    candidate.manager_at_last().await;
    assert_eq!(begun.elapsed(), LOOK * 2);
}

/// How long a leader goes on that reads these answers, one a look.
async fn leads_for(answers: Vec<(u16, Value)>) -> Duration {
    let (mut lookout, _) = lookout(answers);
    // What was seen of a former holder, long ago.
    lookout.renewed = Some((None, Instant::now()));
    tokio::time::advance(Duration::from_secs(60)).await;
    lookout.begin(true);
    let begun = Instant::now();
    for _ in 0..60 {
        if lookout.calls(true).await {
            return begun.elapsed();
        }
    }
    panic!("it goes on")
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_sees_no_renewal_of_its_own_steps_down_before_its_term_ends() {
    assert!(LAPSE < Duration::from_secs(DURATION));
    // Cut off from the beginning on, or unable to renew what it still reads.
    assert_eq!(leads_for(vec![failure(503)]).await, LAPSE);
    assert_eq!(leads_for(vec![lease(Some("ours"), EARLIER)]).await, LAPSE);
    // The renewal is seen at the sixth look.
    let mut answers = vec![lease(Some("ours"), EARLIER); 5];
    answers.push(lease(Some("ours"), LATER));
    answers.push(failure(503));
    assert_eq!(leads_for(answers).await, LOOK * 6 + LAPSE);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_hangs_ends_when_the_term_does_and_a_slow_one_is_waited_for() {
    for (latency, lapses) in [(Duration::from_secs(60), true), (PATIENCE - LOOK / 10, false)] {
        let begun = Instant::now();
        // It is renewed every five seconds.
        let serve = move |_: Request<Body>| async move {
            tokio::time::sleep(latency).await;
            let renewal = format!("2030-01-01T00:00:{:02}.000000Z", begun.elapsed().as_secs() / 5);
            let (_, body) = lease(Some("ours"), &renewal);
            Ok::<_, BoxError>(Response::new(Full::new(Bytes::from(body.to_string()))))
        };
        let mut lookout = Lookout {
            lease: Api::namespaced(Client::new(service_fn(serve), "default"), "default"),
            identity: "ours".to_owned(),
            renewed: None,
        };
        lookout.begin(true);
        let mut called = false;
        for _ in 0..20 {
            called = called || lookout.calls(true).await;
        }
        assert_eq!(called, lapses, "{latency:?}");
        assert!(!called || begun.elapsed() == LAPSE, "{:?}", begun.elapsed());
    }
}
