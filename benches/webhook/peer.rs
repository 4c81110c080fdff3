//! HashiCorp's injector, <https://github.com/hashicorp/vault-k8s>: the real program, built by the lab, with a certificate of ours.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lab::process::{Folder, Port, Process, Usage};
use lab::tools::Tool;
use lab::wait::wait_for;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpStream;

use super::Failed;
use super::load::Target;

/// Where a pod finds its service account; the program reads it before it starts, and asks its API server for nothing after that
/// when its certificate is given.
const ACCOUNT: &str = "/run/secrets/kubernetes.io/serviceaccount";

/// The injector that runs; dropping it ends it.
pub struct Peer {
    process: Process,
    _folder: Folder,
    pub target: Target,
}

impl Peer {
    pub async fn start() -> Result<Self, Failed> {
        let program = Tool::VaultK8s.find()?;
        let folder = Folder::new()?;
        let ca = certificates(folder.path())?;
        let port = Port::take()?;
        let process = Process::start(
            "vault-k8s",
            command(&program, folder.path(), port.number()),
            &folder.path().join("log"),
        )?;
        wait_for(Duration::from_secs(30), "vault-k8s", async || {
            process.check_running().map_err(|error| error.to_string())?;
            let connected = TcpStream::connect(("127.0.0.1", port.number())).await;
            connected.map(drop).map_err(|error| error.to_string())
        })
        .await?;
        let target = Target {
            port: port.number(),
            ca,
            path: "/mutate",
            annotations: &[
                ("vault.hashicorp.com/agent-inject", "true"),
                ("vault.hashicorp.com/role", "ci"),
                ("vault.hashicorp.com/agent-inject-secret-token", "github/token/ci"),
            ],
            patches: true,
        };
        Ok(Peer {
            process,
            _folder: folder,
            target,
        })
    }

    /// Bytes of memory.
    pub fn resident(&self) -> Result<f64, Failed> {
        Ok(Usage::of(self.process.pid())?.resident as f64)
    }
}

/// Runs it where nobody but it sees [`ACCOUNT`]: a mount namespace of its own, made by `unshare` of util-linux.
fn command(program: &Path, folder: &Path, port: u16) -> Command {
    let script =
        format!("mount -t tmpfs none /run && mkdir -p {ACCOUNT} && echo token >{ACCOUNT}/token && exec \"$0\" \"$@\"");
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-c", &script])
        .arg(program)
        .args(["agent-inject", "-vault-address=http://127.0.0.1:1"])
        .arg(format!("-listen=127.0.0.1:{port}"))
        .arg(format!("-tls-cert-file={}", folder.join("leaf.crt").display()))
        .arg(format!("-tls-key-file={}", folder.join("leaf.key").display()))
        // Nobody listens there.
        .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        .env("KUBERNETES_SERVICE_PORT", "1");
    command
}

/// A leaf for loopback as files, of the kind of key that ours has; the certificate of its CA.
fn certificates(folder: &Path) -> Result<String, Failed> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&key, &ca)?;
    std::fs::write(folder.join("leaf.crt"), leaf.pem())?;
    std::fs::write(folder.join("leaf.key"), key.serialize_pem())?;
    Ok(ca.pem())
}
