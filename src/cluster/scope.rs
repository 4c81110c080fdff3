//! Which namespaces the operator looks into: all, or those that it was told of. In the latter case it has rights nowhere else.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::follow::follow;

/// The namespaces that are looked into. A clone is a handle on the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(Arc<[String]>);

impl Scope {
    /// These namespaces; none stands for all.
    #[must_use]
    pub fn new(namespaces: &[String]) -> Self {
        Scope(namespaces.into())
    }

    /// Whether objects without a namespace, and all namespaces, are served.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is served: something of a namespace, or of none.
    #[must_use]
    pub fn has(&self, namespace: Option<&str>) -> bool {
        self.is_everything() || namespace.is_some_and(|namespace| self.0.iter().any(|served| served == namespace))
    }

    /// The namespaces to ask for; `None` stands for all at once.
    pub(super) fn places(&self) -> impl Iterator<Item = Option<&str>> {
        let all = self.is_everything().then_some(None);
        all.into_iter()
            .chain(self.0.iter().map(|namespace| Some(namespace.as_str())))
    }

    /// What happens to the objects of one kind, as one watcher of all of them would tell it. `api` gives access to those of a
    /// namespace, or to all; `bare` makes an object of metadata alone, for one that has gone unseen.
    pub(super) fn watch<K>(
        &self,
        api: impl Fn(Option<&str>) -> Api<K>,
        config: &watcher::Config,
        bare: fn(ObjectMeta) -> K,
    ) -> BoxStream<'static, watcher::Result<Event<K>>>
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let watch = |namespace| follow(api(namespace), config.clone());
        if self.is_everything() {
            return watch(None).boxed();
        }
        let each = self.0.iter().enumerate().map(|(index, namespace)| {
            let events = watch(Some(namespace.as_str()));
            events.map(move |event| (index, event)).boxed()
        });
        let mut merge = Merge::new(self.0.len(), bare);
        let merged = stream::select_all(each).flat_map(move |(index, event)| stream::iter(merge.take(index, event)));
        stream::once(std::future::ready(Ok(Event::Init))).chain(merged).boxed()
    }
}

/// Makes one list, and then changes, of the lists and changes of several namespaces.
struct Merge<K> {
    places: Vec<Place>,
    bare: fn(ObjectMeta) -> K,
    listed: bool,
}

/// What is known of one namespace.
#[derive(Default)]
struct Place {
    known: HashMap<String, ObjectMeta>,
    /// While it is listed: what was seen.
    fresh: Option<HashSet<String>>,
    /// Whether it has been listed, or refused to be: then it holds up nobody.
    answered: bool,
}

impl<K: Resource + Clone> Merge<K> {
    fn new(count: usize, bare: fn(ObjectMeta) -> K) -> Self {
        let places = std::iter::repeat_with(Place::default).take(count).collect();
        Merge {
            places,
            bare,
            listed: false,
        }
    }

    fn take(&mut self, index: usize, event: watcher::Result<Event<K>>) -> Vec<watcher::Result<Event<K>>> {
        let Some(place) = self.places.get_mut(index) else {
            return Vec::new();
        };
        let mut told = Vec::new();
        match event {
            Ok(Event::Init) => place.fresh = Some(HashSet::new()),
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                if let Some(fresh) = &mut place.fresh {
                    fresh.insert(object.name_any());
                }
                place.known.insert(object.name_any(), name_of(&object));
                let first = !self.listed;
                told.push(Ok(if first {
                    Event::InitApply(object)
                } else {
                    Event::Apply(object)
                }));
            }
            Ok(Event::Delete(object)) => {
                place.known.remove(&object.name_any());
                told.push(Ok(Event::Delete(object)));
            }
            Ok(Event::InitDone) => {
                let fresh = place.fresh.take().unwrap_or_default();
                let lost = place.known.extract_if(|name, _| !fresh.contains(name));
                told.extend(lost.map(|(_, meta)| Ok(Event::Delete((self.bare)(meta)))));
                place.answered = true;
            }
            Err(error) => {
                place.answered |= refused(&error);
                told.push(Err(error));
            }
        }
        if !self.listed && self.places.iter().all(|place| place.answered) {
            self.listed = true;
            told.push(Ok(Event::InitDone));
        }
        told
    }
}

/// A namespace that is not there has no role either.
fn refused(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => status.code == 403,
        _ => false,
    }
}

fn name_of<K: Resource>(object: &K) -> ObjectMeta {
    let meta = object.meta();
    ObjectMeta {
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(namespace: &str, name: &str) -> ConfigMap {
        bare(ObjectMeta {
            namespace: Some(namespace.into()),
            name: Some(name.into()),
            ..ObjectMeta::default()
        })
    }

    fn bare(metadata: ObjectMeta) -> ConfigMap {
        ConfigMap {
            metadata,
            ..ConfigMap::default()
        }
    }

    fn told(merge: &mut Merge<ConfigMap>, index: usize, event: Event<ConfigMap>) -> Vec<String> {
        let name = |object: &ConfigMap| format!("{}/{}", object.namespace().unwrap(), object.name_any());
        let tell = |event| match event {
            Ok(Event::Init) => "init".to_owned(),
            Ok(Event::InitApply(object)) => format!("has {}", name(&object)),
            Ok(Event::Apply(object)) => format!("put {}", name(&object)),
            Ok(Event::Delete(object)) => format!("gone {}", name(&object)),
            Ok(Event::InitDone) => "listed".to_owned(),
            Err(error) => format!("failed: {error}"),
        };
        merge.take(index, Ok(event)).into_iter().map(tell).collect()
    }

    #[test]
    fn the_list_is_whole_when_every_namespace_has_been_listed() {
        let mut merge = Merge::new(2, bare);
        assert!(told(&mut merge, 0, Event::Init).is_empty());
        assert_eq!(told(&mut merge, 0, Event::InitApply(object("a", "x"))), ["has a/x"]);
        assert!(told(&mut merge, 0, Event::InitDone).is_empty());
        assert_eq!(told(&mut merge, 0, Event::Apply(object("a", "y"))), ["has a/y"]);
        assert!(told(&mut merge, 1, Event::Init).is_empty());
        assert_eq!(told(&mut merge, 1, Event::InitDone), ["listed"]);
        assert_eq!(told(&mut merge, 1, Event::Apply(object("b", "x"))), ["put b/x"]);
    }

    #[test]
    fn a_new_list_of_one_namespace_tells_what_has_gone_there_and_nothing_of_others() {
        let mut merge = Merge::new(2, bare);
        for (index, namespace) in ["a", "b"].into_iter().enumerate() {
            told(&mut merge, index, Event::Init);
            told(&mut merge, index, Event::InitApply(object(namespace, "stays")));
            told(&mut merge, index, Event::InitApply(object(namespace, "goes")));
            told(&mut merge, index, Event::InitDone);
        }
        assert!(told(&mut merge, 1, Event::Init).is_empty());
        assert_eq!(
            told(&mut merge, 1, Event::InitApply(object("b", "stays"))),
            ["put b/stays"]
        );
        assert_eq!(told(&mut merge, 1, Event::InitDone), ["gone b/goes"]);
    }

    #[test]
    fn a_namespace_that_is_refused_holds_up_nobody() {
        let mut merge = Merge::new(2, bare);
        told(&mut merge, 0, Event::Init);
        told(&mut merge, 0, Event::InitDone);
        let status = kube::core::Status::failure("no role", "Forbidden").with_code(403);
        let refusal = watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)));
        let told: Vec<_> = merge.take(1, Err(refusal));
        assert!(matches!(told[..], [Err(_), Ok(Event::InitDone)]));
    }

    #[test]
    fn no_namespace_stands_for_all() {
        let all = Scope::new(&[]);
        assert!(all.has(None) && all.has(Some("any")));
        let some = Scope::new(&["a".to_owned()]);
        assert!(some.has(Some("a")) && !some.has(Some("b")) && !some.has(None));
    }
}
