//! Our own certificate authority, kept by every replica for itself: the Secret and the configurations are all they share, and a
//! write that another replica was faster with means to read again.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::api::names::webhook::{AUTHORITY, SERVICE};
use crate::cluster::{Authorities, ClusterError, Configuration, Configurations, Hook};
use crate::domain::authority::{Leaf, Life, Step, Terms, step, wants_leaf};

use super::certificate::{CertificateError, Signer, bundle};
use super::vault::Vault;

/// How often the wall clock is looked at.
const TICK: Duration = Duration::from_secs(60);
/// How long to wait after something went wrong.
const PAUSE: Duration = Duration::from_secs(5);
/// More steps than one look ever takes.
const MOST_STEPS: usize = 12;

/// Keeps authority, configurations and the replica's own leaf.
pub struct Authority {
    /// The Secret.
    pub secret: Authorities,
    /// The configurations.
    pub configurations: Configurations,
    /// The operator's own namespace.
    pub namespace: String,
    /// How long things last.
    pub terms: Terms,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
    /// Where the leaf is served from.
    pub serve: watch::Sender<Option<Arc<CertifiedKey>>>,
}

/// Why a look came to no end.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Cluster(#[from] ClusterError),
    #[error("{0}")]
    Certificate(#[from] CertificateError),
    #[error(
        "the Secret {0}/{AUTHORITY} does not take what is to be in it: {1}; delete that Secret, and it is made anew"
    )]
    Unfit(String, String),
    #[error("the certificate authority does not come to rest")]
    Restless,
}

impl Authority {
    /// Works for as long as it is polled.
    pub async fn keep(self) {
        let mut changes = self.configurations.changes();
        let mut tick = interval(TICK.min(self.terms.settle));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leaf = None;
        let mut told = String::new();
        loop {
            match self.look(&mut leaf).await {
                Ok(()) => {
                    told.clear();
                    tokio::select! {
                        _ = tick.tick() => {}
                        Some(()) = changes.next() => {}
                    }
                }
                // Another replica was faster: what it wrote is read at once.
                Err(Trouble::Cluster(ClusterError::Conflict | ClusterError::Exists | ClusterError::Missing)) => {
                    sleep(PAUSE / 50).await;
                }
                Err(trouble) => {
                    let trouble = trouble.to_string();
                    if trouble != told {
                        tracing::warn!("the webhook's certificate authority: {trouble}; it is tried again every 5 s");
                        told = trouble;
                    }
                    self.withdraw(&mut leaf);
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Takes steps until there is nothing left to do, and signs a leaf if one is due.
    async fn look(&self, leaf: &mut Option<Leaf>) -> Result<(), Trouble> {
        for _ in 0..MOST_STEPS {
            let now = (self.clock)();
            let vault = Vault::read(self.secret.get().await?);
            let configurations = match self.configurations.list().await {
                Ok(all) => all,
                // Rights of a version without a webhook: what is served then is nobody's business but the admin's.
                Err(ClusterError::Forbidden(why)) => {
                    tracing::warn!("no caBundle is written: {why}");
                    return self.alone(now, vault, leaf).await;
                }
                Err(error) => return Err(error.into()),
            };
            self.sign(now, &vault, &configurations, leaf)?;
            let bundle = vault.bundle();
            let published = configurations
                .iter()
                .all(|configuration| is_published(now, configuration, &bundle));
            match step(now, &vault.stored(), published, &self.terms) {
                Step::Rest => return Ok(()),
                Step::Publish => self.publish(now, &configurations, &bundle).await?,
                step => {
                    let next = self.changed(now, step, vault, &configurations)?;
                    self.put(&next).await?;
                    tracing::info!(step = ?step, "the webhook's certificate authority has changed");
                }
            }
        }
        Err(Trouble::Restless)
    }

    /// Signs a leaf where the configurations are out of reach: nothing is rotated, since nobody could be told.
    async fn alone(&self, now: Timestamp, mut vault: Vault, leaf: &mut Option<Leaf>) -> Result<(), Trouble> {
        if step(now, &vault.stored(), true, &self.terms) == Step::Create {
            vault = self.changed(now, Step::Create, vault, &[])?;
            self.put(&vault).await?;
        }
        vault.published_at.get_or_insert(now);
        Ok(self.sign(now, &vault, &[], leaf)?)
    }

    async fn put(&self, vault: &Vault) -> Result<(), Trouble> {
        let put = self.secret.put(&vault.write(&self.namespace)).await;
        put.map_err(|error| match error {
            // Immutable, or of a type that wants other keys: nothing that is written to it will do.
            ClusterError::Invalid(said) => Trouble::Unfit(self.namespace.clone(), said),
            error => error.into(),
        })
    }

    fn changed(&self, now: Timestamp, step: Step, mut vault: Vault, there: &[Configuration]) -> Result<Vault, Trouble> {
        match step {
            Step::Create => {
                let hooks = there.iter().flat_map(|configuration| &configuration.hooks);
                vault.replace(self.new_signer(now)?, hooks.map(|hook| hook.ca_bundle.as_slice()), now);
            }
            Step::Prepare => vault.prepare(self.new_signer(now)?),
            Step::Recall => vault.published_at = None,
            Step::Confirm => vault.published_at = Some(now),
            Step::Switch => vault.switch(now),
            Step::Forget => vault.previous.clear(),
            Step::Publish | Step::Rest => {}
        }
        Ok(vault)
    }

    fn new_signer(&self, now: Timestamp) -> Result<Signer, CertificateError> {
        Signer::generate(Life::new(now, self.terms.authority, self.terms.backdate))
    }

    async fn publish(&self, now: Timestamp, configurations: &[Configuration], ours: &str) -> Result<(), ClusterError> {
        let mut failed = Ok(());
        for configuration in configurations
            .iter()
            .filter(|configuration| !is_published(now, configuration, ours))
        {
            let wanted = |hook: &Hook| wanted(now, configuration, hook, ours);
            // One that we may not write, of another installation, is no reason to leave our own.
            let trusted = self.configurations.trust(configuration, wanted).await;
            failed = failed.and(trusted.map(drop));
        }
        failed
    }

    fn sign(
        &self,
        now: Timestamp,
        vault: &Vault,
        there: &[Configuration],
        leaf: &mut Option<Leaf>,
    ) -> Result<(), CertificateError> {
        let names = self.names(there);
        if !wants_leaf(now, &vault.stored(), leaf.as_ref(), &names, &self.terms) {
            return Ok(());
        }
        let Some(signer) = &vault.signer else { return Ok(()) };
        let life = Life::new(now, self.terms.leaf, self.terms.backdate);
        self.serve.send_replace(Some(Arc::new(signer.leaf(life, &names)?)));
        tracing::info!(names = names.join(","), until = %life.until, "a new certificate is served");
        *leaf = Some(Leaf {
            signer: signer.facts.id.clone(),
            life,
            names,
        });
        Ok(())
    }

    /// Serves no certificate that is over: the API server would refuse it, and readiness says so.
    fn withdraw(&self, leaf: &mut Option<Leaf>) {
        if leaf.take_if(|leaf| leaf.life.until <= (self.clock)()).is_some() {
            self.serve.send_replace(None);
            tracing::error!("the webhook's certificate is over, and no new one can be signed");
        }
    }

    /// The names by which the API server calls: those that the configurations say.
    fn names(&self, there: &[Configuration]) -> Vec<String> {
        let hooks = there.iter().flat_map(|configuration| &configuration.hooks);
        let mut names: Vec<String> = hooks.map(|hook| hook.host.clone()).collect();
        names.push(format!("{SERVICE}.{}.svc", self.namespace));
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn is_published(now: Timestamp, configuration: &Configuration, ours: &str) -> bool {
    let mut hooks = configuration.hooks.iter();
    hooks.all(|hook| hook.ca_bundle == wanted(now, configuration, hook, ours).as_bytes())
}

/// Whom a webhook has to trust: ours alone. Where cert-manager writes the bundle as well, whoever is there already, too: replicas may
/// serve a certificate of either's, and each would undo for ever what the other has written. cert-manager takes out what is over.
fn wanted(now: Timestamp, configuration: &Configuration, hook: &Hook, ours: &str) -> String {
    if !configuration.injected {
        return ours.to_owned();
    }
    let mut all = String::from_utf8_lossy(&hook.ca_bundle).into_owned();
    for (authority, pem) in bundle(ours.as_bytes()) {
        if authority.life.until > now && !all.contains(&pem) {
            if !all.is_empty() && !all.ends_with('\n') {
                all.push('\n');
            }
            all += &pem;
        }
    }
    all
}
