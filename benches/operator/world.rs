//! One cluster, one GitHub, and operators that come and go.

use std::path::{Path, PathBuf};
use std::time::Duration;

use github_token_manager::api::Token;
use kube::api::{Api, ListParams};
use kube::{Client, Resource};
use lab::cluster::{Builder as ClusterBuilder, Cluster};
use lab::github::{GitHub, Settings};
use lab::gtm::{Builder, Operator};
use lab::process::Folder;
use lab::wait::wait_for;

use crate::Result;

/// The longest that anything may take.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// How long an operator may take to end.
const END: Duration = Duration::from_secs(20);
/// Objects in one page of a list.
const PAGE: u32 = 500;

/// What all scenarios share.
pub struct Setting {
    /// The operator's program.
    pub gtm: PathBuf,
    /// Per cent of the usual number of objects.
    pub scale: u32,
}

impl Setting {
    /// So many, scaled; at least one.
    pub fn number(&self, usual: usize) -> usize {
        (usual * self.scale as usize / 100).max(1)
    }
}

/// A cluster with the CRDs, and a stand-in.
pub struct World {
    pub cluster: Cluster,
    pub client: Client,
    pub github: GitHub,
    _folder: Folder,
    gtm: PathBuf,
    config: PathBuf,
    unlimited: PathBuf,
}

impl World {
    /// A cluster with an audit log if `audited`; the operator is told `rate_limit`.
    pub async fn new(setting: &Setting, settings: Settings, rate_limit: &str, audited: bool) -> Result<World> {
        let crds = github_token_manager::cli::crds::yaml().map_err(|error| error.to_string())?;
        let builder = Cluster::builder().with_crds(crds);
        let builder = if audited {
            ClusterBuilder::with_audit_log(builder)
        } else {
            builder
        };
        let cluster = builder.start().await?;
        let github = GitHub::start(settings).await?;
        let folder = Folder::new()?;
        let pem = github.key().ok_or("the App has no key")?.pkcs1_pem();
        let key = folder.write("key.pem", pem.as_bytes())?;
        let app = format!(
            "app_id: {}\ninstallation_id: 67890\nprovider: file\nkey: {}\nbase_url: {}\n",
            github.app_id(),
            key.display(),
            github.url()
        );
        let config = folder.write("gtm.yaml", format!("{app}rate_limit: {rate_limit}\n").as_bytes())?;
        let unlimited = folder.write("unlimited.yaml", format!("{app}rate_limit: off\n").as_bytes())?;
        Ok(World {
            client: cluster.client().await?,
            cluster,
            github,
            _folder: folder,
            gtm: setting.gtm.clone(),
            config,
            unlimited,
        })
    }

    /// An operator for this world.
    pub fn operator(&self) -> Builder {
        self.operator_with(&self.config)
    }

    /// An operator that keeps to no limits.
    pub fn operator_without_limits(&self) -> Builder {
        self.operator_with(&self.unlimited)
    }

    fn operator_with(&self, config: &Path) -> Builder {
        Operator::builder(self.gtm.as_path(), self.cluster.kubeconfig_path())
            .config(config)
            .namespace("default")
            .leader_elect(false)
    }

    /// Waits until `count` Tokens of the namespace are ready. Cheap while GitHub has not issued `mints` tokens in all.
    pub async fn all_ready(&self, namespace: &str, count: usize, mints: usize) -> Result<()> {
        let tokens: Api<Token> = Api::namespaced(self.client.clone(), namespace);
        wait_for(PATIENCE, "all Tokens are ready", async || {
            let issued = self.github.mint_count();
            if issued < mints {
                return Err(format!("{issued} of {mints} tokens are issued"));
            }
            let ready = count_ready(&tokens).await.map_err(|error| error.to_string())?;
            if ready < count {
                return Err(format!("{ready} of {count} are ready"));
            }
            Ok(())
        })
        .await?;
        Ok(())
    }
}

/// How many Tokens say that they are ready.
async fn count_ready(tokens: &Api<Token>) -> kube::Result<usize> {
    let mut params = ListParams::default().limit(PAGE);
    let mut ready = 0;
    loop {
        let page = tokens.list(&params).await?;
        let is_ready = |token: &&Token| {
            let status = token.status.as_ref();
            let condition = status.and_then(|status| status.condition("Ready"));
            condition.is_some_and(|c| c.status == "True" && c.observed_generation == token.meta().generation)
        };
        ready += page.items.iter().filter(is_ready).count();
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => params = params.continue_token(&next),
            None => return Ok(ready),
        }
    }
}

/// Ends an operator as Kubernetes does.
pub async fn end(operator: Operator) -> Result<()> {
    operator.terminate(END).await?;
    Ok(())
}

/// Waits until the operator has worked for less than 2 % of a processor during two seconds: there is nothing left to do.
pub async fn idle(operator: &Operator) -> Result<()> {
    let mut before = operator.usage()?.cpu;
    wait_for(PATIENCE, "the operator has nothing to do", async || {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = operator.usage().map_err(|error| error.to_string())?.cpu;
        let busy = now.saturating_sub(before);
        before = now;
        if busy > Duration::from_millis(40) {
            return Err(format!("{busy:?} of work within 2 s"));
        }
        Ok(())
    })
    .await?;
    Ok(())
}

/// Bytes as MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}
