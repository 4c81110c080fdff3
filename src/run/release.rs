//! `gtm release`: what the operator holds on to is let go of, so that nothing waits for an operator that is not there any more.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::clock::now;
use super::connection::connect;
use super::leader::{DURATION, holder, vacate, write};
use crate::api::names::LEASE;
use crate::cluster::{ClusterError, Scope, Secrets};

/// Who has the Lease meanwhile.
const HOLDER: &str = "gtm-release";
/// How long no replica leads after the end, in seconds: time to uninstall it.
const PEACE: i32 = 60;
/// Until a leader has seen that it is none any more, which it does before its own term ends.
const NOTICE: Duration = Duration::from_secs(DURATION + 2);
/// A leader that renews its term shortens ours: so ours is renewed more often.
const RENEW: Duration = Duration::from_secs(1);
/// How often Secrets are listed again that changed in the meantime.
const TRIES: usize = 5;

/// Takes the Lease from the replica that leads, and the finalizer from every managed Secret of `scope`. The number of Secrets. Tokens
/// stay good until they expire. Who may not do this leaves the lead where it is.
///
/// # Errors
/// A text: what the API server said.
pub async fn release(namespace: &str, scope: Scope) -> Result<usize, String> {
    let client = connect().await?;
    let lease = Api::<Lease>::namespaced(client.clone(), namespace);
    let secrets = Secrets::new(client);
    let of_secrets = |error| format!("the managed Secrets: {error}");
    // Before the operator is stopped for it: may they be listed at all?
    secrets.held(&scope).await.map_err(of_secrets)?;
    let done = alone(&lease, &secrets, &scope).await;
    if done.is_err() {
        give_back(&lease).await;
    }
    done.map_err(|error| match error {
        Trouble::Lease(error) => format!("the Lease {namespace}/{LEASE}: {error}"),
        Trouble::Secrets(error) => of_secrets(error),
    })
}

/// What could not be changed.
enum Trouble {
    Lease(ClusterError),
    Secrets(ClusterError),
}

/// Lets go of the Secrets while no replica leads.
async fn alone(lease: &Api<Lease>, secrets: &Secrets, scope: &Scope) -> Result<usize, Trouble> {
    let started = Instant::now();
    // Without a Lease, no replica has ever worked here.
    while take(lease).await.map_err(Trouble::Lease)? && started.elapsed() < NOTICE {
        sleep(RENEW).await;
    }
    let released = let_go(secrets, scope).await.map_err(Trouble::Secrets)?;
    take(lease).await.map_err(Trouble::Lease)?;
    Ok(released)
}

/// Lets a replica lead again at once, if the Lease is still ours; else it does so by itself when the minute is over.
async fn give_back(lease: &Api<Lease>) {
    let held = lease.get_opt(LEASE).await.ok().flatten();
    let Some(held) = held.filter(|held| holder(held) == Some(HOLDER)) else {
        return;
    };
    let _ = vacate(lease, held.metadata.resource_version).await;
}

/// `false` when there is no Lease.
async fn take(lease: &Api<Lease>) -> Result<bool, ClusterError> {
    let time = format!("{:.6}", now());
    let ours = json!({"spec": {
        "holderIdentity": HOLDER, "acquireTime": time, "renewTime": time, "leaseDurationSeconds": PEACE}});
    match write(lease, &ours).await {
        Ok(_) => Ok(true),
        Err(ClusterError::Missing) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn let_go(secrets: &Secrets, scope: &Scope) -> Result<usize, ClusterError> {
    let mut released = 0;
    for _ in 0..TRIES {
        let held = secrets.held(scope).await?;
        if held.is_empty() {
            return Ok(released);
        }
        for (key, metadata) in held {
            match secrets.release(&key, &metadata, Some(now().into())).await {
                Ok(()) => released += 1,
                // It is listed again.
                Err(ClusterError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
    }
    let left = secrets.held(scope).await?.len();
    let unfinished = || {
        ClusterError::Unavailable(format!(
            "{left} Secrets are held again and again: stop the operator first"
        ))
    };
    (left == 0).then_some(released).ok_or_else(unfinished)
}
