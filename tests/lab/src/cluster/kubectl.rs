//! kubectl against the cluster, as an administrator.

use std::{process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use super::Cluster;
use crate::error::{During, Error};

/// No command of a test takes longer.
const DEADLINE: Duration = Duration::from_secs(60);

impl Cluster {
    /// The program, for a test that looks at more than its result.
    pub fn kubectl_program(&self) -> &std::path::Path {
        &self.kubectl_program
    }

    /// Runs kubectl and returns what it printed.
    ///
    /// # Errors
    /// [`Error::Kubectl`] with what it said when it fails or takes longer than 60 s.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String, Error> {
        self.kubectl_with_input(args, "").await
    }

    /// Applies manifests (YAML) on the server's side, as the field manager `lab`, and takes over what others own.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub async fn apply(&self, yaml: &str) -> Result<String, Error> {
        let args = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=lab",
            "-f",
            "-",
        ];
        self.kubectl_with_input(&args, yaml).await
    }

    /// Applies custom resource definitions and waits until the API server serves them.
    /// With a controller-manager running, prefer [`super::Builder::with_crds`], which says why.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub async fn install_crds(&self, yaml: &str) -> Result<(), Error> {
        self.apply(yaml).await?;
        let args = ["wait", "--for=condition=Established", "--timeout=30s", "-f", "-"];
        self.kubectl_with_input(&args, yaml).await?;
        Ok(())
    }

    /// [`Cluster::kubectl`] with something on its standard input.
    ///
    /// # Errors
    /// As [`Cluster::kubectl`].
    pub async fn kubectl_with_input(&self, args: &[&str], input: &str) -> Result<String, Error> {
        let failed = |stderr: String| Error::Kubectl {
            args: args.join(" "),
            stderr,
        };
        let mut child = Command::new(&self.kubectl_program)
            .args(args)
            .env("KUBECONFIG", self.kubeconfig_path())
            // Its cache of the server's kinds, otherwise kept in the user's home.
            .env("KUBECACHEDIR", self.folder().join("kubectl"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .during(|| format!("start {}", self.kubectl_program.display()))?;
        let stdin = child.stdin.take();
        let run = async {
            if let Some(mut stdin) = stdin {
                // It may end without reading all of it; its exit status and its words tell why.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            child.wait_with_output().await
        };
        let output = timeout(DEADLINE, run)
            .await
            .map_err(|_| failed(format!("no end within {DEADLINE:?}")))?
            .during(|| "wait for kubectl".into())?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
