//! Who is next: the Tokens of one App that wait for GitHub, the one with the earliest deadline first.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::intent::Key;

/// The waiting Tokens of one App.
#[derive(Debug, Default)]
pub struct Lane {
    waiting: BTreeSet<(Timestamp, Arc<Key>)>,
    deadlines: HashMap<Arc<Key>, Timestamp>,
}

impl Lane {
    /// Puts a Token in line. Returns `true` if it was not in line before.
    pub fn join(&mut self, key: &Arc<Key>, deadline: Timestamp) -> bool {
        let before = self.deadlines.insert(key.clone(), deadline);
        if let Some(before) = before {
            self.waiting.remove(&(before, key.clone()));
        }
        self.waiting.insert((deadline, key.clone()));
        before.is_none()
    }

    /// Takes a Token out of line.
    pub fn leave(&mut self, key: &Arc<Key>) {
        if let Some(deadline) = self.deadlines.remove(key) {
            self.waiting.remove(&(deadline, key.clone()));
        }
        give_back(&mut self.deadlines);
    }

    /// Takes the Token with the earliest deadline out of line.
    pub fn next(&mut self) -> Option<Arc<Key>> {
        let (_, key) = self.waiting.pop_first()?;
        self.deadlines.remove(&key);
        give_back(&mut self.deadlines);
        Some(key)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// The memory of a table that is empty again: thousands may have been in it for a moment, and it never shrinks by itself.
pub(super) fn give_back<V>(table: &mut HashMap<Arc<Key>, V>) {
    if table.is_empty() {
        table.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::intent::Kind;

    fn key(n: u8) -> Arc<Key> {
        Arc::new(Key {
            kind: Kind::Token,
            namespace: Some("ns".into()),
            name: n.to_string().into(),
        })
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_token_that_joins_again_keeps_one_place_with_its_new_deadline() {
        let mut lane = Lane::default();
        assert!(lane.join(&key(1), at(30)));
        assert!(lane.join(&key(2), at(20)));
        assert!(!lane.join(&key(1), at(10)));
        assert_eq!(
            (lane.next(), lane.next(), lane.next()),
            (Some(key(1)), Some(key(2)), None)
        );
    }

    proptest! {
        #[test]
        fn deadlines_come_out_in_order(joins in prop::collection::vec((0u8..20, 0i64..1000), 0..60), gone in 0u8..20) {
            let mut lane = Lane::default();
            let mut last = HashMap::new();
            for (name, second) in &joins {
                lane.join(&key(*name), at(*second));
                last.insert(*name, *second);
            }
            lane.leave(&key(gone));
            last.remove(&gone);
            let order: Vec<i64> = std::iter::from_fn(|| lane.next())
                .map(|key| last[&key.name.parse::<u8>().unwrap()]).collect();
            prop_assert!(order.is_sorted());
            prop_assert_eq!(order.len(), last.len());
        }
    }
}
