//! A pod that asks for a token, and what is known of the Token: inject, pass or refuse. The patch only adds, and a second run adds
//! nothing.

mod ask;
mod bounds;
mod clash;
mod container;
mod facts;
mod git;
mod grant;
mod inject;
mod item;
mod owner;
mod patch;
mod secret;
mod text;
mod value;
mod view;

use crate::api::Reason;

pub use ask::{Ask, asks};
pub use bounds::Annotations;
pub use facts::{NotReady, SecretFacts, TokenFacts};
pub use inject::inject;
pub use owner::Owner;
pub use patch::Patch;
pub use text::Text;
pub use view::{Metadata, Pod};

/// Why a pod is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For the metric and the Event.
    pub reason: Reason,
    /// Names the annotation, the value and the cure.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let message = message.into();
        Refusal { reason, message }
    }
}

/// A patch that cannot be written: nothing that is known brings that about, and a pod must not start without what it asked for.
impl From<serde_json::Error> for Refusal {
    fn from(error: serde_json::Error) -> Self {
        Refusal::new(
            Reason::NotInjectable,
            format!("the patch could not be written: {error}"),
        )
    }
}

/// What looks wrong about a pod, but does not stand in the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warnings(Vec<String>);

/// Kubernetes shows no more: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response>.
const MOST_WARNINGS: usize = 16;

impl Warnings {
    /// Adds a text, which is put together only where there is room.
    fn add(&mut self, text: impl FnOnce() -> String) {
        if self.0.len() == MOST_WARNINGS {
            return;
        }
        let text = text();
        if !self.0.contains(&text) {
            self.0.push(text);
        }
    }

    /// The texts.
    #[must_use]
    pub fn into_texts(self) -> Vec<String> {
        self.0
    }
}

/// What happens to a pod that is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// Why it is patched, or is not.
    pub reason: Reason,
    /// What is added; empty where nothing is missing.
    pub patch: Patch,
}

#[cfg(test)]
mod tests;
