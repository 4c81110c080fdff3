//! What went wrong with a Token.

use crate::api::Reason;

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
}
