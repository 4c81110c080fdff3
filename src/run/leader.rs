//! One leader at a time.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::LeaseManagerBuilder;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::names::LEASE;

/// How long a leader that has gone silent is waited for, in seconds; with the time that a standby takes to see it, a new leader
/// works within 15 s.
const DURATION: u64 = 10;
/// How long before its end the lease is renewed, in seconds.
const GRACE: u64 = 5;

/// Whether this replica leads, from now on and for as long as `stop` is not cancelled; the lease is given back then.
pub struct Leadership {
    /// The present state.
    pub leads: watch::Receiver<bool>,
    /// Ends when the lease can no longer be taken care of, or after it was given back.
    pub task: tokio::task::JoinHandle<Result<(), String>>,
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
    let manager = LeaseManagerBuilder::new(client, LEASE)
        .with_namespace(namespace)
        .with_identity(identity)
        .with_duration(DURATION)
        .with_grace(GRACE)
        .build()
        .await
        .map_err(|error| format!("the Lease {namespace}/{LEASE} cannot be used: {error}"))?;
    let (mut held, keeper) = manager.watch().await;
    let (tell, leads) = watch::channel(false);
    let task = tokio::spawn(async move {
        loop {
            tell.send_replace(*held.borrow_and_update());
            tokio::select! {
                () = stop.cancelled() => break,
                changed = held.changed() => if changed.is_err() { break },
            }
        }
        tell.send_replace(false);
        drop(held);
        match tokio::time::timeout(Duration::from_secs(5), keeper).await {
            Ok(Ok(Ok(_))) => Ok(()),
            Ok(Ok(Err(error))) => Err(format!("the lease could not be kept: {error}")),
            Ok(Err(error)) => Err(format!("the keeper of the lease died: {error}")),
            Err(_) => Err("the lease could not be given back within 5 s".to_owned()),
        }
    });
    Ok(Leadership { leads, task })
}
