//! Reviews as fast as they go: bytes that were made before, over connections that are kept.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Failed;

/// Whom reviews are sent to.
pub struct Target {
    pub port: u16,
    /// Who signed its certificate, as PEM.
    pub ca: String,
    pub path: &'static str,
    /// By which a pod asks it.
    pub annotations: &'static [(&'static str, &'static str)],
    /// Whether it injects something.
    pub patches: bool,
}

/// Bytes that an answer has room in.
const BUFFER: usize = 64 * 1024;

/// What was measured.
#[derive(Default)]
pub struct Load {
    millis: Vec<f64>,
    seconds: f64,
    pub errors: usize,
}

impl Load {
    pub fn add(&mut self, other: Load) {
        self.millis.extend(other.millis);
        self.seconds += other.seconds;
        self.errors += other.errors;
    }

    pub fn rate(&self) -> f64 {
        self.millis.len() as f64 / self.seconds
    }

    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.millis.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = (sorted.len() as f64 * share) as usize;
        sorted
            .get(at.min(sorted.len().saturating_sub(1)))
            .copied()
            .unwrap_or(f64::NAN)
    }
}

/// A review of a pod of 4 containers, about 12 kB.
fn review(annotations: &[(&str, &str)]) -> Vec<u8> {
    let annotations: serde_json::Map<String, Value> = annotations
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    let container = |n: usize| {
        let env: Vec<Value> = (0..32)
            .map(|v| json!({"name": format!("SETTING_{v}"), "value": "x".repeat(40)}))
            .collect();
        json!({"name": format!("c{n}"), "image": "registry.example.com/team/app:1.2.3", "env": env,
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
            "volumeMounts": [{"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}],
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent",
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}})
    };
    let containers: Vec<Value> = (0..4).map(container).collect();
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "web-", "annotations": annotations, "labels": {"app": "web"}},
        "spec": {"containers": containers, "restartPolicy": "Always", "serviceAccountName": "default",
            "volumes": [{"name": "kube-api-access", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}]}}]}});
    let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {"uid": "u",
        "kind": {"group": "", "version": "v1", "kind": "Pod"}, "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "team", "operation": "CREATE", "object": pod, "dryRun": false}});
    serde_json::to_vec(&review).unwrap_or_default()
}

/// Sends reviews for so long over so many connections.
pub async fn run(target: &Target, connections: usize, length: Duration) -> Result<Load, Failed> {
    let body = review(target.annotations);
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        target.path,
        body.len()
    );
    let request: Arc<[u8]> = [head.as_bytes(), &body].concat().into();
    let mut opened = connect(target, connections).await?;
    for stream in &mut opened {
        check(target, stream, &request).await?;
    }
    let started = Instant::now();
    let mut senders = JoinSet::new();
    for stream in opened {
        senders.spawn(send(stream, request.clone(), started + length));
    }
    let mut load = Load::default();
    while let Some(sent) = senders.join_next().await {
        load.add(sent?);
    }
    load.seconds = started.elapsed().as_secs_f64();
    Ok(load)
}

async fn connect(target: &Target, connections: usize) -> Result<Vec<TlsStream<TcpStream>>, Failed> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(target.ca.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let mut opened = Vec::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(("127.0.0.1", target.port)).await?;
        stream.set_nodelay(true)?;
        opened.push(connector.connect(ServerName::try_from("127.0.0.1")?, stream).await?);
    }
    Ok(opened)
}

/// Whether what is measured is what it should be: under load, nobody reads the answers.
async fn check(target: &Target, stream: &mut TlsStream<TcpStream>, request: &[u8]) -> Result<(), Failed> {
    let mut buffer = vec![0; BUFFER];
    let whole = exchange(stream, request, &mut buffer).await?;
    let answer = String::from_utf8_lossy(buffer.get(..whole).unwrap_or_default());
    if answer.contains(r#""allowed":true"#) && answer.contains(r#""patch":"#) == target.patches {
        return Ok(());
    }
    Err(format!("{} does not answer as it should: {answer}", target.path).into())
}

async fn send(mut stream: TlsStream<TcpStream>, request: Arc<[u8]>, end: Instant) -> Load {
    let mut load = Load::default();
    let mut buffer = vec![0; BUFFER];
    while Instant::now() < end {
        let started = Instant::now();
        match exchange(&mut stream, &request, &mut buffer).await {
            Ok(_) => load.millis.push(started.elapsed().as_secs_f64() * 1000.0),
            Err(_) => {
                load.errors += 1;
                break;
            }
        }
    }
    load
}

/// Sends a request; how long its answer is, which is in the buffer then.
async fn exchange(stream: &mut TlsStream<TcpStream>, request: &[u8], buffer: &mut [u8]) -> Result<usize, Failed> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let (mut filled, mut whole) = (0, None);
    loop {
        let read = stream.read(buffer.get_mut(filled..).unwrap_or_default()).await?;
        if read == 0 {
            return Err("the connection ended".into());
        }
        filled += read;
        let answer = buffer.get(..filled).unwrap_or_default();
        if whole.is_none() {
            whole = length(answer)?;
        }
        if let Some(whole) = whole.filter(|whole| filled >= *whole) {
            return Ok(whole);
        }
    }
}

/// Bytes of an answer with its head; `None`: that is not known yet. The body is not looked at: the load must be cheap, since
/// it shares the machine with what it measures.
fn length(answer: &[u8]) -> Result<Option<usize>, Failed> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(answer.get(..end).unwrap_or_default())?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(head.to_owned().into());
    }
    let header = |wanted: &str| {
        let mut pairs = head.lines().filter_map(|line| line.split_once(": "));
        let found = pairs.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value)
    };
    match header("content-length") {
        Some(length) => Ok(Some(end + 4 + length.parse::<usize>()?)),
        // In chunks (vault-k8s), the last of which is empty.
        None => Ok(answer.ends_with(b"\r\n0\r\n\r\n").then_some(answer.len())),
    }
}
