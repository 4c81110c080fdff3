//! Kubernetes Events.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::Instant;

use crate::api::names::MANAGER;
use crate::api::{Reason, Time};
use crate::domain::Problem;
use crate::domain::intent::{Key, SecretKey};

use super::ClusterError;
use super::tokens::api_version;

/// The longest note that the API server takes, in bytes.
const LONGEST_NOTE: usize = 1024;

/// Something worth an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What happened.
    pub reason: Reason,
    /// A text for people.
    pub message: String,
    /// Whether something is wrong.
    pub warning: bool,
}

impl From<&Problem> for Note {
    fn from(problem: &Problem) -> Self {
        Note {
            reason: problem.reason,
            message: problem.message.clone(),
            warning: true,
        }
    }
}

/// For how long the same is told again by counting.
const MEMORY: Duration = Duration::from_secs(6 * 60);
/// Events that are remembered so long: who is refused again and again must not fill the memory.
const MOST: usize = 16_384;
/// Of an object's name, so much is in that of its Event, which may have 253 characters as well.
const LONGEST_NAME: usize = 220;
/// How often it is said that Events cannot be written.
const SILENCE: Duration = Duration::from_secs(10 * 60);

/// Writes Events. Best effort: an Event that cannot be written is logged and forgotten.
#[derive(Clone)]
pub struct Events {
    client: Client,
    action: &'static str,
    instance: String,
    clock: fn() -> Timestamp,
    memory: Arc<Mutex<Memory>>,
}

impl Events {
    /// Over this client; `action` is what is being done to the objects, in one word, and `instance` the pod's name.
    #[must_use]
    pub fn new(client: Client, action: &'static str, instance: String, clock: fn() -> Timestamp) -> Self {
        Events {
            client,
            action,
            instance,
            clock,
            memory: Arc::default(),
        }
    }

    /// About a Token or ClusterToken.
    pub async fn about_token(&self, key: &Key, uid: &str, note: &Note) {
        self.write(&reference(key, uid), note, None).await;
    }

    /// The same, about what is tried again at `next`.
    pub async fn about_attempt(&self, key: &Key, uid: &str, note: &Note, next: Timestamp) {
        self.write(&reference(key, uid), note, Some(next)).await;
    }

    /// About any object.
    pub async fn about(&self, reference: &ObjectReference, note: &Note) {
        self.write(reference, note, None).await;
    }

    /// About a Secret whose Token is gone; if its namespace takes no more Events, about that namespace.
    pub async fn about_secret(&self, key: &SecretKey, uid: &str, note: &Note) {
        let reference = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Secret".to_owned()),
            name: Some(key.name.to_string()),
            namespace: Some(key.namespace.to_string()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        if !self.write(&reference, note, None).await {
            let namespace = ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Namespace".to_owned()),
                name: Some(key.namespace.to_string()),
                ..ObjectReference::default()
            };
            self.write(&namespace, note, None).await;
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, about: &ObjectReference, note: &Note, next: Option<Timestamp>) -> bool {
        let result = self.tell(about, note, next).await;
        if let Err(error) = &result {
            tracing::debug!(%error, name = about.name, "an event was not written");
            // In a namespace that ends, none can be.
            if !matches!(error, ClusterError::NamespaceUnavailable(_)) && self.memory().is_news(Instant::now()) {
                tracing::warn!(%error, "events cannot be written; this is said every ten minutes");
            }
        }
        result.is_ok()
    }

    async fn tell(&self, about: &ObjectReference, note: &Note, next: Option<Timestamp>) -> Result<(), ClusterError> {
        // Where the API server has the Events of objects without a namespace.
        let namespace = about.namespace.as_deref().unwrap_or("default");
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let now = (self.clock)();
        let (key, told) = self.memory().find(about, note, Instant::now());
        if let Some(told) = told {
            let times = told.times + 1;
            let series = json!({"series": {"count": times, "lastObservedTime": MicroTime(now)}});
            let name = told.name(about);
            let counted = events
                .patch(&name, &PatchParams::default(), &Patch::Merge(&series))
                .await;
            match counted.map_err(ClusterError::from) {
                // Someone has removed it.
                Err(ClusterError::Missing) => {}
                Err(error) => return Err(error),
                Ok(_) => {
                    let told = Told { times, ..told };
                    self.memory().keep(key, told, Instant::now());
                    return Ok(());
                }
            }
        }
        let told = Told { first: now, times: 1 };
        let event = self.event(about, note, next, told);
        events.create(&PostParams::default(), &event).await?;
        self.memory().keep(key, told, Instant::now());
        Ok(())
    }

    fn event(&self, about: &ObjectReference, note: &Note, next: Option<Timestamp>, told: Told) -> Event {
        let next = next.map(|at| format!("; next attempt at {}", Time::from(at)));
        let mut text = format!("{}{}", note.message, next.unwrap_or_default());
        text.truncate(text.floor_char_boundary(LONGEST_NOTE));
        Event {
            metadata: ObjectMeta {
                name: Some(told.name(about)),
                namespace: about.namespace.clone(),
                ..ObjectMeta::default()
            },
            type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(note.reason.as_str().to_owned()),
            action: Some(self.action.to_owned()),
            note: Some(text),
            regarding: Some(about.clone()),
            event_time: Some(MicroTime(told.first)),
            reporting_controller: Some(MANAGER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }
}

/// An Event that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    first: Timestamp,
    times: i32,
}

impl Told {
    fn name(self, about: &ObjectReference) -> String {
        let object = about.name.as_deref().unwrap_or(MANAGER);
        let object = object.get(..LONGEST_NAME).unwrap_or(object);
        let object = object.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        format!("{object}.{:x}", self.first.as_nanosecond())
    }
}

/// What was told lately, by a hash of the object and of what it was told.
#[derive(Default)]
struct Memory {
    hasher: RandomState,
    told: HashMap<u64, (Told, Instant)>,
    failed: Option<Instant>,
}

impl Memory {
    /// Whether an Event that could not be written is the first one for a while.
    fn is_news(&mut self, now: Instant) -> bool {
        let news = self.failed.is_none_or(|failed| now - failed >= SILENCE);
        if news {
            self.failed = Some(now);
        }
        news
    }

    fn find(&self, about: &ObjectReference, note: &Note, now: Instant) -> (u64, Option<Told>) {
        let object = (&about.kind, &about.namespace, &about.name, &about.uid);
        let key = self.hasher.hash_one((object, note.reason.as_str(), &note.message));
        let lately = self.told.get(&key).filter(|(_, at)| now - *at < MEMORY);
        (key, lately.map(|(told, _)| *told))
    }

    fn keep(&mut self, key: u64, told: Told, now: Instant) {
        self.told.retain(|_, (_, at)| now - *at < MEMORY);
        if self.told.len() >= MOST {
            // What is told again gets another Event, that is all.
            self.told.clear();
        }
        self.told.insert(key, (told, now));
    }
}

fn reference(key: &Key, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(api_version()),
        kind: Some(key.kind.as_str().to_owned()),
        name: Some(key.name.to_string()),
        namespace: key.namespace.as_deref().map(str::to_owned),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, message: &str) -> (ObjectReference, Note) {
        let about = ObjectReference {
            name: Some(name.to_owned()),
            ..ObjectReference::default()
        };
        let note = Note {
            reason: Reason::TokenMissing,
            message: message.to_owned(),
            warning: true,
        };
        (about, note)
    }

    #[test]
    fn the_same_is_known_again_for_six_minutes_and_nothing_else_is_taken_for_it() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let first = Told {
            first: Timestamp::UNIX_EPOCH,
            times: 1,
        };
        let (about, note) = told("web", "no");
        let (key, none) = memory.find(&about, &note, now);
        assert_eq!(none, None);
        memory.keep(key, first, now);
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(memory.find(&about, &note, after(359)), (key, Some(first)));
        assert_eq!(memory.find(&about, &note, after(360)), (key, None));
        for (name, message) in [("web", "never"), ("app", "no")] {
            let (about, note) = told(name, message);
            assert_eq!(memory.find(&about, &note, now).1, None, "{name}: {message}");
        }
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let told = Told {
            first: Timestamp::UNIX_EPOCH,
            times: 1,
        };
        for key in 0..3 * MOST as u64 / 2 {
            memory.keep(key, told, now);
        }
        assert!(memory.told.len() <= MOST, "{}", memory.told.len());
        memory.keep(0, told, now + MEMORY);
        assert_eq!(memory.told.len(), 1, "what is old goes");
    }

    #[test]
    fn an_event_about_a_long_name_has_a_name_that_the_api_server_takes() {
        let first = Timestamp::from_second(1_800_000_000).unwrap();
        let name = |object: &str| Told { first, times: 1 }.name(&told(object, "").0);
        assert!(name("ci").starts_with("ci."));
        let long = format!("{}.{}", "a".repeat(219), "b".repeat(33));
        let name = name(&long);
        assert!(name.len() <= 253 && !name.contains(".."), "{name}");
    }

    #[test]
    fn that_events_cannot_be_written_is_said_now_and_then() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        assert!(memory.is_news(start));
        assert!(!memory.is_news(start + SILENCE / 2));
        assert!(memory.is_news(start + SILENCE));
    }
}
