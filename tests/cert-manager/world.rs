//! A cluster with cert-manager, what its admin applies, and the operator with the certificate that comes of it.

use std::path::Path;
use std::time::Duration;

use github_token_manager::api::Token;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use lab::cert_manager::CertManager;
use lab::cluster::Cluster;
use lab::github::{GitHub, Settings};
use lab::gtm::{Builder, Operator};
use lab::helm::template;
use lab::mounted;
use lab::process::{Folder, Port};
use lab::wait::eventually;
use reqwest::tls::TlsInfo;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};

/// How long anything may take.
pub const SOON: Duration = Duration::from_secs(60);
/// The operator's namespace, and the name of both configurations.
pub const OWN: &str = "github-token-manager";
/// The Certificate of the webhook, and its Secret.
pub const LEAF: [&str; 2] = ["github-token-manager-webhook", "github-token-manager-webhook-tls"];
/// The Certificate of the authority, and its Secret.
pub const ROOT: [&str; 2] = [
    "github-token-manager-webhook-root",
    "github-token-manager-webhook-root-tls",
];
/// Whom the API server asks for.
const HOST: &str = "github-token-manager-webhook.github-token-manager.svc";

/// Everything a test needs. Dropping it ends all of it.
pub struct World {
    pub cluster: Cluster,
    pub client: Client,
    pub operator: Operator,
    pub namespace: String,
    /// One that serves nothing yet.
    pub replica: Builder,
    applied: Folder,
    mounted: Folder,
    port: Port,
    cert_manager: CertManager,
    _github: GitHub,
    _folder: Folder,
}

/// What a configuration says of whom it trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// PEM.
    pub bundle: String,
    /// It grows with each change of what is called, and how.
    pub generation: Option<i64>,
    /// Who has written the bundle.
    pub writers: Vec<String>,
}

/// A path below the package's folder.
pub fn path(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    path.display().to_string()
}

/// What the chart makes with these further arguments.
pub fn chart(arguments: &[&str]) -> String {
    template("webhook: {certManager: {enabled: true}}", arguments).unwrap()
}

/// A kustomization of this one, or this file, for a cluster without a network: its Service leads to a port of loopback.
fn overlay(folder: &Folder, resource: &str, port: u16) {
    let text = json!({"resources": [resource], "patches": [
        {"target": {"kind": "Service"}, "patch": json!([
            {"op": "add", "path": "/spec/type", "value": "ExternalName"},
            {"op": "add", "path": "/spec/externalName", "value": "127.0.0.1"},
        ]).to_string()},
        {"target": {"group": "admissionregistration.k8s.io"}, "patch": json!([
            {"op": "replace", "path": "/webhooks/0/clientConfig/service/port", "value": port},
        ]).to_string()},
    ]});
    folder.write("kustomization.yaml", text.to_string()).unwrap();
}

impl World {
    /// With `kubectl apply -k certs`, and cert-manager with these feature gates.
    pub async fn with_certs(feature_gates: &str) -> World {
        let applied = Folder::new().unwrap();
        // Kustomize takes no other folder by its whole path.
        let up = "../".repeat(applied.path().components().count() - 1);
        let certs = format!("{up}{}", path("certs").trim_start_matches('/'));
        World::new(applied, &certs, feature_gates).await
    }

    /// With what the chart makes of the webhook.
    pub async fn with_chart() -> World {
        let applied = Folder::new().unwrap();
        let made = chart(&["--show-only", "templates/webhook.yaml"]);
        applied.write("chart.yaml", made).unwrap();
        World::new(applied, "chart.yaml", "").await
    }

    async fn new(applied: Folder, resource: &str, feature_gates: &str) -> World {
        let crds = github_token_manager::cli::crds::yaml().unwrap();
        let cluster = Cluster::builder().with_crds(crds).start().await.unwrap();
        let rights = std::fs::read_to_string(path("deploy/rbac.yaml")).unwrap();
        cluster.apply(&rights).await.unwrap();
        let cert_manager = CertManager::start(&cluster, feature_gates).await.unwrap();
        let (github, folder) = (
            GitHub::start(Settings::default()).await.unwrap(),
            Folder::new().unwrap(),
        );
        let key = folder.write("key.pem", github.key().unwrap().pkcs1_pem()).unwrap();
        let config = github.gtm_yaml("file", key.display());
        let config = folder.write("gtm.yaml", config).unwrap();
        let (port, mounted) = (Port::take().unwrap(), Folder::new().unwrap());
        overlay(&applied, resource, port.number());
        let kubeconfig = cluster.service_account(OWN, OWN).await.unwrap();
        let replica = Operator::builder(env!("CARGO_BIN_EXE_gtm"), &kubeconfig)
            .config(&config)
            .namespace(OWN);
        let operator = replica
            .clone()
            .leader_elect(false)
            .arg(format!("--webhook-bind-address={}", port.address()))
            .arg(format!("--webhook-cert-path={}", mounted.path().display()));
        let client = cluster.client().await.unwrap();
        let namespace = cluster.namespace("test").await.unwrap();
        apply(&cluster, &applied).await;
        let leaf = issued(&client, &cert_manager, None).await;
        mount(&mounted, &leaf);
        let world = World {
            operator: operator.start().await.unwrap(),
            replica,
            cluster,
            client,
            namespace,
            applied,
            mounted,
            port,
            cert_manager,
            _github: github,
            _folder: folder,
        };
        world.trusted(&leaf).await;
        world.token("ci").await;
        world
    }

    /// Applies all of it once more.
    pub async fn apply_again(&self) {
        apply(&self.cluster, &self.applied).await;
    }

    /// The Secret as it is.
    pub async fn secret(&self, name: &str) -> Secret {
        secrets(&self.client).get(name).await.unwrap()
    }

    /// Waits for another certificate of the webhook than this one.
    pub async fn successor(&self, former: &Secret) -> Secret {
        issued(&self.client, &self.cert_manager, Some(former)).await
    }

    /// What the kubelet does, sooner or later.
    pub fn mount(&self, leaf: &Secret) {
        mount(&self.mounted, leaf);
    }

    /// Waits until both configurations trust the authority of this certificate.
    pub async fn trusted(&self, leaf: &Secret) {
        let authority = text(leaf, "ca.crt");
        eventually(SOON, "both bundles have the authority", async || {
            let found = self.trust().await?;
            let good = found.iter().all(|trust| trust.bundle.contains(&authority));
            let logs = || self.cert_manager.logs().map_err(|error| error.to_string());
            good.then_some(())
                .ok_or_else(|| format!("{found:?}\n{}", logs().unwrap_or_else(|error| error)))
        })
        .await;
    }

    /// Whom the mutating and the validating configuration trust.
    pub async fn trust(&self) -> Result<[Trust; 2], String> {
        let of = async |kind: &str| {
            let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
            let all: Api<DynamicObject> = Api::all_with(self.client.clone(), &ApiResource::from_gvk(&kind));
            let found = all.get(OWN).await.map_err(|error| error.to_string())?;
            let bundle = found.data["webhooks"][0]["clientConfig"]["caBundle"].clone();
            let bundle: Option<ByteString> = serde_json::from_value(bundle).map_err(|error| error.to_string())?;
            let wrote = found.managed_fields().iter().filter(|entry| {
                let fields = entry.fields_v1.as_ref().map(|fields| fields.0.to_string());
                fields.is_some_and(|fields| fields.contains("f:caBundle"))
            });
            Ok::<_, String>(Trust {
                writers: wrote.filter_map(|entry| entry.manager.clone()).collect(),
                generation: found.metadata.generation,
                bundle: String::from_utf8(bundle.unwrap_or_default().0).map_err(|error| error.to_string())?,
            })
        };
        let mutating = of("MutatingWebhookConfiguration").await?;
        Ok([mutating, of("ValidatingWebhookConfiguration").await?])
    }

    /// What is served over a new connection to the webhook's own name that trusts these certificates alone, DER.
    pub async fn served(&self, trusted: &str) -> Result<Vec<u8>, String> {
        let trusted = reqwest::Certificate::from_pem_bundle(trusted.as_bytes()).map_err(|error| error.to_string())?;
        let https = reqwest::Client::builder()
            .no_proxy()
            .resolve(HOST, self.port.address())
            .tls_certs_only(trusted)
            .tls_info(true)
            .build()
            .map_err(|error| error.to_string())?;
        let url = format!("https://{HOST}:{}/inject", self.port.number());
        let answer = https.get(url).send().await.map_err(|error| format!("{error:?}"))?;
        let info = answer.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate);
        Ok(info.ok_or("no certificate")?.to_owned())
    }

    /// What the API server says of a pod with these annotations, without keeping it.
    pub async fn dry_run(&self, annotations: &[(&str, &str)]) -> Result<Pod, String> {
        let annotations: std::collections::BTreeMap<_, _> = annotations.iter().copied().collect();
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "annotations": annotations},
            "spec": {"containers": [{"name": "app", "image": "example/app:1"}]}
        }))
        .unwrap();
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        pods.create(&dry, &pod).await.map_err(|error| error.to_string())
    }

    fn tokens(&self) -> Api<Token> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies a Token; what the API server says when it refuses.
    pub async fn store(&self, name: &str, spec: Value) -> Result<(), String> {
        let kind = "Token";
        let object =
            json!({"apiVersion": "github.as-code.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        let params = PatchParams::apply("test");
        let stored = self.tokens().patch(name, &params, &Patch::Apply(&object)).await;
        stored.map(drop).map_err(|error| error.to_string())
    }

    /// A Token that is ready.
    async fn token(&self, name: &str) {
        self.store(name, json!({})).await.unwrap();
        let tokens = self.tokens();
        eventually(SOON, "the Token is ready", async || {
            let status = tokens.get(name).await.map_err(|error| error.to_string())?.status;
            let status = status.unwrap_or_default();
            let ready = status.condition("Ready").is_some_and(|ready| ready.status == "True");
            ready.then_some(()).ok_or(format!("{status:?}"))
        })
        .await;
    }
}

/// A file of a Secret.
pub fn text(secret: &Secret, file: &str) -> String {
    let found = secret.data.as_ref().and_then(|data| data.get(file));
    String::from_utf8(found.map(|content| content.0.clone()).unwrap_or_default()).unwrap()
}

/// The first certificate of a Secret, DER.
pub fn der(secret: &Secret) -> Vec<u8> {
    let pem = text(secret, "tls.crt");
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

async fn apply(cluster: &Cluster, folder: &Folder) {
    let folder = folder.path().display().to_string();
    cluster.kubectl(&["apply", "-k", &folder]).await.unwrap();
}

pub fn secrets(client: &Client) -> Api<Secret> {
    Api::namespaced(client.clone(), OWN)
}

fn mount(folder: &Folder, secret: &Secret) {
    let data = secret.data.iter().flatten();
    let files: Vec<(&str, &[u8])> = data
        .map(|(name, content)| (name.as_str(), content.0.as_slice()))
        .collect();
    mounted::swap(folder.path(), &files).unwrap();
}

/// Waits for a certificate of the webhook that is another than the former.
async fn issued(client: &Client, cert_manager: &CertManager, former: Option<&Secret>) -> Secret {
    let former = former.map(|former| text(former, "tls.crt"));
    eventually(SOON, "a certificate of the webhook", async || {
        let logs = cert_manager.logs().map_err(|error| error.to_string())?;
        let found = secrets(client).get_opt(LEAF[1]).await;
        let found = found.map_err(|error| error.to_string())?.ok_or(logs)?;
        let files = ["tls.crt", "tls.key", "ca.crt"].map(|file| text(&found, file));
        let good = files.iter().all(|file| !file.is_empty()) && Some(&files[0]) != former.as_ref();
        good.then_some(found).ok_or_else(|| "the former".to_owned())
    })
    .await
}
