//! The operator on a node, as a user installs it: by its chart.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;

use super::{ADDRESS, Node};
use crate::{
    error::{During, Error},
    helm::{self, CHART},
    tools::Tool,
    wait::wait_for,
};

/// The release, the operator's namespace, and the name of all that is its.
pub const OPERATOR: &str = helm::NAME;
/// The installation of the stand-in's App.
const INSTALLATION: u64 = 67_890;
/// Time for an installation, an upgrade and an uninstallation.
const RELEASE: Duration = Duration::from_secs(120);

impl Node {
    /// Installs the operator's chart with the App of the node's stand-in, in a namespace where Pod Security is `restricted`, and waits
    /// until it and its webhook work.
    ///
    /// # Errors
    /// When an object is refused, or the operator does not become ready.
    pub async fn install_operator(&self, image: &Path) -> Result<(), Error> {
        self.load_image(image).await?;
        self.kubectl().apply(&self.prerequisites()?).await?;
        let values = self.values()?;
        self.helm(&[
            "install",
            OPERATOR,
            CHART,
            "--wait",
            "--values",
            &values.to_string_lossy(),
        ])
        .await?;
        self.operator_ready().await
    }

    /// The image of the operator's Deployment.
    ///
    /// # Errors
    /// When it is not installed.
    pub async fn operator_image(&self) -> Result<String, Error> {
        let image = "jsonpath={.spec.template.spec.containers[0].image}";
        let get = ["-n", OPERATOR, "get", "deployment", OPERATOR, "-o", image];
        self.kubectl().run(&get).await
    }

    /// Upgrades the release to another image, the present one under this tag, and waits until no pod of the former is left to become
    /// ready.
    ///
    /// # Errors
    /// When the new pods do not become ready.
    pub async fn upgrade_operator(&self, tag: &str) -> Result<(), Error> {
        let present = self.operator_image().await?;
        let repository = present.rsplit_once(':').map_or(&*present, |(repository, _)| repository);
        self.tag_image(&present, &format!("{repository}:{tag}")).await?;
        self.change_operator(tag, &["--wait"]).await?;
        self.operator_ready().await
    }

    /// Upgrades the release to this tag, whether there is such an image or not; `args`: further words for helm.
    ///
    /// # Errors
    /// When helm fails.
    pub async fn change_operator(&self, tag: &str, args: &[&str]) -> Result<(), Error> {
        let tag = format!("deployment.containers.githubTokenManager.image.tag={tag}");
        let upgrade = ["upgrade", OPERATOR, CHART, "--reuse-values", "--set", &tag];
        self.helm(&[&upgrade[..], args].concat()).await.map(drop)
    }

    /// Uninstalls the release; `args`: further words for helm.
    ///
    /// # Errors
    /// When helm fails.
    pub async fn uninstall_operator(&self, args: &[&str]) -> Result<(), Error> {
        let uninstall = ["uninstall", OPERATOR, "--wait"];
        self.helm(&[&uninstall[..], args].concat()).await.map(drop)
    }

    /// helm as an administrator, in the operator's namespace; what it printed.
    ///
    /// # Errors
    /// When it fails, or takes longer than two minutes.
    pub async fn helm(&self, args: &[&str]) -> Result<String, Error> {
        let failed = |said: &str| Error::Usage(format!("helm {}: {said}", args.join(" ")));
        let helm = tokio::process::Command::new("nsenter")
            .arg(format!("--net=/proc/{}/ns/net", self.pid()))
            .arg(Tool::Helm.find()?)
            .args(["--namespace", OPERATOR])
            .arg("--kubeconfig")
            .arg(self.folder().join("pki/admin.kubeconfig"))
            .args(args)
            .envs(helm::home(&self.folder().join("helm")))
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(RELEASE, helm).await;
        let output = output
            .map_err(|_| failed("no end within two minutes"))?
            .during(|| "start helm".into())?;
        if !output.status.success() {
            return Err(failed(&String::from_utf8_lossy(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
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

    /// The namespace, and the Secret with the App's key.
    fn prerequisites(&self) -> Result<String, Error> {
        let key = self.folder().join("pki/app-key.pem");
        let key = fs::read_to_string(&key).during(|| format!("read {}", key.display()))?;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": OPERATOR, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
        let secret = json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "github-app", "namespace": OPERATOR}, "stringData": {"private-key.pem": key}});
        Ok(json!({"apiVersion": "v1", "kind": "List", "items": [namespace, secret]}).to_string())
    }

    /// Writes the chart's values; where.
    fn values(&self) -> Result<PathBuf, Error> {
        let values = json!({
            "config": {
                "app_id": 12_345,
                "installation_id": INSTALLATION,
                "provider": "secret",
                "key": "github-app",
                "base_url": format!("https://{ADDRESS}/api/v3"),
            },
            "caBundle": self.github_ca()?,
        });
        let path = self.folder().join("values.json");
        fs::write(&path, values.to_string()).during(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}
