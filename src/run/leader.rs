//! One leader at a time.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::names::LEASE;

/// How long a leader that has gone silent is waited for, in seconds; with the time that a standby takes to see it, a new leader
/// works within 15 s.
pub(super) const DURATION: u64 = 10;
/// How long before its end the lease is renewed, in seconds.
const GRACE: u64 = 5;
/// How often a standby looks whether the leader has given the lease back, and how long that may take.
const LOOK: Duration = Duration::from_secs(1);

/// Whether this replica leads, from now on and for as long as `stop` is not cancelled; the lease is given back then.
pub struct Leadership {
    /// The present state.
    pub leads: watch::Receiver<bool>,
    /// Ends when the lease can no longer be taken care of, or after it was given back.
    pub task: JoinHandle<Result<(), String>>,
}

/// Takes part in the election.
///
/// # Errors
/// A text: what the API server said about the Lease.
pub async fn campaign(
    client: Client,
    namespace: &str,
    identity: String,
    stop: CancellationToken,
) -> Result<Leadership, String> {
    let lookout = client.clone();
    let manager = LeaseManagerBuilder::new(client, LEASE)
        .with_namespace(namespace)
        .with_identity(identity)
        .with_duration(DURATION)
        .with_grace(GRACE)
        .build()
        .await
        .map_err(|error| format!("the Lease {namespace}/{LEASE} cannot be used: {error}"))?;
    let lease = Api::<Lease>::namespaced(lookout, namespace);
    let (tell, leads) = watch::channel(false);
    let task = tokio::spawn(async move {
        let mut manager = manager;
        loop {
            let (held, keeper) = manager.watch().await;
            let again = follow(held, &tell, &lease, &stop).await;
            tell.send_replace(false);
            manager = kept(keeper).await?;
            if !again {
                return Ok(());
            }
        }
    });
    Ok(Leadership { leads, task })
}

/// Passes on whether this replica leads. Returns `true` when the lease was given back by its holder: the manager of the lease
/// sleeps until the end of the term that it knows of, so it has to be woken to take over at once.
async fn follow(
    mut held: watch::Receiver<bool>,
    tell: &watch::Sender<bool>,
    lease: &Api<Lease>,
    stop: &CancellationToken,
) -> bool {
    loop {
        let leads = *held.borrow_and_update();
        tell.send_if_modified(|told| std::mem::replace(told, leads) != leads);
        tokio::select! {
            () = stop.cancelled() => return false,
            changed = held.changed() => if changed.is_err() { return false },
            free = is_free(lease), if !leads => if free { return true },
        }
    }
}

/// Whether nobody holds the lease, after a pause.
async fn is_free(lease: &Api<Lease>) -> bool {
    tokio::time::sleep(LOOK).await;
    let Ok(Ok(Some(found))) = tokio::time::timeout(LOOK, lease.get_opt(LEASE)).await else {
        return false;
    };
    let holder = found.spec.and_then(|spec| spec.holder_identity);
    holder.is_none_or(|holder| holder.is_empty())
}

/// The end of the lease's keeper, which first gives back what it holds.
async fn kept(keeper: JoinHandle<Result<LeaseManager, LeaseManagerError>>) -> Result<LeaseManager, String> {
    match tokio::time::timeout(Duration::from_secs(5), keeper).await {
        Ok(Ok(Ok(manager))) => Ok(manager),
        Ok(Ok(Err(error))) => Err(format!("the lease could not be kept: {error}")),
        Ok(Err(error)) => Err(format!("the keeper of the lease died: {error}")),
        Err(_) => Err("the lease could not be given back within 5 s".to_owned()),
    }
}
