//! The end of a replica: no request is refused, reset or left without an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use github_token_manager::webhook::server::LINGER;
use lab::process::Port;
use lab::wait::eventually;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::world::{SOON, World};

fn review() -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u",
        "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "default", "operation": "CREATE",
        "object": {"metadata": {"annotations": {"github.as-code.io/token": "none"}}, "spec": {"containers": [{"name": "a"}]}}}})
}

/// Sends reviews until no connection is taken any more; when that was, and what was said then. Whatever else fails is an error: a
/// request that was sent is answered.
async fn send(client: reqwest::Client, url: String, answered: Arc<AtomicUsize>) -> Result<(Instant, String), String> {
    loop {
        let one = async {
            let answer = client.post(&url).json(&review()).send().await?;
            answer.error_for_status()?.json::<Value>().await
        };
        match one.await {
            Ok(answer) => assert_eq!(answer["response"]["uid"], "u"),
            Err(error) if error.is_connect() => return Ok((Instant::now(), format!("{error:?}"))),
            Err(error) => return Err(format!("after {answered:?} answers: {error:?}")),
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_ends_answers_every_request_until_no_service_leads_there() {
    let world = World::new().await;
    let https = world.https().await;
    let pem = world.bundle().await;
    let http1 = reqwest::Client::builder()
        .no_proxy()
        .http1_only()
        .tls_certs_only(reqwest::Certificate::from_pem_bundle(pem.as_bytes()).unwrap())
        .build()
        .unwrap();
    let answered = Arc::new(AtomicUsize::new(0));
    let mut senders = JoinSet::new();
    for client in [https.clone(), http1] {
        for _ in 0..4 {
            senders.spawn(send(client.clone(), world.url("/inject"), answered.clone()));
        }
    }
    eventually(SOON, "the load is there", async || {
        let count = answered.load(Ordering::Relaxed);
        if count >= 200 { Ok(()) } else { Err(count) }
    })
    .await;
    // A Service stops leading to a pod within a second or two of its end being asked for; the load goes on for as long as it can.
    let (asked, before) = (Instant::now(), answered.load(Ordering::Relaxed));
    let ended = world.operator.terminate(Duration::from_secs(9)).await;
    assert!(ended.unwrap().success());
    let within = tokio::time::timeout(Duration::from_secs(20), senders.join_all());
    for sent in within.await.expect("every request is answered or refused") {
        let (at, said) = sent.unwrap_or_else(|error| panic!("{error}\n{}", world.operator.logs()));
        assert!(at - asked >= LINGER, "{:?}: {said}", at - asked);
    }
    let meanwhile = answered.load(Ordering::Relaxed) - before;
    assert!(meanwhile > 50, "{meanwhile} were answered while it ended");
}

#[tokio::test]
async fn a_replica_whose_address_is_taken_says_so_with_its_flag() {
    let port = Port::take().unwrap();
    let _taken = std::net::TcpListener::bind(port.address()).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_gtm"))
        .args(["manager", "--metrics-bind-address=0", "--health-probe-bind-address=0"])
        .arg(format!("--webhook-bind-address={}", port.address()))
        .env_clear()
        .env(
            "KUBECONFIG",
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/no-cluster.kubeconfig"),
        )
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("--webhook-bind-address") && said.contains(&port.address().to_string()),
        "{said}"
    );
}
