//! What went wrong with a Token.

use crate::api::{Reason, Time};

use super::schedule::Retry;

/// A failure that stands in a Token's way: its reason, its text for people, and when to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Feeds the condition, the event and the metric.
    pub reason: Reason,
    /// Names the field, the value and the cure. Never holds a secret.
    pub message: String,
    /// When to try again.
    pub retry: Retry,
}

impl Problem {
    /// A problem.
    #[must_use]
    pub fn new(reason: Reason, retry: Retry, message: impl Into<String>) -> Self {
        Problem {
            reason,
            message: message.into(),
            retry,
        }
    }

    /// The message, for people who ask once: with the time until which it is in vain to ask again, where that is known.
    #[must_use]
    pub fn told(&self) -> String {
        match self.retry.not_before() {
            Some(at) => format!("{}; ask again after {}", self.message, Time::from(at)),
            None => self.message.clone(),
        }
    }
}
