//! One node for all tests, a namespace for each.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::ListParams;
use kube::{Api, Client};
use lab::node::{ADDRESS, Node};
use lab::wait::eventually;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// Time for what takes seconds on an idle machine.
pub const SOON: Duration = Duration::from_secs(60);
/// Time for many pods, on two cores.
pub const LONG: Duration = Duration::from_secs(240);

/// A test's view of the node.
pub struct World {
    pub node: &'static Node,
    pub client: Client,
    pub namespace: String,
    github: reqwest::Client,
}

/// The archive of the operator's image.
#[expect(clippy::disallowed_methods, reason = "what `make e2e` tells the tests")]
pub fn image() -> PathBuf {
    let image = std::env::var_os("GTM_IMAGE").expect("GTM_IMAGE is not set: run `make e2e`");
    PathBuf::from(image)
}

async fn node() -> &'static Node {
    static NODE: OnceCell<Node> = OnceCell::const_new();
    let start = async || {
        let node = Node::for_this_process("e2e").await.unwrap();
        node.install_operator(&image()).await.unwrap();
        node
    };
    NODE.get_or_init(start).await
}

impl World {
    /// The node with the operator, and a namespace of its own, where Pod Security is `restricted`. The calling thread is in the node's
    /// network from then on.
    pub async fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let node = node().await;
        node.enter().unwrap();
        let kubeconfig = node.folder().join("pki/admin.kubeconfig");
        let ca = reqwest::Certificate::from_pem(node.github_ca().unwrap().as_bytes()).unwrap();
        let github = reqwest::Client::builder()
            .user_agent("e2e")
            .no_proxy()
            .tls_certs_only([ca])
            .build()
            .unwrap();
        let world = Self {
            node,
            client: lab::cluster::client(&kubeconfig).await.unwrap(),
            namespace: format!("team-{}", COUNT.fetch_add(1, Ordering::Relaxed)),
            github,
        };
        let namespace = &world.namespace;
        let objects = [
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "github-ca", "namespace": namespace},
                "data": {"ca.crt": node.github_ca().unwrap()}}),
        ];
        world.apply(&objects).await;
        let account = ["-n", namespace, "get", "serviceaccount", "default"];
        eventually(SOON, "the service account", async || node.kubectl().run(&account).await).await;
        world
    }

    pub async fn apply(&self, objects: &[Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.node.kubectl().apply(&list.to_string()).await.unwrap();
    }

    /// kubectl in the test's namespace.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String, lab::error::Error> {
        let args = [&["-n", &self.namespace][..], args].concat();
        self.node.kubectl().run(&args).await
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A Token of the test's namespace that may push to `alpha`.
    pub fn token(&self, name: &str) -> Value {
        json!({"apiVersion": "github.as-code.io/v1", "kind": "Token",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"permissions": {"contents": "write"}, "repositories": ["alpha"]}})
    }

    /// Stores it, and waits for its Secret.
    pub async fn issue(&self, name: &str) -> String {
        self.apply(&[self.token(name)]).await;
        self.secret(name, "").await
    }

    /// The token in a Secret, once there is one that is not `former`.
    pub async fn secret(&self, name: &str, former: &str) -> String {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        eventually(SOON, "a new token in the Secret", async || {
            let secret = secrets.get_opt(name).await.map_err(|error| error.to_string())?;
            let data = secret.and_then(|secret| secret.data).ok_or("no Secret")?;
            let token = data
                .get("token")
                .map(|token| String::from_utf8(token.0.clone()).unwrap());
            token
                .filter(|token| token != former)
                .ok_or("the former token".to_owned())
        })
        .await
    }

    /// Asks for a new token.
    pub async fn ask_for_rotation(&self, name: &str) {
        let now = github_token_manager::run::now();
        let note = format!("github.as-code.io/refresh-requested-at={now}");
        let token = format!("tokens.github.as-code.io/{name}");
        self.kubectl(&["annotate", "--overwrite", &token, &note]).await.unwrap();
    }

    /// Ends a token at GitHub.
    pub async fn revoke(&self, token: &str) {
        let url = format!("https://{ADDRESS}/api/v3/installation/token");
        let answer = self.github.delete(url).bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    }

    /// Whether GitHub takes a token.
    pub async fn is_valid(&self, token: &str) -> bool {
        let url = format!("https://{ADDRESS}/_lab/token-state");
        let answer = self
            .github
            .post(url)
            .json(&json!({"token": token}))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        match answer.json().await.unwrap() {
            // The one state that says more than its name: until when.
            Value::Object(state) => state.contains_key("valid"),
            Value::String(over) if ["expired", "revoked", "unknown"].contains(&&*over) => false,
            other => panic!("{other}"),
        }
    }

    /// The tokens that GitHub has issued.
    pub async fn issued(&self) -> Vec<String> {
        let url = format!("https://{ADDRESS}/_lab/tokens");
        self.github.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// How long GitHub takes for each answer.
    pub async fn set_latency(&self, latency: Duration) {
        let url = format!("https://{ADDRESS}/_lab/knobs");
        let knobs = json!({"latency": latency.as_secs_f64()});
        let answer = self.github.patch(url).json(&knobs).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }

    /// Waits until the log of each pod of that label has a line, and returns the pods.
    pub async fn all_say(&self, app: &str, count: usize, line: &str) -> Vec<Pod> {
        let chosen = ListParams::default().labels(&format!("app={app}"));
        eventually(LONG, &format!("{count} pods of {app} that say {line:?}"), async || {
            let pods = self
                .pods()
                .list(&chosen)
                .await
                .map_err(|error| error.to_string())?
                .items;
            if pods.len() != count {
                return Err(format!("{} pods", pods.len()));
            }
            for pod in &pods {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let said = self
                    .kubectl(&["logs", name, "-c", "main"])
                    .await
                    .map_err(|error| error.to_string())?;
                if !said.lines().any(|said| said == line) {
                    let status = serde_json::to_string(&pod.status).unwrap_or_default();
                    return Err(format!("{name}: {said}\n{status}"));
                }
            }
            Ok(pods)
        })
        .await
    }
}

/// A pod template whose container `main` runs a script; it trusts the stand-in, which it finds as github.com.
pub fn template(app: &str, annotations: Value, script: &str) -> Value {
    let mut container = container("main", script);
    container["resources"] = json!({"requests": {"cpu": "1m"}});
    json!({
        "metadata": {"labels": {"app": app}, "annotations": annotations},
        "spec": {
            "automountServiceAccountToken": false,
            "dnsPolicy": "Default",
            "terminationGracePeriodSeconds": 1,
            "hostAliases": [{"ip": ADDRESS, "hostnames": ["github.com"]}],
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [{"name": "github-ca", "configMap": {"name": "github-ca"}}],
        },
    })
}

pub fn container(name: &str, script: &str) -> Value {
    let variables = [
        ("GIT_SSL_CAINFO", "/github/ca.crt"),
        ("GIT_AUTHOR_NAME", "pod"),
        ("GIT_AUTHOR_EMAIL", "pod@example.com"),
        ("GIT_COMMITTER_NAME", "pod"),
        ("GIT_COMMITTER_EMAIL", "pod@example.com"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("HOME", "/tmp"),
    ];
    let env: Vec<Value> = variables
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    json!({
        "name": name,
        "image": lab::node::image::GIT,
        "command": ["/bin/sh", "-ec", script],
        "env": env,
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "github-ca", "mountPath": "/github"}],
    })
}

/// A bare pod of a template.
pub fn pod(namespace: &str, name: &str, mut template: Value) -> Value {
    template["apiVersion"] = json!("v1");
    template["kind"] = json!("Pod");
    template["metadata"]["name"] = json!(name);
    template["metadata"]["namespace"] = json!(namespace);
    template["spec"]["restartPolicy"] = json!("Never");
    template
}

pub fn annotation(token: &str) -> Value {
    json!({"github.as-code.io/token": token})
}

/// How often containers of a pod were started again.
pub fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.iter().flat_map(|status| {
        let containers = status.container_statuses.iter().flatten();
        containers.chain(status.init_container_statuses.iter().flatten())
    });
    statuses.map(|status| status.restart_count).sum()
}
