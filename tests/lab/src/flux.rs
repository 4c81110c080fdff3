//! Flux's own source-controller as a process.

use std::process::Command;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::error::Error;
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
        let source = Tool::SourceController.source_folder()?;
        cluster.install_crds_of(&source.join("config/crd/bases")).await?;
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
