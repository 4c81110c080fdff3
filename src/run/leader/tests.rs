use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Response};
use kube::client::Body;
use serde_json::Value;
use tower::{BoxError, service_fn};

use super::*;

/// An API server with one Lease.
#[derive(Default)]
struct Server {
    lease: Option<Value>,
    version: u64,
    /// What it answers to everything, if not the truth.
    failure: Option<Value>,
    /// How long after it has done what was asked it answers.
    latency: Duration,
    /// When it was written to.
    writes: Vec<Instant>,
}

type Shared = Arc<Mutex<Server>>;

impl Server {
    /// Someone writes to the Lease.
    fn renew(&mut self, holder: Option<&str>, at: &str, term: u64) {
        self.version += 1;
        self.lease = Some(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": LEASE, "resourceVersion": self.version.to_string()},
            "spec": {"holderIdentity": holder, "renewTime": at, "leaseDurationSeconds": term}}));
    }

    fn holder(&self) -> Option<String> {
        let holder = self.lease.as_ref()?["spec"]["holderIdentity"].as_str()?;
        Some(holder.to_owned())
    }

    fn serve(&mut self, method: &Method, sent: &Value) -> Value {
        if let Some(failure) = &self.failure {
            return failure.clone();
        }
        let known = self
            .lease
            .as_ref()
            .map(|lease| lease["metadata"]["resourceVersion"].clone());
        match (method.as_str(), known) {
            ("POST", Some(_)) => return failed(409, "AlreadyExists"),
            ("POST", None) => self.lease = Some(sent.clone()),
            (_, None) => return failed(404, "NotFound"),
            ("PATCH", Some(known)) => {
                let wanted = &sent["metadata"]["resourceVersion"];
                if !wanted.is_null() && *wanted != known {
                    return failed(409, "Conflict");
                }
                let spec = &mut self.lease.as_mut().expect("it is there")["spec"];
                for (name, value) in sent["spec"].as_object().expect("a spec") {
                    spec[name] = value.clone();
                }
            }
            _ => return self.lease.clone().expect("it is there"),
        }
        self.version += 1;
        self.writes.push(Instant::now());
        let lease = self.lease.as_mut().expect("it was written");
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        lease.clone()
    }
}

fn failed(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code,
        "details": {"name": LEASE, "kind": "leases"}})
}

/// A connection to it, which can be cut.
fn client(server: &Shared, cut: &Arc<AtomicBool>) -> Client {
    let (server, cut) = (server.clone(), cut.clone());
    let serve = move |request: Request<Body>| {
        let (server, cut) = (server.clone(), cut.load(Ordering::Relaxed));
        async move {
            if cut {
                return Err("cut".into());
            }
            let method = request.method().clone();
            let body = request.into_body().collect().await?.to_bytes();
            let sent = serde_json::from_slice(&body).unwrap_or_default();
            let (answer, latency) = {
                let mut server = server.lock().unwrap();
                (server.serve(&method, &sent), server.latency)
            };
            sleep(latency).await;
            let code = answer["code"].as_u64().map_or(200, |code| u16::try_from(code).unwrap());
            let answer = Full::new(Bytes::from(answer.to_string()));
            Ok::<_, BoxError>(Response::builder().status(code).body(answer)?)
        }
    };
    Client::new(service_fn(serve), "default")
}

/// Another time with each call.
fn clock() -> Timestamp {
    static SECONDS: AtomicI64 = AtomicI64::new(0);
    Timestamp::from_second(SECONDS.fetch_add(1, Ordering::Relaxed)).expect("a time")
}

struct Replica {
    leadership: Leadership,
    stop: CancellationToken,
    cut: Arc<AtomicBool>,
}

impl Replica {
    fn new(server: &Shared, name: &str) -> Self {
        let (stop, cut) = (CancellationToken::new(), Arc::default());
        let leadership = campaign(client(server, &cut), "default", name.to_owned(), clock, stop.clone());
        Replica { leadership, stop, cut }
    }

    fn leads(&self) -> bool {
        *self.leadership.leads.borrow()
    }

    /// How long it takes until it leads, or does not any more.
    async fn until(&self, leads: bool) -> Duration {
        let begun = Instant::now();
        let mut told = self.leadership.leads.clone();
        let told = timeout(Duration::from_secs(120), told.wait_for(|now| *now == leads)).await;
        told.expect("it comes to pass").expect("the election goes on");
        begun.elapsed()
    }

    /// Whether it leads for so long without a break.
    async fn stays(&self, time: Duration) -> bool {
        let mut told = self.leadership.leads.clone();
        self.leads() && timeout(time, told.wait_for(|leads| !leads)).await.is_err()
    }
}

/// Two replicas, of which the first one has led for a while.
async fn leader_and_standby(server: &Shared) -> (Replica, Replica) {
    let (leader, standby) = (Replica::new(server, "a"), Replica::new(server, "b"));
    leader.until(true).await;
    sleep(5 * SECOND).await;
    (leader, standby)
}

const SECOND: Duration = Duration::from_secs(1);
const AHEAD: &str = "2100-01-01T00:00:00.000000Z";

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_missing_or_free_is_taken_at_once_and_renewed() {
    for free in [None, Some(None), Some(Some(""))] {
        let server = Shared::default();
        if let Some(holder) = free {
            server.lock().unwrap().renew(holder, AHEAD, DURATION);
        }
        let replica = Replica::new(&server, "ours");
        assert_eq!(replica.until(true).await, Duration::ZERO, "{free:?}");
        assert!(replica.stays(60 * SECOND).await);
        let server = server.lock().unwrap();
        assert_eq!(server.holder().as_deref(), Some("ours"));
        assert!((29..=32).contains(&server.writes.len()), "{:?}", server.writes);
        let spec = &server.lease.as_ref().unwrap()["spec"];
        assert_eq!(spec["leaseTransitions"], 1, "{spec}");
        assert_eq!(spec["leaseDurationSeconds"], DURATION, "{spec}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_is_waited_for_by_our_clock_for_its_whole_term_since_it_was_last_seen_to_renew() {
    let server = Shared::default();
    server.lock().unwrap().renew(Some("other"), AHEAD, 30);
    let replica = Replica::new(&server, "ours");
    sleep(20 * SECOND).await;
    server
        .lock()
        .unwrap()
        .renew(Some("other"), "2100-01-01T00:00:20.000000Z", 30);
    let waited = replica.until(true).await;
    assert!((30 * SECOND..=33 * SECOND).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_is_cut_off_ends_before_another_one_begins() {
    let server = Shared::default();
    let (leader, standby) = leader_and_standby(&server).await;
    leader.cut.store(true, Ordering::Relaxed);
    let last = *server.lock().unwrap().writes.last().expect("it was renewed");
    leader.until(false).await;
    assert_eq!(last.elapsed(), LAPSE);
    assert!(!standby.leads());
    standby.until(true).await;
    assert!(last.elapsed() > Duration::from_secs(DURATION), "{:?}", last.elapsed());
    assert!(last.elapsed() < 15 * SECOND, "{:?}", last.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_takes_its_time_ends_nothing() {
    for latency in [SECOND, 2 * SECOND, 3 * SECOND, 4 * SECOND] {
        let server = Shared::default();
        server.lock().unwrap().latency = latency;
        let leader = Replica::new(&server, "a");
        leader.until(true).await;
        let standby = Replica::new(&server, "b");
        assert!(leader.stays(300 * SECOND).await, "{latency:?}");
        assert!(!standby.leads(), "{latency:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_for_a_moment_end_nothing() {
    let server = Shared::default();
    let leader = Replica::new(&server, "a");
    leader.until(true).await;
    for _ in 0..10 {
        server.lock().unwrap().failure = Some(failed(500, "InternalError"));
        assert!(leader.stays(6 * SECOND).await);
        server.lock().unwrap().failure = None;
        assert!(leader.stays(3 * SECOND).await);
    }
    // A renewal arrives whose answer does not.
    server.lock().unwrap().latency = 100 * SECOND;
    assert!(leader.stays(3 * SECOND).await);
    server.lock().unwrap().latency = Duration::ZERO;
    assert!(leader.stays(60 * SECOND).await);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_deleted_is_made_anew_by_who_leads() {
    let server = Shared::default();
    let (leader, standby) = leader_and_standby(&server).await;
    server.lock().unwrap().lease = None;
    assert!(leader.stays(30 * SECOND).await);
    assert_eq!(server.lock().unwrap().holder().as_deref(), Some("a"));
    assert!(!standby.leads());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_cleared_by_hand_is_taken_by_others_after_its_term_alone() {
    let cleared: [fn(&mut Server); 3] = [
        |server| server.lease.as_mut().expect("it is there")["spec"]["holderIdentity"] = Value::Null,
        |server| server.lease.as_mut().expect("it is there")["spec"] = json!({}),
        |server| server.renew(Some("x"), AHEAD, 1),
    ];
    for clear in cleared {
        let server = Shared::default();
        let (leader, standby) = leader_and_standby(&server).await;
        // It does not hear of it.
        leader.cut.store(true, Ordering::Relaxed);
        let last = *server.lock().unwrap().writes.last().expect("it was renewed");
        clear(&mut server.lock().unwrap());
        standby.until(true).await;
        assert!(last.elapsed() > Duration::from_secs(DURATION), "{:?}", last.elapsed());
        assert!(!leader.leads());
    }
}

#[tokio::test(start_paused = true)]
async fn who_finds_another_holder_steps_down_and_waits_for_its_turn() {
    let server = Shared::default();
    let leader = Replica::new(&server, "a");
    leader.until(true).await;
    server.lock().unwrap().renew(Some("gtm-release"), AHEAD, 60);
    assert!(leader.until(false).await <= RENEW);
    let waited = leader.until(true).await;
    assert!((60 * SECOND..=63 * SECOND).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn who_stops_gives_the_lease_back_and_another_one_leads_at_once() {
    let server = Shared::default();
    let (leader, standby) = leader_and_standby(&server).await;
    leader.stop.cancel();
    leader.leadership.task.await.unwrap().unwrap();
    assert!(standby.until(true).await <= LOOK);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_had_is_told_shortly_and_with_what_helps() {
    let mut missing = failed(404, "NotFound");
    missing["message"] = json!("namespaces \"default\" not found");
    missing["details"] = json!({"name": "default", "kind": "namespaces"});
    for (failure, text) in [
        (
            missing,
            "namespaces \"default\" not found; create the namespace default, or name another by --namespace",
        ),
        (failed(500, "InternalError"), "no"),
    ] {
        let server = Shared::default();
        server.lock().unwrap().failure = Some(failure);
        let candidate = Candidate {
            lease: Api::namespaced(client(&server, &Arc::default()), "default"),
            namespace: "default".to_owned(),
            identity: "ours".to_owned(),
            clock,
            seen: None,
        };
        let error = candidate.hold(None).await.err().unwrap();
        let text = format!("the Lease default/{LEASE} cannot be used: {text}");
        assert_eq!(candidate.unusable(&error), text);
    }
}
