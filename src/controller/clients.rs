//! Apps that come, change and go.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::Sign;
use crate::domain::intent::{AppKey, Intent, Key};
use crate::domain::plan::Plan;

use super::app::{App, Listed};
use super::decide::Decision;
use super::desk::ISSUES;
use super::engine::Engine;

/// GitHub's limit on new tokens is counted over so long.
const MINUTE: Duration = Duration::from_secs(60);
/// How far GitHub's clock may be from ours for a Secret to count as new before the App's own skew is looked at.
const LARGEST_SKEW: Duration = Duration::from_secs(15 * 60);
/// How much younger a token may be than it seems: GitHub tells its clock, and when a token expires, in whole seconds, and what its clock
/// differs by is not looked at below two.
const DOUBT: Duration = Duration::from_secs(3);

fn same<S>(one: Option<&Listed<S>>, other: Option<&Listed<S>>) -> bool {
    let (Some((one, known)), Some((other, now_known))) = (one, other) else {
        return one.is_none() && other.is_none();
    };
    known == now_known
        && match (one, other) {
            (Some(Ok(one)), Some(Ok(other))) => Arc::ptr_eq(one, other),
            (Some(Err(one)), Some(Err(other))) => one == other,
            (None, None) => true,
            _ => false,
        }
}

impl<S: Sign + 'static> Engine<S> {
    /// Takes note of the Apps. Returns which of them have changed.
    pub(super) fn see_apps(&mut self) -> HashSet<AppKey> {
        let now = self.apps.borrow_and_update().entries();
        let keys = self.seen.keys().chain(now.keys());
        let changed = keys.filter(|key| !same(self.seen.get(*key), now.get(*key)));
        let changed = changed.cloned().collect();
        self.seen = now;
        changed
    }

    fn seen_app(&self, key: &AppKey) -> Option<&Arc<App<S>>> {
        self.seen.get(key)?.0.as_ref()?.as_ref().ok()
    }

    /// An App was replaced, works no more, or for the first time: its Tokens are looked at, whatever they waited for.
    pub(super) fn apps_changed(&mut self) {
        let app = |key: &AppKey| Some((key.clone(), self.seen_app(key)?.clone()));
        let before: HashMap<_, _> = self.seen.keys().filter_map(app).collect();
        let changed = self.see_apps();
        let is_fresh = |key: &AppKey| match (before.get(key), self.seen_app(key)) {
            (Some(before), Some(now)) => !Arc::ptr_eq(&before.client, &now.client),
            (_, now) => now.is_some(),
        };
        let fresh: HashSet<AppKey> = changed.iter().filter(|key| is_fresh(key)).cloned().collect();
        let mut unknown = fresh.clone();
        for key in &fresh {
            if let (Some(former), Some(now)) = (before.get(key), self.seen_app(key))
                && now.follow(former)
            {
                // The former client knows what it has asked for, and more than is in the Secrets.
                unknown.remove(key);
            }
        }
        self.remember_the_last_minute(&|key| unknown.contains(key));
        let keys: Vec<_> = self.index.keys().cloned().collect();
        for key in keys {
            let intent = self.index.token(&key).and_then(|token| token.read().0.ok());
            let app = intent.as_ref().map(|intent| self.apps.borrow().full(&intent.app));
            let pool: Vec<AppKey> = match &app {
                Some(app) if !changed.is_empty() => self.apps.borrow().pool_of(app).collect(),
                _ => Vec::new(),
            };
            let differs = |app: &AppKey| changed.contains(app) || !self.seen.contains_key(app);
            let own = app.as_ref().is_some_and(differs) && !self.is_told(&key, intent.as_ref());
            // An App that works anew may do what others could not; one that ceases to work changes nothing that has failed.
            let helped = pool.iter().any(|member| fresh.contains(member));
            let lost = pool.iter().any(|member| changed.contains(member));
            if !(own || lost) {
                continue;
            }
            if let Some(state) = self.states.get_mut(&key).filter(|_| own || helped) {
                state.failure = None;
                state.declined.clear();
                state.outdated = state.busy;
            }
            self.touch(&key);
        }
        let secrets: Vec<_> = self.index.secrets().map(|(key, _)| key.clone()).collect();
        for key in secrets {
            self.touch_secret(&key);
        }
        let seen = &self.seen;
        self.desks.close(|app| seen.contains_key(app));
    }

    /// Whether a Token that waits for an App has been told all that is to be said of that. Anyone may change an App of their own at any time:
    /// that costs nothing of whoever waits for another one, which need not exist.
    fn is_told(&self, key: &Arc<Key>, intent: Option<&Intent>) -> bool {
        let failure = self.states.get(key).and_then(|state| state.failure.as_ref());
        let told = failure.map(|failure| &failure.problem);
        let told = told.filter(|problem| problem.reason.is_about_the_app());
        let now = |intent| self.apps.borrow().of(intent, |other| self.allows(other)).err();
        told.is_some_and(|told| intent.and_then(now).as_ref() == Some(told))
    }

    /// The mints of the last minute, from the Secrets: neither a restart nor a new key may spend GitHub's budget twice.
    pub(super) fn remember_the_last_minute(&mut self, of: &dyn Fn(&AppKey) -> bool) {
        let mut ages: HashMap<AppKey, Vec<Duration>> = HashMap::new();
        for (_, secret) in self.index.secrets() {
            let Some(issued) = secret.issued_at() else { continue };
            if self.local().duration_since(issued).unsigned_abs() > LARGEST_SKEW + MINUTE {
                continue;
            }
            let owner = secret.owner.as_ref().and_then(|owner| self.index.owner(owner));
            let Some(intent) = owner.and_then(|token| token.read().0.ok()) else {
                continue;
            };
            let issuer = secret.issuer().unwrap_or(intent.app);
            let key = self.apps.borrow().full(&issuer);
            let Some(app) = self.seen_app(&key).filter(|_| of(&key)) else {
                continue;
            };
            let age = app.github_time(self.local()).duration_since(issued);
            let age = Duration::try_from(age).unwrap_or_default().saturating_sub(DOUBT);
            ages.entry(key).or_default().extend((age < MINUTE).then_some(age));
        }
        ages.retain(|_, ages| !ages.is_empty());
        if ages.is_empty() {
            return;
        }
        let without = self.without_a_token();
        for (key, ages) in ages {
            if let Some(app) = self.seen_app(&key) {
                app.client.record_past_mints(ages);
                app.client.presume_mints(without.get(&key).copied().unwrap_or_default());
            }
        }
    }

    /// For how many Tokens each App is to issue now, at most as many as can have been under way when a former process ended: whose token
    /// was issued and could not be written any more is among them.
    fn without_a_token(&mut self) -> HashMap<AppKey, usize> {
        let mut without = HashMap::new();
        for key in self.index.keys().cloned().collect::<Vec<_>>() {
            let known = self.states.contains_key(&key);
            self.states.entry(key.clone()).or_default();
            let decision = self.decide(&key);
            if !known {
                self.states.remove(&key);
            }
            let Some(Decision {
                task,
                planned: Ok(Plan::Look | Plan::Mint { .. }),
                ..
            }) = decision
            else {
                continue;
            };
            let line = task.intent.as_ref().map(|intent| self.line_of(intent, &task));
            for app in line.iter().flat_map(|line| line.iter()) {
                let count = without.entry(app.clone()).or_default();
                *count = ISSUES.min(*count + 1);
            }
        }
        without
    }
}
