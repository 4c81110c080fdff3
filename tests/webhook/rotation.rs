//! Authorities that follow each other within seconds, under constant load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use github_token_manager::cluster::{Authorities, Configurations};
use github_token_manager::domain::authority::Terms;
use github_token_manager::webhook::authority::Authority;
use github_token_manager::webhook::{guarded, server};
use jiff::Timestamp;
use kube::Client;
use kube::api::Api;
use lab::gtm::configurations;
use lab::wait::eventually;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::certificates::call;
use crate::world::{OWN, SOON, cluster, read};

#[expect(clippy::disallowed_methods, reason = "the wall clock, as the operator reads it")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A replica of nothing but the server and its authority.
pub fn replica(
    client: &Client,
    listener: tokio::net::TcpListener,
    stop: &CancellationToken,
    terms: Terms,
    clock: fn() -> Timestamp,
) {
    let (serve, certificate) = watch::channel(None);
    let authority = Authority {
        secret: Authorities::new(client.clone(), OWN),
        configurations: Configurations::new(client.clone(), OWN),
        namespace: OWN.to_owned(),
        terms,
        clock,
        serve,
    };
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! { () = authority.keep() => {}, () = stopped.cancelled() => {} }
    });
    let routes = axum::Router::new().route("/inject", axum::routing::post(refuse));
    let tls = server::tls(certificate).unwrap();
    tokio::spawn(server::serve(
        listener,
        tls,
        guarded(routes, stop.clone()),
        stop.clone(),
    ));
}

async fn refuse(body: axum::body::Bytes) -> Vec<u8> {
    let review: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {
        "uid": review["request"]["uid"], "allowed": false, "status": {"message": "it does not exist"}}});
    serde_json::to_vec(&answer).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authorities_are_rotated_under_constant_load_without_one_failed_handshake() {
    let cluster = cluster().start().await.unwrap();
    cluster.apply(&read("deploy/rbac.yaml")).await.unwrap();
    let client = cluster.client().await.unwrap();
    let namespace = cluster.namespace("test").await.unwrap();
    let stop = CancellationToken::new();
    let mut ports = Vec::new();
    for name in ["github-token-manager", "second"] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let manifest = configurations(port)
            .unwrap()
            .replace("\n  name: github-token-manager\n", &format!("\n  name: {name}\n"));
        cluster.apply(manifest.split("---\n").next().unwrap()).await.unwrap();
        let terms = Terms {
            authority: Duration::from_secs(15),
            leaf: Duration::from_secs(6),
            settle: Duration::from_secs(2),
            backdate: Duration::from_secs(5),
        };
        replica(&client, listener, &stop, terms, now);
        ports.push(port);
    }
    let all: Api<k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration> = Api::all(client.clone());
    let bundle = async |name: &str| {
        let found = all
            .get(name)
            .await
            .unwrap()
            .webhooks
            .unwrap_or_default()
            .remove(0)
            .client_config
            .ca_bundle;
        String::from_utf8(found.map(|bundle| bundle.0).unwrap_or_default()).unwrap()
    };
    let mut seen = std::collections::BTreeSet::new();
    for name in ["github-token-manager", "second"] {
        eventually(SOON, "a bundle", async || {
            if bundle(name).await.is_empty() {
                Err("none")
            } else {
                Ok(())
            }
        })
        .await;
    }
    let reaches = async || {
        let (over, calls) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        over.store(false, Ordering::Relaxed);
        let once = tokio::time::timeout(
            Duration::from_millis(500),
            call(client.clone(), namespace.clone(), over, calls),
        )
        .await;
        match once {
            Err(_) => Ok(()),
            Ok(failed) => Err(format!("{failed:?}")),
        }
    };
    eventually(SOON, "the API server reaches both", reaches).await;

    let (over, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = tokio::spawn(call(client.clone(), namespace.clone(), over.clone(), calls.clone()));
    // A connection of its own for each call, trusting just what the configuration says.
    let fresh = {
        let (over, ports) = (over.clone(), ports.clone());
        let client = client.clone();
        tokio::spawn(async move {
            let all: Api<k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration> = Api::all(client);
            let mut handshakes = 0_usize;
            while !over.load(Ordering::Relaxed) {
                let found = all
                    .get("second")
                    .await
                    .unwrap()
                    .webhooks
                    .unwrap()
                    .remove(0)
                    .client_config
                    .ca_bundle
                    .unwrap();
                let trusted = reqwest::Certificate::from_pem_bundle(&found.0).unwrap();
                let https = reqwest::Client::builder()
                    .no_proxy()
                    .tls_certs_only(trusted)
                    .build()
                    .unwrap();
                for port in &ports {
                    let got = https.get(format!("https://127.0.0.1:{port}/inject")).send().await;
                    got.map_err(|error| format!("{error:?}"))?;
                    handshakes += 1;
                }
            }
            Ok::<usize, String>(handshakes)
        })
    };
    let started = tokio::time::Instant::now();
    eventually(
        Duration::from_secs(90),
        "four authorities, one after the other",
        async || {
            for pem in bundle("second").await.split_inclusive("-----END CERTIFICATE-----\n") {
                seen.insert(pem.to_owned());
            }
            if seen.len() >= 4 || load.is_finished() || fresh.is_finished() {
                Ok(())
            } else {
                Err(seen.len())
            }
        },
    )
    .await;
    over.store(true, Ordering::Relaxed);
    load.await.unwrap().unwrap();
    let handshakes = fresh.await.unwrap().unwrap();
    stop.cancel();
    assert!(seen.len() >= 4, "{}", seen.len());
    assert!(
        handshakes > 100 && calls.load(Ordering::Relaxed) > 100,
        "{handshakes} {calls:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(90));
}
