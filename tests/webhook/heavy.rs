//! What one request may cost, before the API server has looked at its object: little time, little memory, and nobody else's turn.

use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Bytes;
use futures::StreamExt;
use futures::stream::{iter, pending};
use http_body_util::StreamBody;
use hyper::body::Frame;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::server::greeted;
use crate::world::World;

/// As much as a body may have, less what stands around a list.
const MOST: usize = 8 * 1024 * 1024 - 2_000;
/// The API server waits five seconds; a debug build takes many times the time of another, beside other tests.
const IN_TIME: Duration = Duration::from_secs(10);
/// The chart's limit.
const MEMORY: u64 = 128 << 20;

/// A list's entries, as many as fit into so many bytes.
fn many(entry: impl Fn(usize) -> String, bytes: usize) -> String {
    let mut all = String::with_capacity(bytes);
    for n in 0.. {
        let entry = entry(n);
        if all.len() + entry.len() + 1 > bytes {
            break;
        }
        let _ = write!(all, "{}{entry}", if n == 0 { "" } else { "," });
    }
    all
}

fn alike(entry: &str) -> String {
    many(|_| entry.to_owned(), MOST)
}

fn review(kind: &Value, namespace: &str, object: &str) -> String {
    format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u","kind":{kind},
        "namespace":"{namespace}","operation":"CREATE","object":{object}}}}}"#
    )
}

fn a_pod(annotations: &str, spec: &str) -> String {
    format!(r#"{{"metadata":{{"annotations":{{"github.as-code.io/token":"ci"{annotations}}}}},"spec":{{{spec}}}}}"#)
}

/// Sixteen tokens, each for `hosts` hosts of its own.
fn tokens(hosts: usize) -> String {
    let mut all = String::new();
    for id in 1..16 {
        let hosts: Vec<String> = (0..hosts).map(|n| format!("host{n}-{id}.example.com")).collect();
        let hosts = hosts.join(",");
        let _ = write!(
            all,
            r#","github.as-code.io/token.t{id}":"ci","github.as-code.io/git-hosts.t{id}":"{hosts}","github.as-code.io/git-ssh-rewrite.t{id}":"true""#
        );
    }
    all
}

fn containers(count: usize, inside: &str) -> String {
    let all: Vec<String> = (0..count).map(|n| format!(r#"{{"name":"c{n}"{inside}}}"#)).collect();
    format!(r#""containers":[{}]"#, all.join(","))
}

fn pods() -> Vec<(&'static str, String)> {
    let one = |field: &str, entry: &str| containers(1, &format!(r#","{field}":[{}]"#, alike(entry)));
    let list = |field: &str, entry: &str| format!(r#""{field}":[{}]"#, alike(entry));
    let names = |bytes| many(|n| format!("V{n}"), bytes);
    let mounts = many(
        |n| format!(r#"{{"name":"v","mountPath":"/{n}{}"}}"#, "/".repeat(20)),
        8_000,
    );
    let volumes = many(|n| format!(r#"{{"name":"v{n}"}}"#), 16_000);
    let settings = many(
        |n| format!(r#"{{"name":"GIT_CONFIG_KEY_{n}","value":"credential.https://github.com.helper"}}"#),
        20_000,
    );
    let counted = format!(r#","env":[{settings},{{"name":"GIT_CONFIG_COUNT","value":"10000"}}]"#);
    let owners = format!(r#"{{"metadata":{{"ownerReferences":[{}]}},"spec":{{}}}}"#, alike("{}"));
    let annotations = many(|n| format!(r#""github.as-code.io/x{n}":"""#), MOST - 10);
    vec![
        ("containers", a_pod("", &list("containers", "{}"))),
        ("init containers", a_pod("", &list("initContainers", "{}"))),
        ("volumes", a_pod("", &list("volumes", "{}"))),
        ("mounts", a_pod("", &one("volumeMounts", "{}"))),
        ("variables", a_pod("", &one("env", r#"{"name":"GIT_CONFIG_KEY_1"}"#))),
        ("owners", owners),
        ("annotations", a_pod(&format!(",{annotations}"), &containers(1, ""))),
        (
            "a list in megabytes",
            a_pod(
                &format!(r#","github.as-code.io/env":"{}""#, names(3 << 20)),
                &containers(1, ""),
            ),
        ),
        (
            "a list in kilobytes",
            a_pod(
                &format!(r#","github.as-code.io/env":"{}""#, names(200_000)),
                &containers(1, ""),
            ),
        ),
        ("tokens and hosts", a_pod(&tokens(64), &containers(256, ""))),
        (
            "mounts of volumes",
            a_pod(
                &tokens(1),
                &format!(
                    r#"{},"volumes":[{volumes}]"#,
                    containers(250, &format!(r#","volumeMounts":[{mounts}]"#))
                ),
            ),
        ),
        ("settings of git", a_pod(&tokens(1), &containers(250, &counted))),
    ]
}

fn objects() -> Vec<(&'static str, String)> {
    let with = |field: &str, entry: &str| format!(r#"{{"metadata":{{"name":"x"}},{field}{}]}}}}"#, alike(entry));
    vec![
        ("numbers", format!("[{}]", alike("0"))),
        ("lists", format!("[{}]", alike("[]"))),
        ("repositories", with(r#""spec":{"repositories":["#, r#""""#)),
        (
            "managed fields",
            format!(r#"{{"metadata":{{"managedFields":[{}]}},"spec":{{}}}}"#, alike("{}")),
        ),
    ]
}

/// A client that waits for as long as it takes, each request on a connection of its own.
async fn patient(world: &World) -> reqwest::Client {
    let trusted = reqwest::Certificate::from_pem_bundle(world.bundle().await.as_bytes()).unwrap();
    let builder = reqwest::Client::builder().no_proxy().tls_certs_only(trusted);
    builder.http1_only().build().unwrap()
}

async fn post(client: &reqwest::Client, url: String, body: impl Into<reqwest::Body>) -> (StatusCode, Duration) {
    let started = Instant::now();
    let sent = client.post(url).header(CONTENT_TYPE, "application/json").body(body);
    let status = sent.send().await.expect("an answer").status();
    (status, started.elapsed())
}

/// A review as any: it is answered in time.
async fn honest(world: &World, client: &reqwest::Client) -> Duration {
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let body = review(&kind, &world.namespace, &a_pod("", &containers(1, "")));
    let (status, took) = post(client, world.url("/inject"), body).await;
    assert_eq!(status, StatusCode::OK);
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_body_takes_the_time_or_the_memory_of_others() {
    let world = World::new().await;
    world.token("ci", json!({})).await;
    world.ready("ci").await;
    let (attacker, client) = (patient(&world).await, patient(&world).await);
    let of = |path: &'static str, group: &str, kind: &str, bodies: Vec<(&'static str, String)>| {
        let kind = json!({"group": group, "version": "v1", "kind": kind});
        let reviews = bodies
            .into_iter()
            .map(|(what, object)| (path, what, review(&kind, &world.namespace, &object)));
        reviews.collect::<Vec<_>>()
    };
    let mut all = of("/inject", "", "Pod", pods());
    for kind in ["Token", "ClusterToken", "TokenPolicy"] {
        all.extend(of("/validate", "github.as-code.io", kind, objects()));
    }
    for (path, what, body) in all {
        let (mut heavy, body) = (JoinSet::new(), Bytes::from(body));
        // One for each of the operator's threads.
        for _ in 0..2 {
            let (attacker, url, body) = (attacker.clone(), world.url(path), body.clone());
            heavy.spawn(async move { post(&attacker, url, body).await });
        }
        let mut slowest = Duration::ZERO;
        while !heavy.is_empty() {
            slowest = slowest.max(honest(&world, &client).await);
            while let Some(done) = heavy.try_join_next() {
                let (status, took) = done.unwrap();
                println!("{path} {what}: {status} after {took:?}");
                assert!(took < 3 * IN_TIME, "{path} {what}: {took:?}");
                assert!(
                    status.is_success() || status == StatusCode::BAD_REQUEST,
                    "{path} {what}: {status}"
                );
            }
        }
        assert!(slowest < IN_TIME, "beside {path} {what}: {slowest:?}");
        let peak = world.operator.usage().unwrap().peak;
        println!("beside {path} {what}: {slowest:?}, {} MiB", peak >> 20);
        assert!(peak < MEMORY, "{path} {what}: {} MiB", peak >> 20);
    }
}

/// Sends a body in chunks of one byte, until the operator has enough.
async fn send_chunks(world: &World) {
    let mut stream = greeted(world.port.address().port(), &world.bundle().await, b"http/1.1").await;
    let head = "POST /inject HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunks = "1\r\n \r\n".repeat(2_000);
    for _ in 0..2_000 {
        if stream.write_all(chunks.as_bytes()).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_in_pieces_of_a_byte_take_no_more_than_others() {
    let world = World::new().await;
    world.token("ci", json!({})).await;
    world.ready("ci").await;
    let client = patient(&world).await;
    let before = world.operator.usage().unwrap().resident;
    let attack = futures::future::join_all((0..2).map(|_| send_chunks(&world)));
    let mut attack = std::pin::pin!(attack);
    let mut slowest = Duration::ZERO;
    loop {
        tokio::select! {
            _ = &mut attack => break,
            took = honest(&world, &client) => slowest = slowest.max(took),
        }
    }
    assert!(slowest < IN_TIME, "{slowest:?}");
    // As bytes, they are a few megabytes.
    let grown = world.operator.usage().unwrap().peak - before;
    println!("slowest: {slowest:?}, {} KiB more", grown >> 10);
    assert!(grown < 16 << 20, "{} KiB more", grown >> 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_stall_hold_up_nobody() {
    let world = World::new().await;
    world.token("ci", json!({})).await;
    let attacker = patient(&world).await;
    let mut stalled = JoinSet::new();
    // More than there is room for, in few bytes each and in many.
    for (count, bytes) in [(300, 1), (24, 2 << 20)] {
        for _ in 0..count {
            let begun = iter([Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![b' '; bytes])))]);
            let body = reqwest::Body::wrap(StreamBody::new(begun.chain(pending())));
            let (attacker, url) = (attacker.clone(), world.url("/inject"));
            stalled.spawn(async move { post(&attacker, url, body).await.0 });
        }
    }
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    let fresh = patient(&world).await;
    while began.elapsed() < Duration::from_secs(6) {
        slowest = slowest.max(honest(&world, &fresh).await);
        sleep(Duration::from_millis(20)).await;
    }
    println!("slowest: {slowest:?}");
    assert!(slowest < Duration::from_secs(4), "{slowest:?}");
    let ended = stalled.join_all().await;
    assert!(
        ended
            .iter()
            .all(|status| *status == StatusCode::REQUEST_TIMEOUT || *status == StatusCode::SERVICE_UNAVAILABLE)
    );
    let peak = world.operator.usage().unwrap().peak;
    assert!(peak < MEMORY, "{} MiB", peak >> 20);
}
