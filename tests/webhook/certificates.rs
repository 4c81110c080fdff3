//! The webhook's certificates, through the API server that has to trust them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use lab::gtm::configurations;
use lab::process::Port;
use lab::wait::eventually;
use serde_json::json;

use crate::world::{OWN, SOON, World, pod};

const CA: &str = "github-token-manager-webhook-ca";
/// The mutating webhook's own name.
const HOOK: &str = "start-github-token-manager-or-remove-its-annotations.github.as-code.io";

fn secrets(client: &Client) -> Api<Secret> {
    Api::namespaced(client.clone(), OWN)
}

#[tokio::test]
async fn two_replicas_that_start_at_once_share_one_authority() {
    let world = World::new().await;
    // Both begin where there is nothing: the first replica is ended, and all that it made is taken away.
    world.operator.terminate(Duration::from_secs(9)).await.unwrap();
    secrets(&world.client)
        .delete(CA, &DeleteParams::default())
        .await
        .unwrap();
    let reset = configurations(world.port.number()).unwrap();
    world
        .cluster
        .kubectl(&[
            "delete",
            "mutatingwebhookconfiguration,validatingwebhookconfiguration",
            OWN,
        ])
        .await
        .unwrap();
    world.cluster.apply(&reset).await.unwrap();
    let ports = [world.port.number(), Port::take().unwrap().number()];
    let (one, other) = tokio::join!(
        world.replica(ports[0]).leader_elect(true).start(),
        world.replica(ports[1]).leader_elect(true).start()
    );
    let replicas = [one.unwrap(), other.unwrap()];
    world.answers().await;
    // Only one of them leads, but what either serves is what the configuration trusts.
    let client = world.https().await;
    for port in ports {
        let got = client
            .get(format!("https://127.0.0.1:{port}/inject"))
            .send()
            .await
            .unwrap();
        assert_eq!(got.status(), 405);
    }
    let created: usize = replicas
        .iter()
        .map(|replica| {
            replica.logs().matches("step=Create").count() + replica.logs().matches("\"step\":\"Create\"").count()
        })
        .sum();
    assert!((1..=2).contains(&created), "{created}");
    assert_eq!(world.bundle().await.matches("BEGIN CERTIFICATE").count(), 1);
}

#[tokio::test]
async fn only_the_bundle_of_our_own_configurations_is_ever_written() {
    let world = World::new().await;
    let foreign = configurations(world.port.number())
        .unwrap()
        .replace("name: github-token-manager\n  labels:", "name: foreign\n  labels:")
        .replace(
            "github.as-code.io/webhook-configuration: \"true\"",
            "example.com/x: other",
        )
        .replace("failurePolicy: Fail", "failurePolicy: Ignore");
    world.cluster.apply(&foreign).await.unwrap();
    let bundle = world.bundle().await;
    // Someone takes the bundle away: it is back within a moment, and nothing else is touched.
    let path = "/webhooks/0/clientConfig/caBundle";
    let gone = json!([{"op": "remove", "path": path}]);
    world
        .cluster
        .kubectl(&[
            "patch",
            "mutatingwebhookconfiguration",
            OWN,
            "--type=json",
            "-p",
            &gone.to_string(),
        ])
        .await
        .unwrap();
    eventually(SOON, "the bundle is back", async || {
        let found = world.bundle().await;
        if found == bundle { Ok(()) } else { Err(found) }
    })
    .await;
    let kind = "mutatingwebhookconfiguration";
    let fields = world
        .cluster
        .kubectl(&["get", kind, OWN, "-o", "json", "--show-managed-fields"])
        .await
        .unwrap();
    let fields: serde_json::Value = serde_json::from_str(&fields).unwrap();
    let ours = fields["metadata"]["managedFields"].as_array().unwrap().iter();
    let ours: Vec<_> = ours
        .filter(|entry| entry["manager"] == "github-token-manager-webhook")
        .collect();
    assert_eq!(ours.len(), 1);
    let text = ours[0]["fieldsV1"].to_string();
    assert!(
        text.contains("f:caBundle") && !text.contains("f:rules") && !text.contains("f:url"),
        "{text}"
    );
    let foreign = world
        .cluster
        .kubectl(&[
            "get",
            kind,
            "foreign",
            "-o",
            "jsonpath={.webhooks[0].clientConfig.caBundle}",
        ])
        .await
        .unwrap();
    assert_eq!(foreign, "");
}

#[tokio::test]
async fn a_secret_that_takes_no_authority_is_named_with_the_cure_which_helps() {
    let world = World::new().await;
    world.operator.terminate(Duration::from_secs(9)).await.unwrap();
    let fixed = json!({"metadata": {"name": CA}, "immutable": true, "data": {}});
    let fixed: Secret = serde_json::from_value(fixed).unwrap();
    secrets(&world.client)
        .delete(CA, &DeleteParams::default())
        .await
        .unwrap();
    secrets(&world.client)
        .create(&PostParams::default(), &fixed)
        .await
        .unwrap();
    let replica = world.replica(world.port.number()).spawn().unwrap();
    eventually(SOON, "the cure", async || {
        let logs = replica.logs();
        let cure = format!("the Secret {OWN}/{CA} does not take what is to be in it");
        let told = logs.contains(&cure) && logs.contains("delete that Secret, and it is made anew");
        told.then_some(()).ok_or(logs)
    })
    .await;
    secrets(&world.client)
        .delete(CA, &DeleteParams::default())
        .await
        .unwrap();
    world.answers().await;
}

#[tokio::test]
async fn where_cert_manager_writes_the_bundle_as_well_whoever_it_trusts_stays_trusted() {
    let world = World::new().await;
    let (kind, ours) = ("mutatingwebhookconfiguration", world.bundle().await);
    let foreign = rcgen::generate_simple_self_signed(vec!["example".to_owned()])
        .unwrap()
        .cert
        .pem();
    let trust = async |pem: &str| {
        let bundle = json!({"metadata": {"annotations": {"cert-manager.io/inject-ca-from": "a/b"}},
            "webhooks": [{"name": HOOK, "clientConfig": {"caBundle": ByteString(pem.as_bytes().to_vec())}}]});
        let patch = ["patch", kind, OWN, "--type=strategic", "-p", &bundle.to_string()];
        world.cluster.kubectl(&patch).await.unwrap();
    };
    // As an injector that adds writes it, and as one that replaces.
    for written in [format!("{ours}{foreign}"), foreign.clone()] {
        trust(&written).await;
        eventually(SOON, "both are trusted", async || {
            let found = world.bundle().await;
            let both = found.contains(&ours) && found.contains(&foreign);
            both.then_some(()).ok_or(found)
        })
        .await;
        world.answers().await;
    }
    let annotation = "cert-manager.io/inject-ca-from-";
    world
        .cluster
        .kubectl(&["annotate", kind, OWN, annotation])
        .await
        .unwrap();
    eventually(SOON, "ours alone is trusted", async || {
        let found = world.bundle().await;
        (found == ours).then_some(()).ok_or(found)
    })
    .await;
}

/// Sends pods through the API server until told otherwise; the first failure.
pub async fn call(
    client: Client,
    namespace: String,
    over: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
) -> Result<(), String> {
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client, &namespace);
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    while !over.load(Ordering::Relaxed) {
        let error = pods
            .create(&dry, &pod("p", &[("token", "no-such-token")], json!({})))
            .await
            .map(drop)
            .unwrap_err();
        let text = error.to_string();
        if !text.contains("does not exist") {
            return Err(text);
        }
        calls.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

#[tokio::test]
async fn a_deleted_or_broken_secret_is_made_anew_without_one_failed_call() {
    let world = World::new().await;
    let (over, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = tokio::spawn(call(
        world.client.clone(),
        world.namespace.clone(),
        over.clone(),
        calls.clone(),
    ));
    let api = secrets(&world.client);
    let first = api.get(CA).await.unwrap().data.unwrap()["ca.crt"].clone();
    api.delete(CA, &DeleteParams::default()).await.unwrap();
    let made_anew = async |former: &ByteString| {
        eventually(SOON, "another authority that is trusted", async || {
            let secret = api
                .get_opt(CA)
                .await
                .map_err(|error| error.to_string())?
                .ok_or("none")?;
            let pem = secret
                .data
                .unwrap_or_default()
                .remove("ca.crt")
                .ok_or("no certificate")?;
            let text = String::from_utf8_lossy(&pem.0).into_owned();
            let trusted = world.bundle().await.contains(&text) && text.contains("END CERTIFICATE");
            if trusted && pem != *former {
                Ok(pem)
            } else {
                Err("the former".to_owned())
            }
        })
        .await
    };
    let second = made_anew(&first).await;
    let truncated = json!({"data": {"ca.crt": ByteString(second.0[..100].to_vec())}});
    api.patch(CA, &PatchParams::default(), &Patch::Merge(&truncated))
        .await
        .unwrap();
    let third = made_anew(&second).await;
    let garbled = json!({"data": {"ca.key": ByteString(b"no key".to_vec())}});
    api.patch(CA, &PatchParams::default(), &Patch::Merge(&garbled))
        .await
        .unwrap();
    let third = made_anew(&third).await;
    let logs = world.operator.logs();
    assert!(
        logs.contains("ca.crt and ca.key of the Secret github-token-manager-webhook-ca cannot be used: no PEM key"),
        "{logs}"
    );
    let garbage = json!({"data": {"ca.crt": "AAAA", "ca.key": "/////w==", "next.crt": "AAAA", "next.key": null, "previous.crt": "AAAA"}});
    api.patch(CA, &PatchParams::default(), &Patch::Merge(&garbage))
        .await
        .unwrap();
    made_anew(&third).await;
    // A replica that starts now has no other than the newest.
    let client = world.https().await;
    let port = Port::take().unwrap();
    let _replica = world.replica(port.number()).start().await.unwrap();
    assert_eq!(
        client
            .get(format!("https://127.0.0.1:{}/inject", port.number()))
            .send()
            .await
            .unwrap()
            .status(),
        405
    );
    let before = calls.load(Ordering::Relaxed);
    eventually(SOON, "more calls", async || {
        let now = calls.load(Ordering::Relaxed);
        if now > before + 20 || load.is_finished() {
            Ok(())
        } else {
            Err(now)
        }
    })
    .await;
    over.store(true, Ordering::Relaxed);
    load.await.unwrap().unwrap();
}
