//! kubectl, as an administrator.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use super::Cluster;
use crate::error::{During, Error};

/// No command of a test takes longer.
const DEADLINE: Duration = Duration::from_secs(60);

/// kubectl for one cluster.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
    inside: Option<u32>,
}

impl Kubectl {
    /// `cache`: a folder for what it remembers of the server's kinds, otherwise kept in the user's home.
    pub fn new(program: PathBuf, kubeconfig: PathBuf, cache: PathBuf) -> Self {
        Self {
            program,
            kubeconfig,
            cache,
            inside: None,
        }
    }

    /// In the network of the process `pid`.
    #[must_use]
    pub fn inside(mut self, pid: u32) -> Self {
        self.inside = Some(pid);
        self
    }

    /// The words of a shell that run it: for people.
    pub fn words(&self) -> String {
        let inside = self.inside.map(|pid| format!("nsenter --net=/proc/{pid}/ns/net "));
        let (program, kubeconfig) = (self.program.display(), self.kubeconfig.display());
        format!("{}{program} --kubeconfig={kubeconfig}", inside.unwrap_or_default())
    }

    /// Runs it and returns what it printed.
    ///
    /// # Errors
    /// [`Error::Kubectl`] with what it said when it fails or takes longer than 60 s.
    pub async fn run(&self, args: &[&str]) -> Result<String, Error> {
        self.run_with_input(args, "").await
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
        self.run_with_input(&args, yaml).await
    }

    /// [`Kubectl::run`] with something on its standard input.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub async fn run_with_input(&self, args: &[&str], input: &str) -> Result<String, Error> {
        let failed = |stderr: String| Error::Kubectl {
            args: args.join(" "),
            stderr,
        };
        let mut command = match self.inside {
            None => Command::new(&self.program),
            Some(pid) => {
                let mut enter = Command::new("nsenter");
                enter.arg(format!("--net=/proc/{pid}/ns/net")).arg(&self.program);
                enter
            }
        };
        let mut child = command
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", &self.cache)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .during(|| format!("start {}", self.program.display()))?;
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

impl Cluster {
    /// The program, for a test that looks at more than its result.
    pub fn kubectl_program(&self) -> &Path {
        &self.kubectl_program
    }

    /// See [`Kubectl::run`].
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub async fn kubectl(&self, args: &[&str]) -> Result<String, Error> {
        self.kubectl_with_input(args, "").await
    }

    /// See [`Kubectl::apply`].
    ///
    /// # Errors
    /// As [`Kubectl::apply`].
    pub async fn apply(&self, yaml: &str) -> Result<String, Error> {
        self.client_program().apply(yaml).await
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

    /// [`Cluster::install_crds`] with every manifest of a folder.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub(crate) async fn install_crds_of(&self, folder: &Path) -> Result<(), Error> {
        let folder = folder.display().to_string();
        self.kubectl(&["apply", "--server-side", "--field-manager=lab", "-f", &folder])
            .await?;
        let args = ["wait", "--for=condition=Established", "--timeout=30s", "-f", &folder];
        self.kubectl(&args).await?;
        Ok(())
    }

    /// See [`Kubectl::run_with_input`].
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub async fn kubectl_with_input(&self, args: &[&str], input: &str) -> Result<String, Error> {
        self.client_program().run_with_input(args, input).await
    }

    fn client_program(&self) -> Kubectl {
        let cache = self.folder().join("kubectl");
        Kubectl::new(self.kubectl_program.clone(), self.kubeconfig_path().to_owned(), cache)
    }
}
