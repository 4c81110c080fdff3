//! Refusals, told where people look: a pod that is refused never exists, so its owner gets the Event.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::api::Reason;
use crate::cluster::{Events, Note};
use crate::domain::name::is_namespace;
use crate::domain::pod::Owner;

/// Events that wait to be written; more are dropped, since a controller that is refused tries again and again.
const WAITING: usize = 64;
/// Events about one namespace in a minute. The API server keeps each for an hour: whoever makes pods without end must not fill it.
const MOST_OF_ONE: u32 = 30;
/// The same, about all namespaces together.
const MOST_OF_ALL: u32 = 300;
const MINUTE: Duration = Duration::from_secs(60);

/// Tells owners of refusals, beside the answers. A clone is a handle on the same queue.
#[derive(Clone)]
pub struct Owners(mpsc::Sender<(ObjectReference, Note)>);

impl Owners {
    /// The queue, and the work of writing what is in it, one Event after the other.
    pub fn new(events: Events) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, mut waiting) = mpsc::channel::<(ObjectReference, Note)>(WAITING);
        let work = async move {
            let mut minute = Minute::begun(Instant::now());
            while let Some((owner, note)) = waiting.recv().await {
                let namespace = owner.namespace.as_deref().unwrap_or_default();
                if minute.has_room(namespace, Instant::now()) {
                    events.about(&owner, &note).await;
                } else {
                    tracing::debug!("an event about a refused pod was dropped: too many within a minute");
                }
            }
        };
        (Owners(sender), work)
    }

    /// A pod of this owner is refused. One that cannot exist is told nothing: a review may come from anyone.
    pub fn tell(&self, owner: Option<&Owner>, namespace: &str, reason: Reason, message: &str) {
        let Some(owner) = owner.filter(|owner| is_namespace(namespace) && owner.can_exist()) else {
            return;
        };
        let reference = ObjectReference {
            api_version: Some(owner.api_version.clone()),
            kind: Some(owner.kind.clone()),
            name: Some(owner.name.clone()),
            namespace: Some(namespace.to_owned()),
            uid: Some(owner.uid.clone()),
            ..ObjectReference::default()
        };
        let note = Note {
            reason,
            message: format!("a pod is refused: {message}"),
            warning: true,
        };
        if self.0.try_send((reference, note)).is_err() {
            tracing::debug!("an event about a refused pod was dropped: too many wait");
        }
    }
}

/// What was written in this minute.
struct Minute {
    since: Instant,
    all: u32,
    namespaces: HashMap<String, u32>,
}

impl Minute {
    fn begun(since: Instant) -> Self {
        Minute {
            since,
            all: 0,
            namespaces: HashMap::new(),
        }
    }

    /// Whether one more may be written about this namespace, which counts then.
    fn has_room(&mut self, namespace: &str, now: Instant) -> bool {
        if now - self.since >= MINUTE {
            *self = Minute::begun(now);
        }
        let of_one = self.namespaces.get(namespace).copied().unwrap_or(0);
        if self.all >= MOST_OF_ALL || of_one >= MOST_OF_ONE {
            return false;
        }
        self.all += 1;
        self.namespaces.insert(namespace.to_owned(), of_one + 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_namespace_takes_the_room_of_another_and_all_together_have_a_bound() {
        let start = Instant::now();
        let mut minute = Minute::begun(start);
        let mut fills = |namespace: &str, now: Instant| {
            let rooms = (0..10 * MOST_OF_ALL).filter(|_| minute.has_room(namespace, now));
            u32::try_from(rooms.count()).unwrap()
        };
        assert_eq!(fills("team-a", start), MOST_OF_ONE);
        assert_eq!(fills("team-b", start), MOST_OF_ONE);
        let others: u32 = (0..100).map(|number| fills(&format!("forged-{number}"), start)).sum();
        assert_eq!(others, MOST_OF_ALL - 2 * MOST_OF_ONE);
        assert_eq!(fills("team-a", start + MINUTE), MOST_OF_ONE, "the next minute");
    }
}
