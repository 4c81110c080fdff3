//! TokenPolicies, and the labels of the namespaces that they select.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, DefaultBackoff, Event, watcher};
use kube::{Client, ResourceExt};
use tokio::sync::watch;

use crate::api::TokenPolicy;
use crate::api::names::{GROUP, VERSION};
use crate::domain::policy::{Labels, Policies, Policy};

use super::ClusterError;

/// What happens to one of the two kinds.
enum Seen<T> {
    Begin,
    Put(String, T),
    Gone(String),
    Listed,
}

enum Change {
    Policy(Box<Seen<Policy>>),
    Namespace(Seen<Labels>),
    PoliciesFailed(ClusterError),
    NamespacesFailed(ClusterError),
}

/// Keeps the policies up to date, beginning with none but what `now` says, for as long as it is polled: nothing is known until both kinds have been listed. A cluster
/// without the kind TokenPolicy has no policies.
pub async fn follow_policies(client: Client, mut now: Policies, publish: watch::Sender<Option<Arc<Policies>>>) {
    let (mut policies, mut namespaces) = (Listing::default(), Listing::default());
    let mut changes = std::pin::pin!(changes(&client));
    while let Some(change) = changes.next().await {
        match change {
            Change::Policy(seen) => policies.take(*seen, &mut now.all),
            Change::Namespace(seen) => namespaces.take(seen, &mut now.namespaces),
            Change::PoliciesFailed(ClusterError::Missing | ClusterError::Forbidden(_)) if !is_served(&client).await => {
                tracing::warn!(
                    "the API server does not know the kind TokenPolicy, so there are none: install the CustomResourceDefinitions, which `gtm crds` prints"
                );
                policies.listed = true;
            }
            Change::PoliciesFailed(error) => {
                tracing::warn!(%error, "TokenPolicies cannot be watched; it is tried again, and nothing is issued before they are known");
            }
            Change::NamespacesFailed(error) => {
                tracing::warn!(%error, "namespaces cannot be watched, by whose labels TokenPolicies select; it is tried again");
            }
        }
        if policies.listed && (namespaces.listed || !now.needs_namespaces()) {
            publish.send_if_modified(|published| {
                let same = published.as_deref() == Some(&now);
                if !same {
                    *published = Some(Arc::new(now.clone()));
                }
                !same
            });
        }
    }
}

/// Whether the API server knows the kind. Where it does not, a refusal by RBAC says nothing: everyone may ask what is served.
async fn is_served(client: &Client) -> bool {
    let group = format!("{GROUP}/{VERSION}");
    let served = client.list_api_group_resources(&group).await;
    served.is_ok_and(|found| found.resources.iter().any(|resource| resource.kind == "TokenPolicy"))
}

/// A list that is read anew holds what there is: what it lacks is gone.
struct Listing<T> {
    fresh: Option<BTreeMap<String, T>>,
    listed: bool,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Listing {
            fresh: None,
            listed: false,
        }
    }
}

impl<T> Listing<T> {
    fn take(&mut self, seen: Seen<T>, known: &mut BTreeMap<String, T>) {
        match (seen, &mut self.fresh) {
            (Seen::Begin, fresh) => *fresh = Some(BTreeMap::new()),
            (Seen::Put(name, value), Some(fresh)) => drop(fresh.insert(name, value)),
            (Seen::Put(name, value), None) => drop(known.insert(name, value)),
            (Seen::Gone(name), _) => drop(known.remove(&name)),
            (Seen::Listed, fresh) => {
                *known = fresh.take().unwrap_or_default();
                self.listed = true;
            }
        }
    }
}

fn changes(client: &Client) -> impl Stream<Item = Change> + Send + use<> {
    let policies: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<TokenPolicy>(&()));
    let policies = watcher(policies, watcher::Config::default()).backoff(DefaultBackoff::default());
    let policies = policies.map(|event| {
        seen(event, |object| read(&object)).map_or_else(Change::PoliciesFailed, |seen| Change::Policy(Box::new(seen)))
    });
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let namespaces = watcher(namespaces, watcher::Config::default()).backoff(DefaultBackoff::default());
    let labels = |meta: PartialObjectMeta<Namespace>| meta.metadata.labels.unwrap_or_default();
    let namespaces =
        namespaces.map(move |event| seen(event, labels).map_or_else(Change::NamespacesFailed, Change::Namespace));
    stream::select(policies, namespaces)
}

fn seen<K: kube::Resource, T>(
    event: watcher::Result<Event<K>>,
    read: impl Fn(K) -> T,
) -> Result<Seen<T>, ClusterError> {
    Ok(match event? {
        Event::Init => Seen::Begin,
        Event::InitApply(object) | Event::Apply(object) => Seen::Put(object.name_any(), read(object)),
        Event::Delete(object) => Seen::Gone(object.name_any()),
        Event::InitDone => Seen::Listed,
    })
}

/// One object that cannot be read must not stall the watch of all; and it must not widen anything.
fn read(object: &DynamicObject) -> Policy {
    let parsed = serde_json::to_value(object).and_then(serde_json::from_value::<TokenPolicy>);
    match parsed {
        Ok(policy) => Policy::new(&policy),
        Err(_) => Policy::unreadable(object.metadata.name.as_deref(), object.metadata.uid.as_deref()),
    }
}
