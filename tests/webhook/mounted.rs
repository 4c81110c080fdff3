//! A certificate that is mounted, as cert-manager or the cluster's admin keeps it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lab::gtm::Operator;
use lab::mounted;
use lab::process::{Folder, Port};
use lab::wait::eventually;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use reqwest::tls::TlsInfo;
use serde_json::json;

use crate::certificates::call;
use crate::rotation::now;
use crate::world::{OWN, SOON, World};

/// A chain and its key, PEM.
struct Pair {
    certificate: String,
    key: String,
}

fn params(until: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let seconds = u64::try_from(until.as_second()).unwrap();
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    params
}

/// A time that is far enough away.
fn later() -> Timestamp {
    now() + SignedDuration::from_hours(1)
}

/// A certificate for loopback, signed by itself.
fn self_signed() -> Pair {
    let key = KeyPair::generate().unwrap();
    Pair {
        certificate: params(later()).self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

/// An authority, and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut own = CertificateParams::default();
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        own.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Authority(CertifiedIssuer::self_signed(own, KeyPair::generate().unwrap()).unwrap())
    }

    fn leaf(&self, until: Timestamp) -> Pair {
        let key = KeyPair::generate().unwrap();
        Pair {
            certificate: params(until).signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// Puts a pair in place as the kubelet does.
fn swap(folder: &Folder, pair: &Pair) {
    let files = [("tls.crt", &pair.certificate), ("tls.key", &pair.key)];
    mounted::swap(folder.path(), &files.map(|(name, content)| (name, content.as_bytes()))).unwrap();
}

/// Another replica, which serves what is in the folder.
async fn replica(world: &World, port: &Port, folder: &Folder) -> Operator {
    let flag = format!("--webhook-cert-path={}", folder.path().display());
    world.replica(port.number()).arg(flag).start().await.unwrap()
}

/// What is served over a new connection that trusts these certificates alone, DER.
pub async fn served(port: u16, trusted: &str) -> Result<Vec<u8>, String> {
    let trusted = reqwest::Certificate::from_pem_bundle(trusted.as_bytes()).unwrap();
    let https = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only(trusted)
        .tls_info(true)
        .build()
        .unwrap();
    let url = format!("https://127.0.0.1:{port}/inject");
    let answer = https.get(url).send().await.map_err(|error| format!("{error:?}"))?;
    let info = answer.extensions().get::<TlsInfo>().unwrap();
    Ok(info.peer_certificate().unwrap().to_owned())
}

fn der(pair: &Pair) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject;
    let der = rustls::pki_types::CertificateDer::from_pem_slice(pair.certificate.as_bytes());
    der.unwrap().to_vec()
}

#[tokio::test]
async fn a_mounted_certificate_is_served_and_its_successor_too_without_a_restart() {
    let world = World::new().await;
    let (folder, port) = (Folder::new().unwrap(), Port::take().unwrap());
    let bundle = world.bundle().await;
    let (first, second) = (self_signed(), self_signed());
    swap(&folder, &first);
    let replica = replica(&world, &port, &folder).await;
    let serves = async |pair: &Pair| served(port.number(), &pair.certificate).await.is_ok();
    assert!(serves(&first).await && !serves(&second).await);
    // Half of a pair is not used; the former stays.
    let mixed = Pair {
        certificate: second.certificate.clone(),
        key: first.key.clone(),
    };
    swap(&folder, &mixed);
    eventually(SOON, "the wrong pair is seen", async || {
        replica
            .logs()
            .contains("the former certificate stays in use")
            .then_some(())
            .ok_or("not yet")
    })
    .await;
    assert!(serves(&first).await);
    swap(&folder, &second);
    eventually(SOON, "the new one is served", async || {
        serves(&second).await.then_some(()).ok_or("the former is")
    })
    .await;
    assert_eq!(
        world.bundle().await,
        bundle,
        "with a mounted certificate, no bundle is written"
    );
}

/// Handshakes without a pause that trust this authority alone; how many there were.
async fn shake(port: Arc<Port>, trusted: String, over: Arc<AtomicBool>) -> Result<usize, String> {
    let mut handshakes = 0;
    while !over.load(Ordering::Relaxed) {
        served(port.number(), &trusted).await?;
        handshakes += 1;
    }
    Ok(handshakes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_the_same_authority_renews_fails_no_call_with_the_bundle_of_before() {
    let world = World::new().await;
    world.operator.terminate(Duration::from_secs(9)).await.unwrap();
    let (folder, port) = (Folder::new().unwrap(), Arc::new(Port::take().unwrap()));
    let (authority, over) = (Authority::new(), Arc::new(AtomicBool::new(false)));
    let leaves = [
        authority.leaf(later()),
        authority.leaf(later()),
        authority.leaf(later()),
    ];
    swap(&folder, &leaves[0]);
    let _replica = replica(&world, &port, &folder).await;
    let bundle = k8s_openapi::ByteString(authority.0.pem().into_bytes());
    let trust = json!([
        {"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle},
        {"op": "replace", "path": "/webhooks/0/clientConfig/url", "value": format!("https://127.0.0.1:{}/inject", port.number())},
    ]);
    let (kind, trust) = ("mutatingwebhookconfiguration", trust.to_string());
    let patch = ["patch", kind, OWN, "--type=json", "-p", &trust];
    world.cluster.kubectl(&patch).await.unwrap();
    world.answers().await;

    let calls = Arc::new(AtomicUsize::new(0));
    let (client, namespace) = (world.client.clone(), world.namespace.clone());
    let load = tokio::spawn(call(client, namespace, over.clone(), calls.clone()));
    let handshakes = tokio::spawn(shake(port.clone(), authority.0.pem(), over.clone()));
    for (n, leaf) in leaves.iter().enumerate() {
        if n > 0 {
            swap(&folder, leaf);
        }
        eventually(SOON, "this one is served", async || {
            let found = served(port.number(), &authority.0.pem()).await?;
            let same = found == der(leaf);
            same.then_some(()).ok_or_else(|| "another is".to_owned())
        })
        .await;
        let before = calls.load(Ordering::Relaxed);
        eventually(SOON, "more calls", async || {
            let more = calls.load(Ordering::Relaxed) > before + 20 || load.is_finished();
            more.then_some(()).ok_or("too few")
        })
        .await;
    }
    over.store(true, Ordering::Relaxed);
    load.await.unwrap().unwrap();
    assert!(handshakes.await.unwrap().unwrap() > 100);
    assert_eq!(world.bundle().await, authority.0.pem());
}

#[tokio::test]
async fn a_mounted_certificate_that_is_over_is_said_and_not_ready_until_it_is_renewed() {
    let world = World::new().await;
    let (folder, port) = (Folder::new().unwrap(), Port::take().unwrap());
    let authority = Authority::new();
    swap(&folder, &authority.leaf(now() + SignedDuration::from_secs(20)));
    let replica = replica(&world, &port, &folder).await;
    assert!(served(port.number(), &authority.0.pem()).await.is_ok());
    eventually(Duration::from_secs(60), "it is not ready", async || {
        replica.probe("readyz").await.map_or(Ok(()), Err)
    })
    .await;
    let told = replica.logs();
    assert!(
        told.contains("the mounted certificate is not valid now: renew it"),
        "{told}"
    );
    assert!(served(port.number(), &authority.0.pem()).await.is_err());
    swap(&folder, &authority.leaf(later()));
    eventually(SOON, "it is ready again", async || {
        replica.probe("readyz").await.map_err(|error| error.to_string())
    })
    .await;
    assert!(served(port.number(), &authority.0.pem()).await.is_ok());
}
