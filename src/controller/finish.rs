//! The end of a job: what it has found out and done becomes what is known.

use std::sync::Arc;
use std::time::Duration;

use crate::api::Reason;
use crate::cluster::OwnerRef;
use crate::domain::Sign;
use crate::domain::intent::{AppKey, Key};
use crate::domain::schedule::{self, Retry};

use super::engine::{Back, Engine};
use super::job::Done;
use super::state::{Failure, State};

impl<S: Sign + 'static> Engine<S> {
    pub(super) fn back(&mut self, back: Result<Back, tokio::task::JoinError>) {
        match back {
            Ok(Back::Token(key, uid, done)) => self.finished(&key, &uid, *done),
            Ok(Back::Nothing) => {}
            Ok(Back::Retired(key, retirement, retired)) => self.retired(&key, &retirement, retired),
            // A job that panicked leaves its Token busy: rather stop than forget a Token.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
        self.catch_up();
    }

    fn finished(&mut self, key: &Arc<Key>, uid: &str, done: Done) {
        for token in done.replaced {
            self.revoke_later(key, token);
        }
        if done.gone {
            self.token_missing(&OwnerRef {
                key: key.clone(),
                uid: uid.into(),
            });
        }
        // One that is gone stays so, and one of the same name that came after has its own jobs.
        self.discard(done.stray.map(Box::new));
        if self.index.token(key).is_none_or(|token| *token.uid != *uid) {
            self.discard(done.pending.map(Box::new));
            return;
        }
        if let Some(record) = done.record {
            self.index.wrote_token(record);
        }
        let intent = self.intent_of(key);
        let now = self.time_of(intent.as_ref().and_then(|intent| self.source_of(intent)).as_deref());
        let app = intent.as_ref().map(|intent| self.apps.borrow().full(&intent.app));
        let Some(state) = self.states.get_mut(key) else { return };
        state.place = done.place;
        let outdated = std::mem::take(&mut state.outdated);
        state.failure = done.failure.filter(|_| !outdated).map(Box::new);
        // Who waits for an App to work asks nobody, and so for nobody.
        let asks = |failure: &Failure| failure.problem.reason != Reason::AppNotReady;
        match &state.failure {
            Some(failure) if failure.problem.retry == Retry::Backoff && asks(failure) => {
                self.outages.failed(app.as_ref(), key, now);
            }
            _ => self.outages.dismiss(key),
        }
        match done.declined {
            Some(declined) => {
                state
                    .declined
                    .retain(|other| other.until > now && other.app != declined.app);
                state.declined.push(declined);
            }
            None if state.failure.is_some() => state.declined.clear(),
            None => {}
        }
        if done.out_of_turn {
            state.budget.spend(now);
        }
        if let Some(pending) = done.pending {
            state.pending = Some(Box::new(pending));
        }
        state.granted = done.granted.map(Box::new);
        state.unsettled = if done.unsettled {
            state.unsettled.saturating_add(1)
        } else {
            0
        };
        let pause = schedule::next_attempt(
            now,
            Retry::Backoff,
            state.unsettled,
            Duration::MAX,
            (self.context.dice)(),
        );
        state.settle_after = done.unsettled.then_some(pause);
        let lost = state.lost.take();
        if let Some((meta, content)) = done.secret
            && lost.as_deref() != meta.metadata.uid.as_deref()
        {
            self.secret_changed(&meta, content);
        }
        for (secret, uid) in done.deleted {
            self.index.deleted(&secret, &uid);
        }
        if done.secret_gone
            && let Some(intent) = &intent
            && let Some(known) = self.index.secret(&intent.secret.key)
            && known.owner.as_ref().is_some_and(|owner| *owner.uid == *uid)
        {
            let known = known.uid.clone();
            self.index.remove_secret(&intent.secret.key, &known);
        }
        if done.issued && self.outages.succeeded(app.as_ref(), now) {
            self.wake(app.as_ref());
        }
        // Not before: what was learnt above would bring a look of its own.
        let Some(state) = self.states.get_mut(key) else { return };
        state.busy = false;
        match state.turn.take() {
            Some(turn) if self.index.token(key).is_some_and(|token| !token.deleting) => {
                self.turn(*turn, Some(key.clone()));
            }
            Some(turn) => {
                self.touch(key);
                self.turn(*turn, None);
            }
            None => self.touch(key),
        }
    }

    /// Whoever waits for an outage to pass goes on: of this App, or of all.
    pub(super) fn wake(&mut self, app: Option<&AppKey>) {
        let waits = |state: &State| {
            let failure = state.failure.as_ref();
            failure.is_some_and(|failure| failure.problem.retry == Retry::Backoff)
        };
        let waiting = self.states.iter().filter(|(_, state)| waits(state)).map(|(key, _)| key);
        let named = |key: &Key| Some(self.apps.borrow().full(&self.intent_of(key)?.app));
        let waiting = waiting.filter(|key| app.is_none() || named(key).as_ref() == app);
        for key in waiting.cloned().collect::<Vec<_>>() {
            if let Some(failure) = self.states.get_mut(&key).and_then(|state| state.failure.as_mut()) {
                failure.release();
            }
            self.touch(&key);
        }
    }
}
