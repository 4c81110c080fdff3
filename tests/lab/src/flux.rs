//! Flux's own source-controller as a process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::error::{During, Error};
use crate::process::{Folder, Port, Process};
use crate::tools::Tool;
use crate::wait::wait_for;

/// Time to become ready.
const READY: Duration = Duration::from_secs(60);

/// A running source-controller; dropping it kills it.
#[derive(Debug)]
pub struct SourceController {
    process: Process,
    _ports: [Port; 3],
    _folder: Folder,
}

impl SourceController {
    /// Installs its CRDs, starts it as an administrator of the cluster, and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be built or started, or is not ready within a minute.
    pub async fn start(cluster: &Cluster) -> Result<Self, Error> {
        let program = Tool::SourceController.find()?;
        for file in crds(&Tool::SourceController.source_folder()?)? {
            let yaml = std::fs::read_to_string(&file).during(|| format!("read {}", file.display()))?;
            cluster.install_crds(&yaml).await?;
        }
        let folder = Folder::new()?;
        let ports = [Port::take()?, Port::take()?, Port::take()?];
        let [storage, metrics, health] = [&ports[0], &ports[1], &ports[2]].map(Port::address);
        let mut command = Command::new(program);
        command
            .arg("--enable-leader-election=false")
            .arg("--events-addr=")
            .arg(format!("--storage-path={}", folder.path().display()))
            .arg(format!("--storage-addr={storage}"))
            .arg(format!("--storage-adv-addr={storage}"))
            .arg(format!("--metrics-addr={metrics}"))
            .arg(format!("--health-addr={health}"))
            .env_clear()
            .env("KUBECONFIG", cluster.kubeconfig_path())
            .env("HOME", folder.path())
            .env("TMPDIR", folder.path())
            .env("RUNTIME_NAMESPACE", "flux-system");
        let process = Process::start("source-controller", command, &folder.path().join("log"))?;
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
        wait_for(READY, "source-controller's /healthz", async || {
            match process.check_running() {
                Err(ended) => Ok(Err(ended)),
                Ok(()) => {
                    let answer = client.get(format!("http://{health}/healthz")).send().await?;
                    answer.error_for_status().map(|_| Ok(()))
                }
            }
        })
        .await??;
        Ok(Self {
            process,
            _ports: ports,
            _folder: folder,
        })
    }

    /// Everything that it has logged so far.
    pub fn logs(&self) -> String {
        self.process.log()
    }
}

fn crds(module: &Path) -> Result<Vec<PathBuf>, Error> {
    let folder = module.join("config/crd/bases");
    let entries = std::fs::read_dir(&folder).during(|| format!("read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    Ok(files)
}
