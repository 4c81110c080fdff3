//! Refusals, told where people look: a pod that is refused never exists, so its owner gets the Event.

use k8s_openapi::api::core::v1::ObjectReference;
use tokio::sync::mpsc;

use crate::api::Reason;
use crate::cluster::{Events, Note};
use crate::domain::pod::Owner;

/// Events that wait to be written; more are dropped, since a controller that is refused tries again and again.
const WAITING: usize = 64;

/// Tells owners of refusals, beside the answers. A clone is a handle on the same queue.
#[derive(Clone)]
pub struct Owners(mpsc::Sender<(ObjectReference, Note)>);

impl Owners {
    /// The queue, and the work of writing what is in it, one Event after the other.
    pub fn new(events: Events) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, mut waiting) = mpsc::channel::<(ObjectReference, Note)>(WAITING);
        let work = async move {
            while let Some((owner, note)) = waiting.recv().await {
                events.about(&owner, &note).await;
            }
        };
        (Owners(sender), work)
    }

    /// A pod of this owner is refused.
    pub fn tell(&self, owner: Option<&Owner>, namespace: &str, reason: Reason, message: &str) {
        let Some(owner) = owner else { return };
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
