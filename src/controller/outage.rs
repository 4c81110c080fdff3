//! Whether GitHub, or the API server, is away: then one Token of an App asks again and again, and when it gets its answer, all others of that App
//! that wait for their next attempt go on at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::intent::{AppKey, Key};
use crate::domain::schedule::later;

/// How long the scout waits between two attempts, at most.
pub const SCOUT_PERIOD: Duration = Duration::from_secs(5);
/// Failures among successes are no outage, however many: without a success for so long, they are one.
const SHORTEST: Duration = Duration::from_secs(5);

/// The trouble of each App: another one's success says nothing about it. `None` is whoever names no App.
#[derive(Debug, Default)]
pub struct Outages {
    of: HashMap<Option<AppKey>, Outage>,
}

/// Failures that may pass, since the last token that was issued.
#[derive(Debug)]
struct Outage {
    since: Timestamp,
    scout: Option<Arc<Key>>,
}

impl Outages {
    /// An attempt for this Token has failed with an error that may pass.
    pub fn failed(&mut self, app: Option<&AppKey>, key: &Arc<Key>, now: Timestamp) {
        let outage = self.of.entry(app.cloned()).or_insert(Outage {
            since: now,
            scout: None,
        });
        outage.scout.get_or_insert_with(|| key.clone());
    }

    /// Whether this Token asks for all of its App.
    #[must_use]
    pub fn is_scout(&self, key: &Key) -> bool {
        self.of.values().any(|outage| outage.scout.as_deref() == Some(key))
    }

    /// This Token waits for nothing any more, or is gone: another one may ask.
    pub fn dismiss(&mut self, key: &Key) {
        for outage in self.of.values_mut() {
            outage.scout.take_if(|scout| **scout == *key);
        }
    }

    /// A token of this App was issued. Returns whether that ends an outage.
    pub fn succeeded(&mut self, app: Option<&AppKey>, now: Timestamp) -> bool {
        let ended = self.of.remove(&app.cloned());
        ended.is_some_and(|outage| later(outage.since, SHORTEST) <= now)
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

    const APP: Option<&AppKey> = Some(&AppKey::Startup);

    #[test]
    fn the_first_that_fails_is_the_scout_until_it_is_dismissed() {
        let mut outages = Outages::default();
        outages.failed(APP, &key("a"), at(0));
        outages.failed(APP, &key("b"), at(1));
        assert!(outages.is_scout(&key("a")) && !outages.is_scout(&key("b")));
        outages.dismiss(&key("b"));
        assert!(outages.is_scout(&key("a")));
        outages.dismiss(&key("a"));
        outages.failed(APP, &key("b"), at(2));
        assert!(outages.is_scout(&key("b")));
    }

    #[test]
    fn failures_among_successes_are_no_outage() {
        let mut outages = Outages::default();
        assert!(!outages.succeeded(APP, at(0)));
        outages.failed(APP, &key("a"), at(1));
        assert!(!outages.succeeded(APP, at(3)));
        outages.failed(APP, &key("a"), at(4));
        outages.failed(APP, &key("b"), at(9));
        assert!(outages.succeeded(APP, at(10)));
        assert!(!outages.succeeded(APP, at(20)));
    }

    #[test]
    fn another_apps_success_ends_no_outage() {
        let other = AppKey::named("team/other");
        let mut outages = Outages::default();
        outages.failed(APP, &key("a"), at(0));
        outages.failed(Some(&other), &key("b"), at(0));
        assert!(
            outages.is_scout(&key("a")) && outages.is_scout(&key("b")),
            "one of each App"
        );
        assert!(outages.succeeded(Some(&other), at(60)));
        assert!(!outages.succeeded(Some(&other), at(70)));
        assert!(outages.is_scout(&key("a")) && !outages.is_scout(&key("b")));
        assert!(outages.succeeded(APP, at(80)));
    }
}
