//! When something has to be looked at again: by the wall clock, so that a machine that slept is not late for longer than one tick.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::intent::Key;

/// One alarm for each Token, at most.
#[derive(Debug, Default)]
pub struct Timers {
    order: BTreeSet<(Moment, Arc<Key>)>,
    alarms: HashMap<Arc<Key>, Moment>,
}

/// Milliseconds since 1970: half as large as a [`Timestamp`], of which there would be two for each Token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(i64);

impl Moment {
    /// The first one that is not before `at`.
    fn after(at: Timestamp) -> Self {
        let millisecond = at.as_millisecond();
        Moment(millisecond + i64::from(at.subsec_nanosecond() % 1_000_000 > 0))
    }

    fn timestamp(self) -> Timestamp {
        Timestamp::from_millisecond(self.0).unwrap_or(Timestamp::MAX)
    }
}

impl Timers {
    /// Sets the alarm of a Token; a former one is forgotten.
    pub fn set(&mut self, key: &Arc<Key>, at: Timestamp) {
        self.clear(key);
        let at = Moment::after(at);
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
            if at.timestamp() > now {
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
        self.order.first().map(|(at, _)| at.timestamp())
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
