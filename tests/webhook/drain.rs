//! The end of a replica: no request is refused, reset or left without an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lab::process::Port;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::world::World;

fn review() -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u",
        "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "default", "operation": "CREATE",
        "object": {"metadata": {"annotations": {"github.as-code.io/token": "none"}}, "spec": {"containers": [{"name": "a"}]}}}})
}

/// Sends reviews until `over`, which the first failure says, too.
async fn send(
    client: reqwest::Client,
    url: String,
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
) -> Result<(), String> {
    while !over.load(Ordering::Relaxed) {
        let one = async {
            let answer = client.post(&url).json(&review()).send().await?;
            answer.error_for_status()?.json::<Value>().await
        };
        let answer = one.await.map_err(|error| {
            over.store(true, Ordering::Relaxed);
            format!("after {answered:?} answers: {error:?}")
        })?;
        assert_eq!(answer["response"]["uid"], "u");
        answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
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
    let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut senders = JoinSet::new();
    for client in [https.clone(), http1] {
        for _ in 0..4 {
            senders.spawn(send(
                client.clone(),
                world.url("/inject"),
                over.clone(),
                answered.clone(),
            ));
        }
    }
    // A Service stops leading to a pod within a second or two of its end being asked for.
    let stop = async {
        while answered.load(Ordering::Relaxed) < 200 && !over.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let asked = answered.load(Ordering::Relaxed);
        let ending = world.operator.terminate(Duration::from_secs(9));
        let watch = async {
            while answered.load(Ordering::Relaxed) < asked + 50 && !over.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            over.store(true, Ordering::Relaxed);
        };
        let (ended, ()) = tokio::join!(ending, watch);
        assert!(ended.unwrap().success());
    };
    tokio::time::timeout(Duration::from_secs(60), stop).await.unwrap();
    while let Some(sent) = senders.join_next().await {
        sent.unwrap()
            .unwrap_or_else(|error| panic!("{error}\n{}", world.operator.logs()));
    }
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
