//! When: due times, jitter and back-off.

use std::time::Duration;

use jiff::Timestamp;

/// When a failed attempt may be repeated. The error owns it; the schedule turns it into a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// An outage: 1 s doubling to 5 min with full jitter, capped by `spec.retryInterval`.
    Backoff,
    /// Does not heal by itself: look again at this period, or when the object changes.
    Every(Duration),
    /// Not before this time, by GitHub's clock; nothing else of the App is held up.
    At(Timestamp),
    /// The whole App waits until this time, by GitHub's clock.
    HoldApp(Timestamp),
}
