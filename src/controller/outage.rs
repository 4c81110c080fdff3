//! Whether GitHub, or the API server, is away: then one Token asks again and again, and when it gets its answer, all others that wait
//! for their next attempt go on at once.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::intent::Key;
use crate::domain::schedule::later;

/// How long the scout waits between two attempts, at most.
pub const SCOUT_PERIOD: Duration = Duration::from_secs(5);
/// Failures among successes are no outage, however many: without a success for so long, they are one.
const SHORTEST: Duration = Duration::from_secs(5);

/// Failures that may pass, since the last token that was issued.
#[derive(Debug, Default)]
pub struct Outage {
    since: Option<Timestamp>,
    scout: Option<Arc<Key>>,
}

impl Outage {
    /// An attempt for this Token has failed with an error that may pass.
    pub fn failed(&mut self, key: &Arc<Key>, now: Timestamp) {
        self.since.get_or_insert(now);
        self.scout.get_or_insert_with(|| key.clone());
    }

    /// Whether this Token asks for all.
    #[must_use]
    pub fn is_scout(&self, key: &Key) -> bool {
        self.scout.as_deref() == Some(key)
    }

    /// This Token waits for nothing any more, or is gone: another one may ask.
    pub fn dismiss(&mut self, key: &Key) {
        self.scout.take_if(|scout| **scout == *key);
    }

    /// A token was issued. Returns whether that ends an outage.
    pub fn succeeded(&mut self, now: Timestamp) -> bool {
        self.scout = None;
        self.since.take().is_some_and(|since| later(since, SHORTEST) <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::intent::Kind;

    fn key(name: &str) -> Arc<Key> {
        Arc::new(Key {
            kind: Kind::ClusterToken,
            namespace: None,
            name: name.into(),
        })
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_first_that_fails_is_the_scout_until_it_is_dismissed() {
        let mut outage = Outage::default();
        outage.failed(&key("a"), at(0));
        outage.failed(&key("b"), at(1));
        assert!(outage.is_scout(&key("a")) && !outage.is_scout(&key("b")));
        outage.dismiss(&key("b"));
        assert!(outage.is_scout(&key("a")));
        outage.dismiss(&key("a"));
        outage.failed(&key("b"), at(2));
        assert!(outage.is_scout(&key("b")));
    }

    #[test]
    fn failures_among_successes_are_no_outage() {
        let mut outage = Outage::default();
        assert!(!outage.succeeded(at(0)));
        outage.failed(&key("a"), at(1));
        assert!(!outage.succeeded(at(3)));
        outage.failed(&key("a"), at(4));
        outage.failed(&key("b"), at(9));
        assert!(outage.succeeded(at(10)));
        assert!(!outage.succeeded(at(20)));
    }
}
