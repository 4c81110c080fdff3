//! The pod of the demo: what admission made of it, and its command, run without a node.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use lab::cluster::Cluster;
use lab::github::GitHub;
use lab::pod::{Container, environment};
use lab::process::Folder;
use lab::proxy::Proxy;

use super::{NAMESPACE, POD, Result, STEP};

/// The pod as the API server stored it.
pub async fn stored(cluster: &Cluster) -> Result<Pod> {
    Ok(Api::namespaced(cluster.client().await?, NAMESPACE).get(POD).await?)
}

/// Prints what the pod of docs/examples asks for and what admission added: it has no volumes, mounts and variables of its own.
pub fn tell(pod: &Pod) -> Result<()> {
    let spec = pod.spec.clone().unwrap_or_default();
    let container = spec.containers.into_iter().next().ok_or("the pod has no container")?;
    let mut added = Vec::new();
    for (name, value) in pod.metadata.annotations.iter().flatten() {
        match name.strip_prefix("github.as-code.io/") {
            Some("status") => added.push(format!("annotation {name}: {value}")),
            Some(_) => println!("     asked  annotation {name}: {value}"),
            None => {}
        }
    }
    for volume in spec.volumes.unwrap_or_default() {
        let sources = volume.projected.and_then(|projected| projected.sources);
        let secrets = sources.into_iter().flatten().filter_map(|source| source.secret);
        added.extend(secrets.map(|secret| format!("volume {}, of the Secret {}", volume.name, secret.name)));
    }
    let mounts = container.volume_mounts.unwrap_or_default();
    added.extend(mounts.iter().map(|mount| format!("mount {}", mount.mount_path)));
    let variables = environment(pod);
    let (git, others): (Vec<_>, Vec<_>) = variables.iter().partition(|(name, _)| name.starts_with("GIT_CONFIG_"));
    added.extend(others.iter().map(|(name, value)| format!("env {name}={value}")));
    let git: Vec<&str> = git.iter().map(|(name, _)| name.as_str()).collect();
    added.push(format!("env {}: git reads that file on each call", git.join(", ")));
    added.iter().for_each(|line| println!("     added  {line}"));
    if mounts.is_empty() || git.is_empty() {
        return Err("admission added nothing to the pod".into());
    }
    Ok(())
}

/// The pod's container, and what leads it to the stand-in.
pub struct Running {
    container: Container,
    proxy: Proxy,
    ca: PathBuf,
}

impl Running {
    pub async fn start(pod: &Pod, github: &GitHub, ca: &Path) -> Result<Self> {
        let server = github
            .url()
            .strip_prefix("https://")
            .ok_or("the stand-in has no HTTPS")?;
        Ok(Self {
            container: Container::new(pod)?,
            proxy: Proxy::start(server.parse()?).await?,
            ca: ca.to_owned(),
        })
    }

    /// What the kubelet does at the pod's start, and again within a minute of each change.
    pub async fn mount(&self, cluster: &Cluster, token: &str) -> Result<()> {
        let secrets: Api<Secret> = Api::namespaced(cluster.client().await?, NAMESPACE);
        self.container.mount(&secrets).await?;
        let file = self
            .container
            .variable("GITHUB_TOKEN_FILE")
            .ok_or("the pod is told of no file")?;
        let there = std::fs::read_to_string(file)?;
        (there == token)
            .then_some(())
            .ok_or_else(|| "the pod's file has another token".into())
    }

    /// Runs the pod's own command, which must succeed.
    pub async fn clones(&self) -> Result<()> {
        self.run(self.container.command()).await??;
        println!("     cloned");
        Ok(())
    }

    /// Clones this repository in the pod's environment, which GitHub must refuse.
    pub async fn is_refused(&self, url: &str) -> Result<()> {
        let clone = ["git", "clone", url].map(str::to_owned);
        match self.run(&clone).await? {
            Ok(()) => Err(format!("{url} was cloned, which no token allows").into()),
            Err(refused) => {
                println!("     {}", refused.lines().last().unwrap_or_default());
                Ok(())
            }
        }
    }

    /// The inner result is what the program says when it fails.
    async fn run(&self, words: &[String]) -> Result<std::result::Result<(), String>> {
        println!("   $ {}", words.join(" "));
        let (program, args) = words.split_first().ok_or("the pod has no command")?;
        // Each run clones into a folder that is not there yet.
        let target = Folder::new()?;
        let mut program = self.container.program(program);
        program
            .args(args)
            .current_dir(target.path())
            .env("https_proxy", self.proxy.url())
            .env("GIT_SSL_CAINFO", &self.ca)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        let output = tokio::time::timeout(STEP, program.output())
            .await
            .map_err(|_| format!("{} did not end within {STEP:?}", words.join(" ")))??;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Ok(if output.status.success() { Ok(()) } else { Err(said) })
    }
}
