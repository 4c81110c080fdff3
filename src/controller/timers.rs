//! When something has to be looked at again: by the wall clock, so that a machine that slept is not late for longer than one tick.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::intent::Key;

/// One alarm for each Token, at most.
#[derive(Debug, Default)]
pub struct Timers {
    order: BTreeSet<(Timestamp, Arc<Key>)>,
    alarms: HashMap<Arc<Key>, Timestamp>,
}

impl Timers {
    /// Sets the alarm of a Token; a former one is forgotten.
    pub fn set(&mut self, key: &Arc<Key>, at: Timestamp) {
        self.clear(key);
        self.alarms.insert(key.clone(), at);
        self.order.insert((at, key.clone()));
    }

    /// Forgets the alarm of a Token.
    pub fn clear(&mut self, key: &Arc<Key>) {
        if let Some(at) = self.alarms.remove(key) {
            self.order.remove(&(at, key.clone()));
        }
    }

    /// The Tokens whose alarm has gone off by `now`.
    pub fn ring(&mut self, now: Timestamp) -> Vec<Arc<Key>> {
        let mut ringing = Vec::new();
        while let Some((at, key)) = self.order.pop_first() {
            if at > now {
                self.order.insert((at, key));
                break;
            }
            self.alarms.remove(&key);
            ringing.push(key);
        }
        ringing
    }

    /// When the next alarm goes off.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.order.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::intent::Kind;

    #[test]
    fn alarms_ring_once_in_order_and_only_the_last_one_set_counts() {
        let key = |name: &str| {
            Arc::new(Key {
                kind: Kind::ClusterToken,
                namespace: None,
                name: name.into(),
            })
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut timers = Timers::default();
        timers.set(&key("a"), at(10));
        timers.set(&key("b"), at(5));
        timers.set(&key("c"), at(20));
        timers.set(&key("a"), at(7));
        assert_eq!(timers.next(), Some(at(5)));
        assert_eq!(timers.ring(at(10)), [key("b"), key("a")]);
        assert_eq!(timers.ring(at(10)), []);
        timers.clear(&key("c"));
        assert_eq!(timers.next(), None);
    }
}
