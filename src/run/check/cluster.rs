//! The cluster, as far as who asks may look into it: the kinds, other installations, and the objects that a Token is made of.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tokio::time::timeout;

use super::super::clock::now;
use super::super::connection::{connect_by, cure};
use super::super::leader::holder;
use super::{Broken, Chain, CheckOptions, Verdict, webhook};
use crate::api::names::LEASE;
use crate::api::{Reason, crd};
use crate::cluster::{AppObject, AppObjects, ClusterError, Scope, Tokens, is_served, schemas};
use crate::domain::intent::{Intent, Key, app_not_found};
use crate::domain::overview::{Line, Seen, State};
use crate::domain::quote;
use crate::domain::unknown::lacking_fields;

/// How long a cluster may take that nobody asked for by name.
const PATIENCE: Duration = Duration::from_secs(5);
/// What helps where nothing can be asked of the cluster.
const ELSEWHERE: &str = "name another kubeconfig by --kubeconfig or KUBECONFIG; the App alone is checked without one";
/// Of what is lacking, so much is told.
const MOST_TOLD: usize = 3;

/// A client of the cluster; `instead` is what can be done without one.
pub(super) async fn connected(chain: &mut Chain, options: &CheckOptions, instead: &str) -> Result<Client, Broken> {
    let connected = connect_by(options.kubeconfig.as_deref()).await;
    connected.map_err(|error| {
        chain.say("cluster", Verdict::Bad, format!("{error}; or {instead}"));
        Broken
    })
}

/// A client of the cluster, where there is one.
pub(super) async fn found(chain: &mut Chain, options: &CheckOptions) -> Option<Client> {
    match connect_by(options.kubeconfig.as_deref()).await {
        Ok(cluster) => Some(cluster),
        Err(error) if options.kubeconfig.is_some() => {
            chain.say("cluster", Verdict::Bad, error);
            None
        }
        Err(error) => {
            chain.say("cluster", Verdict::Doubtful, format!("not looked at: {error}"));
            None
        }
    }
}

/// What Tokens rely on beside GitHub. `own` is the operator's namespace, `place` one whose pods may ask for tokens.
pub(super) async fn surroundings(chain: &mut Chain, cluster: &Client, own: &str, place: &str) {
    match timeout(PATIENCE, schemas(cluster)).await {
        Ok(Ok(served)) => {
            if kinds(chain, &served) {
                others(chain, cluster, own).await;
                webhook::look(chain, cluster, own, place).await;
            }
        }
        Ok(Err(ClusterError::Missing | ClusterError::Unserved)) if is_served(cluster, "Token").await == Ok(false) => {
            let message = "the kinds are not installed; gtm crds prints them";
            chain.say("cluster", Verdict::Doubtful, message);
        }
        Ok(Err(error @ (ClusterError::Unavailable(_) | ClusterError::Unauthorized))) => {
            chain.say("cluster", Verdict::Bad, format!("{error}; {ELSEWHERE}"));
        }
        Ok(Err(error)) => chain.unseen("cluster", &error),
        Err(_) => {
            let message = format!("the API server has not answered within {PATIENCE:?}; {ELSEWHERE}");
            chain.say("cluster", Verdict::Bad, message);
        }
    }
}

/// Whether every field that this program writes or reads is kept.
fn kinds(chain: &mut Chain, served: &BTreeMap<String, JSONSchemaProps>) -> bool {
    let wanted = crd::all().into_iter().map(|crd| crd.spec.names.kind);
    let lacking = wanted.flat_map(|kind| match (crd::schema_of(&kind), served.get(&kind)) {
        (Some(ours), Some(theirs)) => lacking_fields(&kind, &ours, theirs),
        _ => vec![format!("the kind {kind}")],
    });
    let lacking: Vec<_> = lacking.collect();
    if lacking.is_empty() {
        chain.good("cluster", "its kinds have every field that this version knows");
        return true;
    }
    let told: Vec<_> = lacking.iter().take(MOST_TOLD).map(String::as_str).collect();
    let more = match lacking.len().saturating_sub(MOST_TOLD) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "its kinds are older than this program: what is written to {}{more} is dropped; {}",
        told.join(", "),
        crd::UPGRADE
    );
    chain.say("cluster", Verdict::Bad, message);
    false
}

/// Other installations that work at the moment: where two look into one namespace, both issue its tokens.
async fn others(chain: &mut Chain, cluster: &Client, own: &str) {
    let named = ListParams::default().fields(&format!("metadata.name={LEASE}"));
    let leases = match Api::<Lease>::all(cluster.clone()).list(&named).await {
        Ok(leases) => leases,
        Err(error) => return chain.unseen("other installations", &error.into()),
    };
    let now = now();
    for lease in leases.iter().filter(|lease| is_held(lease, now)) {
        let namespace = lease.namespace().unwrap_or_default();
        if namespace != own {
            let message = format!(
                "one works in the namespace {namespace}: see to it that each has namespaces of its own (--watch-namespaces), or remove one; if that is this one, name it by --namespace"
            );
            chain.say("other installations", Verdict::Doubtful, message);
        }
    }
}

fn is_held(lease: &Lease, now: jiff::Timestamp) -> bool {
    let Some(spec) = &lease.spec else { return false };
    let term = jiff::SignedDuration::from_secs(spec.lease_duration_seconds.unwrap_or_default().into());
    let renewed = spec.renew_time.as_ref().map(|renewed| renewed.0);
    holder(lease).is_some() && renewed.is_some_and(|renewed| now.duration_since(renewed) <= term)
}

/// A Token of the cluster, and whether it is ready. Where the operator would not issue anything for it, nothing more is tried.
pub(super) async fn token(chain: &mut Chain, cluster: &Client, key: &Key) -> Result<Intent, Broken> {
    let record = match Tokens::new(cluster.clone(), Scope::new(&[])).get(key).await {
        Ok(Some(record)) => record,
        Ok(None) => {
            let message = format!("{key} does not exist; check namespace and name");
            chain.say("token", Verdict::Bad, message);
            return Err(Broken);
        }
        Err(error) => {
            let cure = cure(&error, "get it");
            chain.say("cluster", Verdict::Bad, format!("{key} cannot be read: {error}{cure}"));
            return Err(Broken);
        }
    };
    let (intent, status) = record.read();
    let seen = Seen {
        key: key.clone(),
        generation: record.generation,
        deleting: record.deleting,
        intent: &intent,
        status: &status,
    };
    let line = Line::new(seen, now());
    let intent = chain.need("token", intent)?;
    let verdict = match line.state {
        State::Ready => return Ok(intent),
        State::Doubtful => Verdict::Doubtful,
        State::Waiting | State::Failing | State::Expired => Verdict::Bad,
    };
    let (state, reason) = (line.state.as_str(), &line.reason);
    chain.say("token", verdict, format!("{state}: {reason}: {}", quote(&line.message)));
    let vain = |known: &&Reason| **known == Reason::PolicyForbids || known.is_about_the_secret();
    let vain = Reason::ALL.iter().filter(vain).any(|known| known.as_str() == reason);
    if record.deleting || vain {
        return Err(Broken);
    }
    Ok(intent)
}

/// The App object that a Token names.
pub(super) async fn app(chain: &mut Chain, cluster: &Client, place: &str, name: &str) -> Result<AppObject, Broken> {
    let found = match AppObjects::new(cluster.clone()).get(place, name).await {
        Ok(found) => found.ok_or_else(|| app_not_found(place, name)),
        Err(error) => {
            let cure = cure(&error, "get it");
            let message = format!("spec.appRef: the App {place}/{name} cannot be read: {error}{cure}");
            chain.say("cluster", Verdict::Bad, message);
            return Err(Broken);
        }
    };
    chain.need("configuration", found)
}
