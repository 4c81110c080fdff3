//! Kubernetes Events.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::time::Instant;

use crate::api::names::MANAGER;
use crate::api::{Reason, Time};
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

/// For how long a recorder tells the same again by counting.
const MEMORY: Duration = Duration::from_secs(6 * 60);

/// Writes Events. Best effort: an Event that cannot be written is logged and forgotten.
#[derive(Clone)]
pub struct Events {
    client: Client,
    reporter: Reporter,
    action: &'static str,
    /// One for each message: a recorder itself takes all that it is told of one object for one reason for the first.
    recorders: Arc<Mutex<HashMap<String, (Recorder, Instant)>>>,
}

impl Events {
    /// Over this client; `action` is what is being done to the objects, in one word, and `instance` the pod's name.
    #[must_use]
    pub fn new(client: Client, action: &'static str, instance: Option<String>) -> Self {
        Events {
            client,
            reporter: Reporter {
                controller: MANAGER.to_owned(),
                instance,
            },
            action,
            recorders: Arc::default(),
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

    fn recorder(&self, message: &str) -> Recorder {
        let mut all = self.recorders.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (_, since)| since.elapsed() < MEMORY);
        let new = || Recorder::new(self.client.clone(), self.reporter.clone());
        let (recorder, since) = all.entry(message.to_owned()).or_insert_with(|| (new(), Instant::now()));
        *since = Instant::now();
        recorder.clone()
    }

    async fn write(&self, reference: &ObjectReference, note: &Note, next: Option<Timestamp>) -> bool {
        let next = next.map(|at| format!("; next attempt at {}", Time::from(at)));
        let mut text = format!("{}{}", note.message, next.unwrap_or_default());
        text.truncate(text.floor_char_boundary(LONGEST_NOTE));
        let event = Event {
            type_: if note.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: note.reason.as_str().to_owned(),
            note: Some(text),
            action: self.action.to_owned(),
            secondary: None,
        };
        let result = self.recorder(&note.message).publish(&event, reference).await;
        if let Err(error) = &result {
            let error = ClusterError::from(error);
            tracing::debug!(%error, name = reference.name, "an event was not written");
        }
        result.is_ok()
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
