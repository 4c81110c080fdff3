//! HashiCorp Vault: its real core, with transit, Kubernetes auth and AppRole, built from its Go modules.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleRef, Subject};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use serde_json::{Value, json};

use super::{Env, Front, env, wrap::wrap};
use crate::cluster::Cluster;
use crate::error::Error;
use crate::github::AppKey;
use crate::process::{Folder, Port, Process};
use crate::tools::Tool;
use crate::wait::wait_for;

const START: Duration = Duration::from_secs(60);
const ROOT: &str = "lab-root-token";
/// What the operator's policy grants.
const POLICY: &str = r#"path "transit/keys/*" { capabilities = ["read"] }
path "transit/sign/*" { capabilities = ["update"] }"#;

/// A running Vault with a transit engine at `transit` and the policy `gtm`; dropping it kills it.
pub struct Vault {
    program: PathBuf,
    process: Process,
    port: Port,
    folder: Folder,
    /// What programs connect to.
    pub front: Front,
}

impl Vault {
    /// Starts it; the first time on a machine it is built, which takes minutes.
    ///
    /// # Errors
    /// When it cannot be built, or does not become ready.
    pub async fn start() -> Result<Self, Error> {
        let program = tokio::task::spawn_blocking(|| Tool::Vault.find()).await;
        let program = program.map_err(|error| Error::Tool(error.to_string()))??;
        let (folder, port) = (Folder::new()?, Port::take()?);
        let process = run(&program, &folder, &port).await?;
        let front = Front::before(&format!("http://{}", port.address())).await?;
        let vault = Self {
            program,
            process,
            port,
            folder,
            front,
        };
        vault
            .call("POST", "sys/mounts/transit", &json!({"type": "transit"}))
            .await?;
        vault
            .call("PUT", "sys/policies/acl/gtm", &json!({"policy": POLICY}))
            .await?;
        Ok(vault)
    }

    /// Kills it; what it holds stays in its folder.
    pub fn stop(&self) {
        self.process.kill();
    }

    /// Starts it again with all that it held.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.process.kill();
        self.process = run(&self.program, &self.folder, &self.port).await?;
        Ok(())
    }

    /// The variables for a program that uses it with the root token.
    pub fn env(&self) -> Env {
        self.env_with(&[("VAULT_TOKEN", ROOT)])
    }

    /// The variables for a program that uses it with these credentials.
    pub fn env_with(&self, credentials: &[(&str, &str)]) -> Env {
        let mut variables = env(credentials);
        variables.extend(env(&[("VAULT_ADDR", &self.front.url())]));
        variables
    }

    /// Brings an App's private key into the transit engine under this name, as a user does; it may be rotated.
    ///
    /// # Errors
    /// When Vault refuses it.
    pub async fn import(&self, name: &str, key: &AppKey) -> Result<(), Error> {
        self.bring(
            &format!("transit/keys/{name}/import"),
            key,
            &json!({"type": "rsa-2048", "allow_rotation": true}),
        )
        .await
    }

    /// Makes an App's private key the newest version of a key that was imported.
    ///
    /// # Errors
    /// When Vault refuses it.
    pub async fn import_version(&self, name: &str, key: &AppKey) -> Result<(), Error> {
        self.bring(&format!("transit/keys/{name}/import_version"), key, &json!({}))
            .await
    }

    async fn bring(&self, path: &str, key: &AppKey, body: &Value) -> Result<(), Error> {
        let answer = self.call("GET", "transit/wrapping_key", &Value::Null).await?;
        let pem = answer["data"]["public_key"].as_str().unwrap_or_default();
        let base64: String = pem.lines().filter(|line| !line.starts_with("---")).collect();
        let wrapping_key = STANDARD.decode(base64).unwrap_or_default();
        let mut body = body.clone();
        body["ciphertext"] = STANDARD.encode(wrap(key.pkcs8(), &wrapping_key)?).into();
        body["hash_function"] = "SHA256".into();
        self.call("POST", path, &body).await.map(drop)
    }

    /// Lets the service account `name` log in with the role `gtm` by Kubernetes auth, against the cluster's own TokenReview; its tokens
    /// live `ttl` seconds, and are renewed up to `longest`.
    ///
    /// # Errors
    /// When Vault or the cluster refuses it.
    pub async fn trust(
        &self,
        cluster: &Cluster,
        (namespace, name): (&str, &str),
        ttl: u32,
        longest: u32,
    ) -> Result<(), Error> {
        let reviewer = reviewer(cluster).await?;
        self.call("POST", "sys/auth/kubernetes", &json!({"type": "kubernetes"}))
            .await?;
        let config = json!({
            "kubernetes_host": cluster.url(), "kubernetes_ca_cert": cluster.ca_pem()?,
            "token_reviewer_jwt": reviewer, "disable_local_ca_jwt": true,
        });
        self.call("POST", "auth/kubernetes/config", &config).await?;
        let role = json!({
            "bound_service_account_names": name, "bound_service_account_namespaces": namespace,
            "token_policies": "gtm", "token_ttl": ttl, "token_max_ttl": longest,
        });
        self.call("POST", "auth/kubernetes/role/gtm", &role).await.map(drop)
    }

    /// Makes the AppRole `gtm` at `auth/PATH`, whose tokens live `ttl` seconds; its role ID and a secret ID.
    ///
    /// # Errors
    /// When Vault refuses it.
    pub async fn app_role(&self, path: &str, ttl: u32) -> Result<(String, String), Error> {
        self.call("POST", &format!("sys/auth/{path}"), &json!({"type": "approle"}))
            .await?;
        let role = json!({"token_policies": "gtm", "token_ttl": ttl, "token_max_ttl": ttl});
        let at = format!("auth/{path}/role/gtm");
        self.call("POST", &at, &role).await?;
        let id = self.call("GET", &format!("{at}/role-id"), &Value::Null).await?;
        let secret = self.call("POST", &format!("{at}/secret-id"), &json!({})).await?;
        Ok((text(&id["data"]["role_id"]), text(&secret["data"]["secret_id"])))
    }

    /// A token of these policies that lives `ttl` seconds.
    ///
    /// # Errors
    /// When Vault refuses it.
    pub async fn token(&self, policies: &[&str], ttl: u32) -> Result<String, Error> {
        let asked = json!({"policies": policies, "ttl": ttl.to_string()});
        let made = self.call("POST", "auth/token/create", &asked).await?;
        Ok(text(&made["auth"]["client_token"]))
    }

    /// Calls the API as root, past the front.
    ///
    /// # Errors
    /// When Vault refuses it.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, Error> {
        let method = method
            .parse()
            .map_err(|_| Error::Usage(format!("{method} is no method")))?;
        let mut request = client()?
            .request(method, format!("http://{}/v1/{path}", self.port.address()))
            .header("X-Vault-Token", ROOT);
        if !body.is_null() {
            request = request.body(body.to_string());
        }
        let answer = request.send().await?;
        let status = answer.status();
        let answer = answer.text().await?;
        if !status.is_success() {
            return Err(Error::Usage(format!("Vault: {path}: {status} {answer}")));
        }
        Ok(serde_json::from_str(&answer).unwrap_or_default())
    }
}

/// The token of a service account that may review tokens, as Vault's guide makes it.
async fn reviewer(cluster: &Cluster) -> Result<String, Error> {
    let token = cluster.service_account_token("default", "vault").await?;
    let binding = ClusterRoleBinding {
        metadata: ObjectMeta {
            name: Some("vault-reviewer".into()),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".into(),
            kind: "ClusterRole".into(),
            name: "system:auth-delegator".into(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".into(),
            name: "vault".into(),
            namespace: Some("default".into()),
            ..Subject::default()
        }]),
    };
    let bindings = Api::<ClusterRoleBinding>::all(cluster.client().await?);
    match bindings.create(&PostParams::default(), &binding).await {
        // Another test of this cluster was first.
        Err(kube::Error::Api(refusal)) if refusal.code == 409 => Ok(token),
        made => made.map(|_| token).map_err(Error::from),
    }
}

async fn run(program: &PathBuf, folder: &Folder, port: &Port) -> Result<Process, Error> {
    let mut command = Command::new(program);
    command
        .args(["-listen", &port.address().to_string(), "-root-token", ROOT, "-data"])
        .arg(folder.path());
    let process = Process::start("vault", command, &folder.path().join("vault.log"))?;
    let (client, health) = (client()?, format!("http://{}/v1/sys/health", port.address()));
    wait_for(START, "Vault's health", async || {
        if let Err(ended) = process.check_running() {
            return Ok(Err(ended));
        }
        let answer = client.get(&health).send().await.map_err(|error| error.to_string())?;
        let ready = answer.status().is_success().then_some(Ok(()));
        ready.ok_or_else(|| format!("HTTP {}", answer.status()))
    })
    .await??;
    Ok(process)
}

fn client() -> Result<reqwest::Client, Error> {
    let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    Ok(builder.timeout(START).build()?)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
