//! cert-manager's own controllers and CA injector as a process.

use std::process::Command;

use crate::cluster::Cluster;
use crate::error::Error;
use crate::process::{Folder, Process};
use crate::tools::Tool;

/// A running cert-manager; dropping it kills it.
#[derive(Debug)]
pub struct CertManager {
    process: Process,
    _folder: Folder,
}

impl CertManager {
    /// Installs its CRDs, and starts it as an administrator of the cluster, with these feature gates (`NAME=false`). What it does tells
    /// that it works.
    ///
    /// # Errors
    /// When it cannot be built or started.
    pub async fn start(cluster: &Cluster, feature_gates: &str) -> Result<Self, Error> {
        let program = Tool::CertManager.find()?;
        let source = Tool::CertManager.source_folder()?;
        cluster.install_crds_of(&source.join("deploy/crds")).await?;
        let folder = Folder::new()?;
        let mut command = Command::new(program);
        command
            .arg("-kubeconfig")
            .arg(cluster.kubeconfig_path())
            .arg(format!("-feature-gates={feature_gates}"))
            .env_clear()
            .env("HOME", folder.path());
        let process = Process::start("cert-manager", command, &folder.path().join("log"))?;
        Ok(Self {
            process,
            _folder: folder,
        })
    }

    /// Everything that it has logged so far, and that it still runs.
    ///
    /// # Errors
    /// When it has ended.
    pub fn logs(&self) -> Result<String, Error> {
        self.process.check_running()?;
        Ok(self.process.log())
    }
}
