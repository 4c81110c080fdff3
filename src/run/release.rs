//! `gtm release`: what the operator holds on to is let go of, so that nothing waits for an operator that is not there any more.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::clock::now;
use super::connection::connect;
use super::leader::{DURATION, holder, vacate, write};
use crate::api::names::LEASE;
use crate::cluster::{ClusterError, Scope, Secrets};
use crate::domain::intent::SecretKey;

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
/// Secrets that are let go of at once: one by one, a thousand take longer than the minute in which no replica leads.
const ABREAST: usize = 8;
/// Of so many Secrets it is said why they are still held.
const TOLD: usize = 20;

/// What was let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// How many Secrets.
    pub secrets: usize,
    /// Whether there was a Lease to take: without one, an operator that runs elsewhere goes on, and holds each again with its next token.
    pub led: bool,
}

/// Takes the Lease from the replica that leads, and the finalizer from every managed Secret of `scope`. Tokens stay good until they
/// expire. Who may not do this leaves the lead where it is.
///
/// # Errors
/// A text: what the API server said, of each Secret that it keeps.
pub async fn release(namespace: &str, scope: Scope) -> Result<Released, String> {
    let client = connect().await?;
    let lease = Api::<Lease>::namespaced(client.clone(), namespace);
    let secrets = Secrets::new(client);
    // Before the operator is stopped for it: may they be listed at all?
    let (held, unlisted) = held(&secrets, &scope).await;
    if held.is_empty() && !unlisted.is_empty() {
        return Err(format!("the managed Secrets cannot be listed: {}", lines(&unlisted)));
    }
    let done = alone(&lease, &secrets, &scope).await;
    if done.is_err() {
        give_back(&lease).await;
    }
    done.map_err(|error| match error {
        Trouble::Lease(error) => format!("the Lease {namespace}/{LEASE}: {error}"),
        Trouble::Held { of, why } => still_held(of, &why),
    })
}

/// What could not be done.
#[derive(Debug)]
enum Trouble {
    Lease(ClusterError),
    /// So many of so many Secrets; all others are let go of.
    Held {
        of: (usize, usize),
        why: Reasons,
    },
}

/// What is still held, or not known to be let go of: a Secret, or those of a namespace; and why.
type Reasons = BTreeMap<String, String>;

/// A line for each, and one before them.
fn still_held((held, all): (usize, usize), why: &Reasons) -> String {
    format!(
        "{held} of {all} managed Secrets are still held; mend what stands in the way, and run it again:\n{}",
        lines(why)
    )
}

fn lines(why: &Reasons) -> String {
    let told = why.iter().take(TOLD).map(|(what, why)| format!("{what}: {why}"));
    let more = why.len().checked_sub(TOLD).filter(|more| *more > 0);
    let more = more.map(|more| format!("and {more} more"));
    told.chain(more).collect::<Vec<_>>().join("\n")
}

/// Lets go of the Secrets while no replica leads.
async fn alone(lease: &Api<Lease>, secrets: &Secrets, scope: &Scope) -> Result<Released, Trouble> {
    let started = Instant::now();
    // Without a Lease, no replica has ever worked here.
    while take(lease).await.map_err(Trouble::Lease)? && started.elapsed() < NOTICE {
        sleep(RENEW).await;
    }
    let secrets = let_go(secrets, scope).await?;
    let led = take(lease).await.map_err(Trouble::Lease)?;
    Ok(Released { secrets, led })
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

/// Lets go of each Secret that it can: one that is kept holds up no other.
async fn let_go(secrets: &Secrets, scope: &Scope) -> Result<usize, Trouble> {
    let (mut released, mut refused) = (0, BTreeMap::new());
    for _ in 0..TRIES {
        let (held, _) = held(secrets, scope).await;
        let open = held.into_iter().filter(|(key, _)| !refused.contains_key(key));
        let open: Vec<_> = open.collect();
        if open.is_empty() {
            break;
        }
        let release = async |(key, metadata): (SecretKey, ObjectMeta)| {
            let answer = secrets.release(&key, &metadata, Some(now().into())).await;
            (key, answer)
        };
        let mut answers = stream::iter(open).map(release).buffer_unordered(ABREAST);
        while let Some((key, answer)) = answers.next().await {
            match answer {
                Ok(()) => released += 1,
                // It is listed again.
                Err(ClusterError::Conflict) => {}
                Err(error) => drop(refused.insert(key, error)),
            }
        }
    }
    let (left, mut why) = held(secrets, scope).await;
    why.extend(
        left.iter()
            .map(|(key, _)| (key.to_string(), why_held(refused.get(key)))),
    );
    if why.is_empty() {
        return Ok(released);
    }
    let of = (left.len(), released + left.len());
    Err(Trouble::Held { of, why })
}

/// The Secrets that are held, and where that cannot be found out.
async fn held(secrets: &Secrets, scope: &Scope) -> (Vec<(SecretKey, ObjectMeta)>, Reasons) {
    let (mut all, mut unlisted) = (Vec::new(), Reasons::new());
    for (namespace, held) in secrets.held(scope).await {
        match held {
            Ok(held) => all.extend(held),
            Err(error) => {
                let place = namespace.map_or_else(|| "all namespaces".to_owned(), |name| format!("namespace {name}"));
                unlisted.insert(place, error.to_string());
            }
        }
    }
    (all, unlisted)
}

/// Why a Secret is still held.
fn why_held(refused: Option<&ClusterError>) -> String {
    refused.map_or_else(
        || "it is held again and again: stop the operator first".to_owned(),
        ClusterError::to_string,
    )
}

#[cfg(test)]
mod tests;
