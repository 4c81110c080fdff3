//! The operator on a node, as a user installs it.

use std::{fs, path::Path, time::Duration};

use serde_json::json;

use super::{ADDRESS, Node};
use crate::{
    error::{During, Error},
    wait::wait_for,
};

/// The operator's namespace and the name of all that is its.
pub const OPERATOR: &str = "github-token-manager";
/// The image that `make image` makes.
const IMAGE: &str = "localhost/github-token-manager:0.1.0";
/// The installation of the stand-in's App.
const INSTALLATION: u64 = 67_890;
/// The repository of the project.
const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

impl Node {
    /// Installs the operator with the App of the node's stand-in, and waits until it and its webhook work.
    ///
    /// # Errors
    /// When an object is refused, or the operator does not become ready.
    pub async fn install_operator(&self, image: &Path) -> Result<(), Error> {
        self.load_image(image).await?;
        let project = Path::new(PROJECT);
        let crds = project.join("crds").display().to_string();
        self.kubectl().run(&["apply", "--server-side", "-f", &crds]).await?;
        let rbac = project.join("docs/rbac.yaml");
        let rbac = fs::read_to_string(&rbac).during(|| format!("read {}", rbac.display()))?;
        self.kubectl().apply(&rbac).await?;
        let enforce = "pod-security.kubernetes.io/enforce=restricted";
        self.kubectl()
            .run(&["label", "--overwrite", "namespace", OPERATOR, enforce])
            .await?;
        self.kubectl().apply(&self.configuration()?).await?;
        self.kubectl().apply(&deployment().to_string()).await?;
        let webhook = project.join("webhook-config").display().to_string();
        self.kubectl().run(&["apply", "-k", &webhook]).await?;
        self.operator_ready().await
    }

    /// Replaces every pod of the operator, as a new version does, and waits until that is done.
    ///
    /// # Errors
    /// When the new pods do not become ready within 55 s.
    pub async fn upgrade_operator(&self, version: &str) -> Result<(), Error> {
        let patch = json!({"spec": {"template": {"metadata": {"annotations": {"version": version}}}}}).to_string();
        let args = [
            "-n",
            OPERATOR,
            "patch",
            "deployment",
            OPERATOR,
            "--type=merge",
            "-p",
            &patch,
        ];
        self.kubectl().run(&args).await?;
        self.operator_ready().await
    }

    /// Waits until every replica of the operator is ready, and the API server is told whom to trust.
    ///
    /// # Errors
    /// When it is not so within 60 s.
    pub async fn operator_ready(&self) -> Result<(), Error> {
        let status = [
            "-n",
            OPERATOR,
            "rollout",
            "status",
            "deployment",
            OPERATOR,
            "--timeout=55s",
        ];
        self.kubectl().run(&status).await?;
        let trusted = "jsonpath={.webhooks[*].clientConfig.caBundle}";
        for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
            wait_for(Duration::from_secs(60), "a caBundle", async || {
                let said = self.kubectl().run(&["get", kind, OPERATOR, "-o", trusted]).await;
                let said = said.map_err(|error| error.to_string())?;
                (!said.is_empty()).then_some(()).ok_or("none yet".to_owned())
            })
            .await?;
        }
        Ok(())
    }

    /// The certificate authority of the node's stand-in, in PEM.
    ///
    /// # Errors
    /// When the stand-in has not started.
    pub fn github_ca(&self) -> Result<String, Error> {
        let path = self.folder().join("pki/github-ca.crt");
        fs::read_to_string(&path).during(|| format!("read {}", path.display()))
    }

    /// The Secrets `github-app`, with the App's key, and `gtm-config`.
    fn configuration(&self) -> Result<String, Error> {
        let key = self.folder().join("pki/app-key.pem");
        let key = fs::read_to_string(&key).during(|| format!("read {}", key.display()))?;
        let config = json!({
            "app_id": 12_345,
            "installation_id": INSTALLATION,
            "provider": "secret",
            "key": "github-app",
            "base_url": format!("https://{ADDRESS}/api/v3"),
            "ca_bundle": self.github_ca()?,
        });
        let secret = |name: &str, file: &str, text: String| {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": OPERATOR},
                "stringData": {file: text}})
        };
        let secrets = [
            secret("github-app", "private-key.pem", key),
            secret("gtm-config", "gtm.yaml", config.to_string()),
        ];
        Ok(json!({"apiVersion": "v1", "kind": "List", "items": secrets}).to_string())
    }
}

fn deployment() -> serde_json::Value {
    let labels = json!({"app.kubernetes.io/name": OPERATOR});
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": 8081}, "periodSeconds": 2});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": OPERATOR, "namespace": OPERATOR},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "serviceAccountName": OPERATOR,
                    "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [{
                        "name": "manager",
                        "image": IMAGE,
                        "args": ["manager"],
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "readOnlyRootFilesystem": true,
                            "capabilities": {"drop": ["ALL"]},
                        },
                        "livenessProbe": probe("/healthz"),
                        "readinessProbe": probe("/readyz"),
                        "volumeMounts": [{"name": "config", "mountPath": "/config", "readOnly": true}],
                    }],
                    "volumes": [{"name": "config", "secret": {"secretName": "gtm-config"}}],
                },
            },
        },
    })
}
