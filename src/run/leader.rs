//! One leader at a time, by a Lease of Kubernetes. No clock is compared with another machine's: a leader counts from when it sent its
//! last renewal, everybody else from when they saw that one.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::api::names::{LEASE, MANAGER};
use crate::cluster::ClusterError;

/// How long a leader that has gone silent is waited for, in seconds, from its last renewal that was seen: so a new leader works within
/// 15 s.
pub(super) const DURATION: u64 = 10;
/// How long a leader goes on from when it sent its last renewal that was answered.
const LAPSE: Duration = Duration::from_secs(DURATION - 1);
/// How long work under way may take after that: it has ended before the others begin.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);
/// How often the Lease is renewed.
const RENEW: Duration = Duration::from_secs(2);
/// How often who does not lead looks at the Lease, and how soon what has failed is tried again.
const LOOK: Duration = Duration::from_secs(1);
/// How long an answer is waited for: two of them fit into a term.
const PATIENCE: Duration = Duration::from_millis(4_400);
/// How long it may take to give the Lease back.
const PARTING: Duration = Duration::from_secs(5);
/// The term, in seconds, of a Lease that was given back, as client-go writes it (tools/leaderelection, `release`): of one that has lost its
/// holder in another way, that may not know it yet.
const GIVEN_BACK: i32 = 1;

/// Whether this replica leads, from now on and for as long as `stop` is not cancelled; the lease is given back then.
pub struct Leadership {
    /// The present state.
    pub leads: watch::Receiver<bool>,
    /// Ends after the lease was given back, or when that could not be done.
    pub task: JoinHandle<Result<(), String>>,
}

/// Takes part in the election. `clock` is the wall clock, for people who read the Lease.
pub fn campaign(
    client: Client,
    namespace: &str,
    identity: String,
    clock: fn() -> Timestamp,
    stop: CancellationToken,
) -> Leadership {
    let candidate = Candidate {
        lease: Api::namespaced(client, namespace),
        namespace: namespace.to_owned(),
        identity,
        clock,
        seen: None,
    };
    let (tell, leads) = watch::channel(false);
    let task = tokio::spawn(candidate.run(tell, stop));
    Leadership { leads, task }
}

/// A replica that takes part.
struct Candidate {
    lease: Api<Lease>,
    namespace: String,
    identity: String,
    clock: fn() -> Timestamp,
    seen: Option<Seen>,
}

/// The last renewal of someone else.
struct Seen {
    holder: String,
    renewal: Option<MicroTime>,
    /// When it was seen first.
    since: Instant,
    term: Duration,
}

impl Seen {
    fn may_still_lead(&self) -> bool {
        self.since.elapsed() <= self.term
    }
}

/// The Lease as this replica has written it.
struct Held {
    lease: Lease,
    /// When the write was sent.
    since: Instant,
}

impl Candidate {
    async fn run(mut self, tell: watch::Sender<bool>, stop: CancellationToken) -> Result<(), String> {
        loop {
            let held = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                held = self.stand_by() => held,
            };
            tell.send_replace(true);
            let last = self.lead(held, &stop).await;
            tell.send_replace(false);
            if let Some(held) = last {
                return self.give_back(held).await;
            }
        }
    }

    /// Waits until nobody else leads. The webhook of a replica does not depend on whether the Lease can be read at the moment, and an API
    /// server that is down while the operator starts is waited for.
    async fn stand_by(&mut self) -> Held {
        let mut told = String::new();
        loop {
            match self.apply().await.map_err(|error| self.unusable(&error)) {
                Ok(Some(held)) => return held,
                Ok(None) => told.clear(),
                Err(error) if error == told => {}
                Err(error) => {
                    tracing::warn!("{error}; it is tried again every second");
                    told = error;
                }
            }
            sleep(LOOK).await;
        }
    }

    /// Takes the Lease if nobody else holds it.
    async fn apply(&mut self) -> Result<Option<Held>, ClusterError> {
        let found = self.look().await?;
        if self.is_taken(found.as_ref()) {
            return Ok(None);
        }
        self.hold(found.as_ref()).await
    }

    /// Whether someone else may still lead: who holds the Lease, or was seen to hold it before it was deleted, or cleared by hand.
    fn is_taken(&mut self, found: Option<&Lease>) -> bool {
        let spec = found.and_then(|found| found.spec.as_ref());
        let term = spec.and_then(|spec| spec.lease_duration_seconds);
        let Some(holder) = found.and_then(holder) else {
            return term != Some(GIVEN_BACK) && self.seen.as_ref().is_some_and(Seen::may_still_lead);
        };
        if holder == self.identity {
            return false;
        }
        let renewal = spec.and_then(|spec| spec.renew_time.clone());
        let known = self
            .seen
            .as_ref()
            .is_some_and(|seen| seen.holder == holder && seen.renewal == renewal);
        if !known {
            let term = term.and_then(|term| u64::try_from(term).ok()).unwrap_or_default();
            self.seen = Some(Seen {
                holder: holder.to_owned(),
                renewal,
                since: Instant::now(),
                // Not less than ours: before someone wrote into it, the Lease may have been that of one of us.
                term: Duration::from_secs(term.max(DURATION)),
            });
        }
        self.seen.as_ref().is_some_and(Seen::may_still_lead)
    }

    /// Keeps the Lease until `stop`, when it is handed back, or until another one may lead.
    async fn lead(&self, mut held: Held, stop: &CancellationToken) -> Option<Held> {
        let mut next = held.since + RENEW;
        let mut told = String::new();
        loop {
            let renewed = async {
                sleep_until(next).await;
                self.renew(&held.lease).await
            };
            let renewed = tokio::select! {
                () = stop.cancelled() => return Some(held),
                () = sleep_until(held.since + LAPSE) => {
                    tracing::warn!(
                        "the Lease {LEASE} could not be renewed for {LAPSE:?}; this replica steps down before another one leads"
                    );
                    return None;
                }
                renewed = renewed => renewed,
            };
            next = Instant::now() + LOOK;
            match renewed {
                Ok(Some(renewed)) => {
                    next = renewed.since + RENEW;
                    held = renewed;
                    told.clear();
                }
                Ok(None) => return None,
                Err(ClusterError::Conflict) => {}
                Err(error) if self.unusable(&error) == told => {}
                Err(error) => {
                    told = self.unusable(&error);
                    tracing::warn!("{told}; it is tried again every second");
                }
            }
        }
    }

    /// `None`: someone else has it.
    async fn renew(&self, held: &Lease) -> Result<Option<Held>, ClusterError> {
        match self.hold(Some(held)).await {
            Ok(None) | Err(ClusterError::Missing | ClusterError::Unserved) => {}
            other => return other,
        }
        // A write of ours may have arrived whose answer did not, and whoever has deleted it does not lead.
        let found = self.look().await?;
        if found
            .as_ref()
            .is_some_and(|found| holder(found) != Some(&self.identity))
        {
            return Ok(None);
        }
        self.hold(found.as_ref()).await?.ok_or(ClusterError::Conflict).map(Some)
    }

    /// Writes this replica into the Lease that was found, or into a new one. `None`: someone else has written to it since.
    async fn hold(&self, found: Option<&Lease>) -> Result<Option<Held>, ClusterError> {
        let since = Instant::now();
        let now = MicroTime((self.clock)());
        let before = found.and_then(|found| found.spec.clone()).unwrap_or_default();
        let ours = found.and_then(holder) == Some(&self.identity);
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION).ok(),
            acquire_time: before.acquire_time.filter(|_| ours).or(Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(
                before
                    .lease_transitions
                    .unwrap_or_default()
                    .saturating_add(i32::from(!ours)),
            ),
            ..LeaseSpec::default()
        };
        let written = match found {
            Some(found) => {
                let version = &found.metadata.resource_version;
                let change = json!({"metadata": {"resourceVersion": version}, "spec": spec});
                answered(async { write(&self.lease, &change).await }).await
            }
            None => {
                let metadata = ObjectMeta {
                    name: Some(LEASE.to_owned()),
                    ..ObjectMeta::default()
                };
                let made = Lease {
                    metadata,
                    spec: Some(spec),
                };
                let params = PostParams {
                    field_manager: Some(MANAGER.to_owned()),
                    ..PostParams::default()
                };
                answered(async { Ok(self.lease.create(&params, &made).await?) }).await
            }
        };
        match written {
            Ok(lease) => Ok(Some(Held { lease, since })),
            Err(ClusterError::Conflict | ClusterError::Exists) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn look(&self) -> Result<Option<Lease>, ClusterError> {
        answered(async { Ok(self.lease.get_opt(LEASE).await?) }).await
    }

    /// Lets another replica lead at once.
    async fn give_back(&self, held: Held) -> Result<(), String> {
        let given = async {
            let mut version = held.lease.metadata.resource_version;
            loop {
                match vacate(&self.lease, version).await {
                    Err(ClusterError::Conflict) => {}
                    other => return other.map(drop),
                }
                let found = self.look().await?.filter(|found| holder(found) == Some(&self.identity));
                let Some(found) = found else { return Ok(()) };
                version = found.metadata.resource_version;
            }
        };
        match timeout(PARTING, given).await {
            Ok(Ok(()) | Err(ClusterError::Missing)) => Ok(()),
            Ok(Err(error)) => Err(format!("the Lease could not be given back: {error}")),
            Err(_) => Err(format!("the Lease could not be given back within {PARTING:?}")),
        }
    }

    /// What the API server said, shortly, and what helps.
    fn unusable(&self, error: &ClusterError) -> String {
        let namespace = &self.namespace;
        let cure = match error {
            ClusterError::NamespaceUnavailable(_) => {
                format!("; create the namespace {namespace}, or name another by --namespace")
            }
            _ => String::new(),
        };
        format!("the Lease {namespace}/{LEASE} cannot be used: {error}{cure}")
    }
}

/// Who holds a Lease, if anyone does.
pub(super) fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref();
    holder.filter(|holder| !holder.is_empty())
}

async fn answered<T>(call: impl Future<Output = Result<T, ClusterError>>) -> Result<T, ClusterError> {
    let late = |_| ClusterError::Unavailable(format!("the API server has not answered within {PATIENCE:?}"));
    timeout(PATIENCE, call).await.map_err(late)?
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
    // The times stay: some elections take a Lease without them for one that is held.
    let nobody = json!({"metadata": {"resourceVersion": version}, "spec": {
        "holderIdentity": "", "leaseDurationSeconds": GIVEN_BACK}});
    write(lease, &nobody).await
}

#[cfg(test)]
mod tests;
