//! A cluster, a GitHub, and an operator that can be started and stopped.

use std::path::PathBuf;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use github_token_manager::api::{Token, TokenStatus};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use lab::cluster::{Builder as ClusterBuilder, Cluster};
use lab::github::{GitHub, Settings};
use lab::gtm::{Builder, Operator};
use lab::process::{Folder, Usage};
use lab::wait::wait_for;

use crate::{Failed, Options};

/// The longest that any one step takes.
pub const LONG: Duration = Duration::from_secs(600);
/// API calls of this program at once, as the floor has them.
pub const AT_ONCE: usize = 100;

/// What a scenario needs.
pub struct World {
    pub cluster: Cluster,
    pub client: Client,
    pub github: GitHub,
    pub namespace: String,
    gtm: PathBuf,
    folder: Folder,
}

/// A cluster with the operator's resource definitions.
pub fn cluster() -> Result<ClusterBuilder, Failed> {
    let crds = github_token_manager::cli::crds::yaml().map_err(|_| "the CRDs cannot be written")?;
    Ok(Cluster::builder().with_crds(crds))
}

impl World {
    /// A world without an operator.
    pub async fn new(options: &Options, cluster: ClusterBuilder) -> Result<Self, Failed> {
        let cluster = cluster.start().await?;
        Ok(World {
            client: cluster.client().await?,
            namespace: cluster.namespace("bench").await?,
            github: GitHub::start(Settings::default()).await?,
            folder: Folder::new()?,
            gtm: options.gtm.clone(),
            cluster,
        })
    }

    /// An operator that is not started yet; `more` is added to its configuration.
    pub fn operator(&self, more: &str) -> Result<Builder, Failed> {
        Ok(self.replica(more)?.leader_elect(false))
    }

    /// The same, as one of several that elect a leader.
    pub fn replica(&self, more: &str) -> Result<Builder, Failed> {
        let pem = self.github.key().ok_or("the App has no key")?.pkcs1_pem();
        let key = self.folder.write("key.pem", pem.as_bytes())?;
        let config = format!("{}{more}\n", self.github.gtm_yaml("file", key.display()));
        let config = self.folder.write("gtm.yaml", config.as_bytes())?;
        let builder = Operator::builder(&self.gtm, self.cluster.kubeconfig_path());
        Ok(builder.config(&config).namespace("default"))
    }

    pub fn tokens(&self) -> Api<Token> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates Tokens `PREFIX-0` and so on.
    pub async fn create_tokens(&self, prefix: &str, count: usize) -> Result<Vec<Token>, Failed> {
        let tokens = self.tokens();
        let create = |number| {
            let name = format!("{prefix}-{number}");
            let spec =
                serde_json::json!({"permissions": {"contents": "read", "metadata": "read"}, "repositories": ["alpha"]});
            let object = serde_json::json!({"apiVersion": "github.as-code.io/v1", "kind": "Token",
                "metadata": {"name": name}, "spec": spec});
            let tokens = tokens.clone();
            async move {
                let object: Token = serde_json::from_value(object)?;
                Ok::<_, Failed>(tokens.create(&PostParams::default(), &object).await?)
            }
        };
        stream::iter(0..count)
            .map(create)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Creates Secrets that have nothing to do with the operator.
    pub async fn create_unrelated_secrets(&self, count: usize, bytes: usize) -> Result<(), Failed> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "default");
        let create = |number: usize| {
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(format!("unrelated-{number}")),
                    ..ObjectMeta::default()
                },
                data: Some([("data".to_owned(), k8s_openapi::ByteString(vec![b'x'; bytes]))].into()),
                ..Secret::default()
            };
            let secrets = secrets.clone();
            async move {
                secrets.create(&PostParams::default(), &secret).await?;
                Ok::<_, Failed>(())
            }
        };
        stream::iter(0..count)
            .map(create)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Waits until GitHub has issued so many tokens.
    pub async fn minted(&self, count: usize) -> Result<(), Failed> {
        Ok(wait_for(LONG, "the tokens to be issued", async || {
            match self.github.mint_count() {
                now if now >= count => Ok(()),
                now => Err(format!("{now} of {count}")),
            }
        })
        .await?)
    }

    /// Waits until every Token of the namespace is ready.
    pub async fn all_ready(&self) -> Result<(), Failed> {
        Ok(wait_for(LONG, "all Tokens to be ready", async || {
            let waits = |token: &Token| !token.status.as_ref().is_some_and(is_ready);
            match self.each_token().await {
                Err(error) => Err(error.to_string()),
                Ok(tokens) => match tokens.iter().filter(|token| waits(token)).count() {
                    0 => Ok(()),
                    left => Err(format!("{left} are not")),
                },
            }
        })
        .await?)
    }

    /// All Tokens of the namespace, from the API server's memory.
    pub async fn each_token(&self) -> Result<Vec<Token>, Failed> {
        Ok(self.tokens().list(&ListParams::default()).await?.items)
    }

    /// Creates so many Tokens and has all of them issued; the operator goes on.
    pub async fn issued(&self, operator: &Operator, count: usize) -> Result<(), Failed> {
        let before = self.github.mint_count();
        self.create_tokens("token", count).await?;
        self.minted(before + count).await?;
        self.all_ready().await?;
        self.looked_at(operator, count).await
    }

    /// Waits until the operator knows of the token of each of so many Tokens.
    pub async fn looked_at(&self, operator: &Operator, count: usize) -> Result<(), Failed> {
        Ok(wait_for(LONG, "the operator to have looked at all Tokens", async || {
            let metrics = operator.metrics().await.map_err(|error| error.to_string())?;
            let active = metrics.value("tokens_active", &[]).unwrap_or_default();
            (active >= count as f64)
                .then_some(())
                .ok_or(format!("{active} of {count}"))
        })
        .await?)
    }
}

/// Whether the Ready condition says so.
pub fn is_ready(status: &TokenStatus) -> bool {
    status.condition("Ready").is_some_and(|ready| ready.status == "True")
}

/// Memory in MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Processor time of this program, which includes the GitHub stand-in, in seconds.
pub fn own_cpu() -> Result<f64, Failed> {
    Ok(Usage::of(std::process::id())?.cpu.as_secs_f64())
}

/// Processor time of the API server, in seconds.
pub fn server_cpu(cluster: &Cluster) -> Result<f64, Failed> {
    let pid = cluster.apiserver_pid().ok_or("the API server is down")?;
    Ok(Usage::of(pid)?.cpu.as_secs_f64())
}
