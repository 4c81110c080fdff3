//! What the webhook tells whoever records metrics.

use std::time::Duration;

use crate::api::Reason;

/// Which of the two webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Tokens for pods.
    Inject,
    /// Checks of our own kinds.
    Validate,
}

/// How a review ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Let in as it is.
    Allowed,
    /// Let in with a patch.
    Patched,
    /// Refused.
    Refused,
    /// Not understood.
    Rejected,
}

/// Records what the webhook does. Called for each request: it must not block.
pub trait Observer: Send + Sync {
    /// A review was answered; `None`: it was not understood.
    fn reviewed(&self, operation: Operation, outcome: Outcome, reason: Option<Reason>, took: Duration);
}
