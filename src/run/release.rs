//! `gtm release`: what the operator holds on to is let go of, so that nothing waits for an operator that is not there any more.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::clock::now;
use super::connection::connect;
use super::leader::DURATION;
use crate::api::names::{LEASE, MANAGER};
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
/// stay good until they expire.
///
/// # Errors
/// A text: what the API server said.
pub async fn release(namespace: &str, scope: Scope) -> Result<usize, String> {
    let client = connect().await?;
    let lease = Api::<Lease>::namespaced(client.clone(), namespace);
    let started = Instant::now();
    // Without a Lease, no replica has ever worked here.
    while take(&lease)
        .await
        .map_err(|error| format!("the Lease {namespace}/{LEASE}: {error}"))?
        && started.elapsed() < NOTICE
    {
        sleep(RENEW).await;
    }
    let released = let_go(&Secrets::new(client), &scope).await;
    let released = released.map_err(|error| format!("the managed Secrets: {error}"))?;
    take(&lease)
        .await
        .map_err(|error| format!("the Lease {namespace}/{LEASE}: {error}"))?;
    Ok(released)
}

/// `false` when there is no Lease.
async fn take(lease: &Api<Lease>) -> Result<bool, ClusterError> {
    let time = format!("{:.6}", now());
    let ours = json!({"spec": {
        "holderIdentity": HOLDER, "acquireTime": time, "renewTime": time, "leaseDurationSeconds": PEACE}});
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match lease
        .patch(LEASE, &params, &Patch::Merge(&ours))
        .await
        .map_err(ClusterError::from)
    {
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
            match secrets.release(&key, &metadata).await {
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
