//! One leader at a time.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::names::{LEASE, MANAGER};
use crate::cluster::ClusterError;

/// How long a leader that has gone silent is waited for, in seconds; with the time that a standby takes to see it, a new leader
/// works within 15 s.
pub(super) const DURATION: u64 = 10;
/// How long before its end the lease is renewed, in seconds.
const GRACE: u64 = 5;
/// How often the lease is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long a look may take: an API server that is slow for a moment is none that cannot be reached.
const PATIENCE: Duration = Duration::from_secs(2);
/// How much longer than its term a holder is waited for that has gone silent, where its clock is not ours.
const SLACK: Duration = Duration::from_secs(2);
/// How long a leader goes on that sees no renewal of its own: it ends before others may begin, who wait for the whole term.
const LAPSE: Duration = Duration::from_secs(DURATION).saturating_sub(SLACK);

/// Whether this replica leads, from now on and for as long as `stop` is not cancelled; the lease is given back then.
pub struct Leadership {
    /// The present state.
    pub leads: watch::Receiver<bool>,
    /// Ends when the lease can no longer be taken care of, or after it was given back.
    pub task: JoinHandle<Result<(), String>>,
}

/// Takes part in the election, which begins when the Lease can be read.
pub fn campaign(client: Client, namespace: &str, identity: String, stop: CancellationToken) -> Leadership {
    let candidate = Candidate {
        client,
        namespace: namespace.to_owned(),
        identity,
    };
    let (tell, leads) = watch::channel(false);
    let task = tokio::spawn(candidate.run(tell, stop));
    Leadership { leads, task }
}

/// A replica that takes part.
struct Candidate {
    client: Client,
    namespace: String,
    identity: String,
}

impl Candidate {
    /// The lease is made where there is none.
    async fn manager(&self) -> Result<LeaseManager, String> {
        let manager = LeaseManagerBuilder::new(self.client.clone(), LEASE)
            .with_namespace(&self.namespace)
            .with_identity(&self.identity)
            .with_duration(DURATION)
            .with_grace(GRACE)
            .build();
        manager.await.map_err(|error| self.unusable(error))
    }

    /// What the API server said, shortly, and what helps.
    fn unusable(&self, error: LeaseManagerError) -> String {
        let namespace = &self.namespace;
        let said = match error {
            LeaseManagerError::KubeError(error) => match ClusterError::from(error) {
                ClusterError::NamespaceUnavailable(said) => {
                    format!("{said}; create the namespace {namespace}, or name another by --namespace")
                }
                other => other.to_string(),
            },
            other => other.to_string(),
        };
        format!("the Lease {namespace}/{LEASE} cannot be used: {said}")
    }

    async fn run(self, tell: watch::Sender<bool>, stop: CancellationToken) -> Result<(), String> {
        let mut lookout = Lookout {
            lease: Api::namespaced(self.client.clone(), &self.namespace),
            identity: self.identity.clone(),
            renewed: None,
        };
        loop {
            lookout.begin(false);
            let manager = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                manager = self.manager_at_last() => manager,
            };
            let (held, keeper) = manager.watch().await;
            let again = follow(held, &tell, &mut lookout, &stop).await;
            tell.send_replace(false);
            if !again {
                return kept(keeper).await;
            }
            // It has nothing to give back.
            keeper.abort();
        }
    }

    /// The webhook of a replica does not depend on whether the lease can be read at the moment, and an API server that is down while
    /// the operator starts is waited for.
    async fn manager_at_last(&self) -> LeaseManager {
        let mut told = String::new();
        loop {
            match self.manager().await {
                Ok(manager) => return manager,
                Err(error) if error == told => {}
                Err(error) => {
                    tracing::warn!("{error}; it is tried again every second");
                    told = error;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Passes on whether this replica leads. Returns `true` when the manager of the lease is to be made anew.
async fn follow(
    mut held: watch::Receiver<bool>,
    tell: &watch::Sender<bool>,
    lookout: &mut Lookout,
    stop: &CancellationToken,
) -> bool {
    loop {
        let leads = *held.borrow_and_update();
        if tell.send_if_modified(|told| std::mem::replace(told, leads) != leads) {
            lookout.begin(leads);
        }
        tokio::select! {
            () = stop.cancelled() => return false,
            changed = held.changed() => if changed.is_err() { return false },
            anew = lookout.calls(leads) => if anew { return true },
        }
    }
}

/// Sees what the manager of the lease does not: it sleeps until the end of the term that it knows of, by its own clock, it makes a
/// lease only at its own beginning, and it goes on holding what it can neither renew nor read.
struct Lookout {
    lease: Api<Lease>,
    identity: String,
    /// The last renewal, and when it was first seen: by the holder's clock, and by ours.
    renewed: Option<(Option<MicroTime>, Instant)>,
}

impl Lookout {
    /// This replica begins to lead, or to stand by: what was seen before counts for nothing.
    fn begin(&mut self, leads: bool) {
        self.renewed = leads.then(|| (None, Instant::now()));
    }

    /// After a pause: whether the lease is gone; for who leads, whether it is not ours any more, or was not renewed for so long that
    /// others may begin; and for others, whether nobody holds it.
    async fn calls(&mut self, leads: bool) -> bool {
        let begun = self.renewed.as_ref().filter(|_| leads).map(|(_, since)| *since);
        let lapse = begun.map(|since| since + LAPSE);
        let until = |at: Instant| lapse.map_or(at, |lapse| at.min(lapse));
        tokio::time::sleep_until(until(Instant::now() + LOOK)).await;
        let look = self.lease.get_opt(LEASE);
        let Ok(Ok(found)) = tokio::time::timeout_at(until(Instant::now() + PATIENCE), look).await else {
            return self.has_lapsed(lapse);
        };
        let Some(Lease { metadata, spec }) = found else {
            return true;
        };
        let spec = spec.unwrap_or_default();
        match spec.holder_identity.as_deref().filter(|holder| !holder.is_empty()) {
            holder if leads => holder != Some(&self.identity) || (!self.is_renewed(&spec) && self.has_lapsed(lapse)),
            None => true,
            Some(_) => self.is_silent(&spec) && self.clear(metadata.resource_version).await,
        }
    }

    /// Whether our own term has passed, as far as we know.
    fn has_lapsed(&self, lapse: Option<Instant>) -> bool {
        let lapsed = lapse.is_some_and(|lapse| Instant::now() >= lapse);
        if lapsed {
            tracing::warn!(
                "the Lease {LEASE} was not seen renewed for {LAPSE:?}; this replica steps down before another one leads"
            );
        }
        lapsed
    }

    /// Whether we have renewed it since the last look. The first look shows only from when on.
    fn is_renewed(&mut self, spec: &LeaseSpec) -> bool {
        let Some((renewal, since)) = &mut self.renewed else {
            return false;
        };
        let before = std::mem::replace(renewal, spec.renew_time.clone());
        let renewed = before.is_some() && before != spec.renew_time;
        if renewed {
            *since = Instant::now();
        }
        renewed
    }

    /// Whether the holder has let its term pass, by our clock alone: its own may be ahead, and with it the end of the term.
    fn is_silent(&mut self, spec: &LeaseSpec) -> bool {
        match &self.renewed {
            Some((renewal, since)) if *renewal == spec.renew_time => {
                let term = u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
                since.elapsed() > Duration::from_secs(term) + SLACK
            }
            _ => {
                self.renewed = Some((spec.renew_time.clone(), Instant::now()));
                false
            }
        }
    }

    /// Takes the lease from its holder, unless it was renewed meanwhile.
    async fn clear(&self, version: Option<String>) -> bool {
        let cleared = vacate(&self.lease, version);
        matches!(tokio::time::timeout(LOOK, cleared).await, Ok(Ok(_)))
    }
}

/// Writes to the Lease; what is not named stays.
///
/// # Errors
/// What the API server said.
pub(super) async fn write(lease: &Api<Lease>, change: &serde_json::Value) -> Result<Lease, ClusterError> {
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    Ok(lease.patch(LEASE, &params, &Patch::Merge(change)).await?)
}

/// Takes the Lease from its holder, unless it has changed since this version.
///
/// # Errors
/// What the API server said.
pub(super) async fn vacate(lease: &Api<Lease>, version: Option<String>) -> Result<Lease, ClusterError> {
    let nobody = json!({"metadata": {"resourceVersion": version}, "spec": {
        "holderIdentity": null, "acquireTime": null, "renewTime": null, "leaseDurationSeconds": null}});
    write(lease, &nobody).await
}

/// The end of the lease's keeper, which first gives back what it holds.
async fn kept(keeper: JoinHandle<Result<LeaseManager, LeaseManagerError>>) -> Result<(), String> {
    match tokio::time::timeout(Duration::from_secs(5), keeper).await {
        Ok(Ok(Ok(_))) => Ok(()),
        Ok(Ok(Err(error))) => Err(format!("the lease could not be kept: {error}")),
        Ok(Err(error)) => Err(format!("the keeper of the lease died: {error}")),
        Err(_) => Err("the lease could not be given back within 5 s".to_owned()),
    }
}

#[cfg(test)]
mod tests;
