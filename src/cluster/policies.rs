//! TokenPolicies, and the labels of the namespaces that they select.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use tokio::sync::watch;

use crate::api::TokenPolicy;
use crate::domain::policy::{Labels, Policies, Policy};

use super::ClusterError;
use super::follow::follow;
use super::served::is_served;

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
    let mut unserved = false;
    while let Some(change) = changes.next().await {
        let changed = match change {
            Change::Policy(seen) => {
                unserved = false;
                policies.take(*seen, &mut now.all)
            }
            // Where no policy asks for labels, they are told with the first one that does.
            Change::Namespace(seen) => namespaces.take(seen, &mut now.namespaces) && now.needs_namespaces(),
            // Where the kind is not served, a refusal by RBAC says nothing. What is not known must not count as no policy.
            Change::PoliciesFailed(ClusterError::Unserved | ClusterError::Forbidden(_))
                if is_served(&client, "TokenPolicy").await == Ok(false) =>
            {
                if !std::mem::replace(&mut unserved, true) {
                    tracing::warn!(
                        "the API server does not know the kind TokenPolicy, so there are none: install the CustomResourceDefinitions, which `gtm crds` prints"
                    );
                }
                !std::mem::replace(&mut policies.listed, true)
            }
            Change::PoliciesFailed(error) => {
                tracing::warn!(%error, "TokenPolicies cannot be watched; it is tried again, and nothing is issued before they are known");
                false
            }
            Change::NamespacesFailed(error) => {
                tracing::warn!(%error, "namespaces cannot be watched, by whose labels TokenPolicies select; it is tried again");
                false
            }
        };
        // What is known already is not kept back: under it, a namespace without labels yet would be allowed what the news forbid.
        let is_enough = namespaces.listed || !now.needs_namespaces() || publish.borrow().is_some();
        if changed && policies.listed && is_enough {
            publish.send_replace(Some(Arc::new(now.clone())));
        }
    }
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

impl<T: PartialEq> Listing<T> {
    /// Whether what is known is another thing now.
    fn take(&mut self, seen: Seen<T>, known: &mut BTreeMap<String, T>) -> bool {
        match (seen, &mut self.fresh) {
            (Seen::Begin, fresh) => {
                *fresh = Some(BTreeMap::new());
                false
            }
            (Seen::Put(name, value), Some(fresh)) => {
                fresh.insert(name, value);
                false
            }
            (Seen::Put(name, value), None) => {
                let changed = known.get(&name) != Some(&value);
                known.insert(name, value);
                changed
            }
            (Seen::Gone(name), _) => known.remove(&name).is_some(),
            (Seen::Listed, fresh) => {
                let listed = fresh.take().unwrap_or_default();
                let changed = !self.listed || *known != listed;
                (*known, self.listed) = (listed, true);
                changed
            }
        }
    }
}

fn changes(client: &Client) -> impl Stream<Item = Change> + Send + use<> {
    let policies: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<TokenPolicy>(&()));
    let policies = follow(policies, watcher::Config::default()).map(|event| {
        seen(event, |object| read(&object)).map_or_else(Change::PoliciesFailed, |seen| Change::Policy(Box::new(seen)))
    });
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let namespaces = follow(namespaces, watcher::Config::default());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_anew_is_news_only_where_it_is_another() {
        let (mut listing, mut known) = (Listing::default(), BTreeMap::new());
        let put = |name: &str, value| Seen::Put(name.to_owned(), value);
        let gone = |name: &str| Seen::Gone(name.to_owned());
        for (seen, news) in [
            // The first list is news even where it is empty: from now on there is known to be none.
            (Seen::Begin, false),
            (Seen::Listed, true),
            (put("a", 1), true),
            (put("a", 1), false),
            (put("b", 1), true),
            // A list that is read anew tells at its end what it brings.
            (Seen::Begin, false),
            (put("a", 1), false),
            (put("b", 1), false),
            (Seen::Listed, false),
            (Seen::Begin, false),
            (put("a", 2), false),
            (Seen::Listed, true),
            (gone("b"), false),
            (gone("a"), true),
        ] {
            assert_eq!(listing.take(seen, &mut known), news, "{known:?}");
        }
        assert!(listing.listed && known.is_empty());
    }
}
