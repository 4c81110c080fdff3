//! A cluster with both webhook configurations, a GitHub, and the operator with no more rights than deploy/rbac.yaml gives.

use std::path::{Path, PathBuf};
use std::time::Duration;

use github_token_manager::api::Token;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use lab::cluster::{Builder as ClusterBuilder, Cluster, Leased};
use lab::github::{GitHub, Settings};
use lab::gtm::{Builder, Operator, configurations};
use lab::process::{Folder, Port};
use lab::wait::eventually;
use serde_json::{Value, json};

/// How long anything may take that is not waited for on purpose.
pub const SOON: Duration = Duration::from_secs(30);
/// The operator's own namespace.
pub const OWN: &str = "github-token-manager";

/// Everything a test needs. Dropping it ends all of it, the operator before the cluster is another test's.
pub struct World {
    pub operator: Operator,
    pub client: Client,
    pub github: GitHub,
    pub namespace: String,
    pub port: Port,
    kubeconfig: PathBuf,
    pub folder: Folder,
    pub cluster: Leased,
}

pub fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}

/// A cluster that knows our kinds.
pub fn cluster() -> ClusterBuilder {
    let crds = github_token_manager::cli::crds::yaml().expect("CRDs");
    Cluster::builder().with_crds(crds)
}

impl World {
    /// A world whose webhook answers.
    pub async fn new() -> World {
        World::with(cluster(), Settings::default(), |operator| operator).await
    }

    /// A world whose parts are made to measure.
    pub async fn with(cluster: ClusterBuilder, settings: Settings, make: impl FnOnce(Builder) -> Builder) -> World {
        let cluster = cluster.lease().await.expect("a cluster");
        cluster
            .apply(&read("deploy/rbac.yaml"))
            .await
            .expect("the operator's rights");
        let kubeconfig = cluster.service_account(OWN, OWN).await.expect("the operator's account");
        let github = GitHub::start(settings).await.expect("the stand-in starts");
        let folder = Folder::new().expect("a folder");
        let port = Port::take().expect("a port");
        let pem = github.key().expect("the App has a key").pkcs1_pem();
        let key = folder.write("key.pem", pem.as_bytes()).expect("the key is written");
        let mut config = github.gtm_yaml("file", key.display());
        if let Some(ca) = github.ca_pem() {
            let ca = folder.write("github-ca.pem", ca.as_bytes()).expect("the CA is written");
            config += &format!("ca_bundle: {}\n", ca.display());
        }
        let config = folder
            .write("gtm.yaml", config.as_bytes())
            .expect("the configuration is written");
        let builder = replica(&kubeconfig, &config, port.number());
        cluster
            .apply(&configurations(port.number()).expect("the manifests"))
            .await
            .expect("the configurations are accepted");
        let operator = make(builder).start().await.expect("the operator starts");
        let client = cluster.client().await.expect("a client");
        let namespace = cluster.namespace("test").await.expect("a namespace");
        let world = World {
            operator,
            client,
            github,
            namespace,
            port,
            kubeconfig,
            folder,
            cluster,
        };
        world.answers().await;
        world
    }

    /// Another replica, at this port.
    pub fn replica(&self, port: u16) -> Builder {
        replica(&self.kubeconfig, &self.folder.path().join("gtm.yaml"), port)
    }

    /// Waits until the API server reaches the webhook.
    pub async fn answers(&self) {
        eventually(SOON, "the API server reaches the webhook", async || {
            let probe = pod("probe", &[("token", "no-such-token")], json!({}));
            match self.dry_run(&probe).await {
                Err(error) if error.contains("no-such-token does not exist") => Ok(()),
                other => Err(format!("{other:?}\n{}", self.operator.logs())),
            }
        })
        .await;
    }

    /// The Events of the test's namespace.
    pub async fn events(&self) -> Result<Vec<Event>, String> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let all = events.list(&ListParams::default()).await;
        all.map(|all| all.items).map_err(|error| error.to_string())
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates a pod; what the API server says when it does not.
    pub async fn create(&self, pod: &Pod) -> Result<Pod, String> {
        let created = self.pods().create(&PostParams::default(), pod).await;
        created.map_err(|error| error.to_string())
    }

    /// Asks whether a pod would be created.
    pub async fn dry_run(&self, pod: &Pod) -> Result<Pod, String> {
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        self.pods()
            .create(&params, pod)
            .await
            .map_err(|error| error.to_string())
    }

    /// Applies a Token of the test's namespace.
    pub async fn token(&self, name: &str, spec: Value) {
        let object = json!({"apiVersion": "github.as-code.io/v1", "kind": "Token",
            "metadata": {"name": name, "namespace": self.namespace}, "spec": spec});
        let tokens: Api<Token> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = PatchParams::apply("test").force();
        tokens
            .patch(name, &params, &Patch::Apply(&object))
            .await
            .expect("the Token is accepted");
    }

    /// Waits until a Token is ready.
    pub async fn ready(&self, name: &str) {
        let tokens: Api<Token> = Api::namespaced(self.client.clone(), &self.namespace);
        eventually(SOON, &format!("{name} is ready"), async || {
            let status = tokens
                .get(name)
                .await
                .map_err(|error| error.to_string())?
                .status
                .unwrap_or_default();
            let ready = status.condition("Ready").is_some_and(|ready| ready.status == "True");
            ready.then_some(()).ok_or(format!("{status:?}"))
        })
        .await;
    }

    /// Whom the mutating configuration trusts, PEM.
    pub async fn bundle(&self) -> String {
        bundle(&self.client).await
    }

    /// A client that trusts the webhook as the API server does.
    pub async fn https(&self) -> reqwest::Client {
        let pem = self.bundle().await;
        let trusted = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).expect("a bundle");
        reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only(trusted)
            .timeout(Duration::from_secs(10))
            .build()
            .expect("a client")
    }

    /// The URL of a path of the webhook.
    pub fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port.number())
    }
}

/// Whom the mutating configuration trusts, PEM.
pub async fn bundle(client: &Client) -> String {
    let all: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let found = all.get(OWN).await.expect("the configuration is there");
    let bundle = found.webhooks.unwrap_or_default().remove(0).client_config.ca_bundle;
    String::from_utf8(bundle.map(|bundle| bundle.0).unwrap_or_default()).expect("PEM")
}

fn replica(kubeconfig: &Path, config: &Path, port: u16) -> Builder {
    Operator::builder(env!("CARGO_BIN_EXE_gtm"), kubeconfig)
        .config(config)
        .namespace(OWN)
        .leader_elect(false)
        .env("GTM_LOG_LEVEL", "debug")
        .arg(format!("--webhook-bind-address=127.0.0.1:{port}"))
}

/// A pod with annotations below our prefix; `spec` is laid over one with a single container.
pub fn pod(name: &str, annotations: &[(&str, &str)], spec: Value) -> Pod {
    let mut object = json!({"metadata": {}, "spec": {"containers": [{"name": "app", "image": "example/app:1"}]}});
    for (field, value) in spec.as_object().expect("an object") {
        object["spec"][field] = value.clone();
    }
    let mut pod: Pod = serde_json::from_value(object).expect("a pod");
    let named = annotations
        .iter()
        .map(|(key, value)| (format!("github.as-code.io/{key}"), (*value).to_owned()));
    pod.metadata = ObjectMeta {
        name: Some(name.to_owned()),
        annotations: Some(named.collect()),
        ..ObjectMeta::default()
    };
    pod
}

/// What is written on the pod about what it was given.
pub fn note(pod: &Pod) -> Option<String> {
    pod.annotations().get("github.as-code.io/status").cloned()
}
