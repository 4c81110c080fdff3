//! Whose turn it is at GitHub, and with which App.

use std::sync::Arc;

use crate::domain::intent::{Intent, Key};
use crate::domain::plan::Plan;
use crate::domain::{Problem, Sign};

use super::decide::Decision;
use super::desk::{Line, Turn};
use super::engine::Engine;
use super::issue;
use super::job::Task;
use super::pool::Seat;

impl<S: Sign + 'static> Engine<S> {
    /// The Apps that may issue for a Token now.
    fn seats_of(&self, intent: &Intent) -> Vec<Seat<S>> {
        self.apps.borrow().seats(intent, |other| self.allows(other))
    }

    /// Whether a policy lets a Token be of another App of its pool.
    pub(super) fn allows(&self, intent: &Intent) -> bool {
        let policies = self.context.policies.borrow().clone();
        policies.is_some_and(|policies| policies.judge(intent).forbidden.is_none())
    }

    /// The line that a Token joins: without Apps that could not issue for it a moment ago, unless there are no others.
    pub(super) fn line_of(&self, intent: &Intent, task: &Task) -> Line {
        self.line_with(&self.seats_of(intent), intent, task)
    }

    fn line_with(&self, seats: &[Seat<S>], intent: &Intent, task: &Task) -> Line {
        let apps = self.apps.borrow();
        let all = seats.iter().map(|seat| apps.full(&seat.key));
        let declined = self.states.get(&task.key).map(|state| state.declined.as_slice());
        let holds = declined.unwrap_or_default().iter();
        let holds: Vec<_> = holds
            .filter(|declined| declined.until > task.now && declined.generation == task.generation)
            .map(|declined| &declined.app)
            .collect();
        let line: Line = all.clone().filter(|app| !holds.contains(&app)).collect();
        match (line.is_empty(), seats.is_empty()) {
            (false, _) => line,
            (true, false) => all.collect(),
            (true, true) => [apps.full(&intent.app)].into(),
        }
    }

    /// Why nobody of a line is served now, if GitHub holds all of its Apps: of the one that is free first.
    pub(super) fn hold_of(&self, line: &Line) -> Option<Problem> {
        let apps = self.apps.borrow();
        let working = line.iter().filter_map(|key| apps.get(key).ok());
        let held: Option<Vec<_>> = working.map(|app| app.client.on_hold()).collect();
        let first = held?.into_iter().min_by_key(|held| held.retry().not_before())?;
        Some(Problem::new(first.reason(), first.retry(), first.to_string()))
    }

    /// Takes a Token out of its line.
    pub(super) fn leave(&mut self, key: &Arc<Key>) {
        let left = self.desks.leave(key);
        self.tell_waiting(left.as_ref());
    }

    /// Says how many wait, of the App that a line prefers.
    pub(super) fn tell_waiting(&self, line: Option<&Line>) {
        if let Some(app) = line.and_then(|line| line.first()) {
            self.context.observer.waiting(app, self.desks.waiting(app));
        }
    }

    /// GitHub lets one more of a line through: the one whose turn it has been already, or the Token with the earliest deadline, if it still
    /// needs to.
    pub(super) fn turn(&mut self, turn: Turn, called: Option<Arc<Key>>) {
        let mut passed = Vec::new();
        self.serve(turn, called, &mut passed);
        // Not before: one that joins this line again would be called again at once, and again.
        for key in passed {
            self.touch(&key);
        }
    }

    /// Starts the issue of the first one that can have this turn. Who was called before it is in `passed`.
    fn serve(&mut self, turn: Turn, mut called: Option<Arc<Key>>, passed: &mut Vec<Arc<Key>>) {
        while let Some(key) = called.take().or_else(|| self.desks.next(&turn.line)) {
            self.tell_waiting(Some(&turn.line));
            if let Some(state) = self.states.get_mut(&key).filter(|state| state.busy) {
                // Its status is being written, that it waits: it goes on from there, and nobody comes before it.
                state.turn = Some(Box::new(turn));
                return;
            }
            let Some(Decision {
                mut task,
                planned: Ok(Plan::Mint { why, .. }),
                ..
            }) = self.decide(&key)
            else {
                passed.push(key);
                continue;
            };
            // It has come to name another App since it joined the line, or an App has come or gone.
            let mut seats = task.intent.as_ref().map_or_else(Vec::new, |intent| {
                let seats = self.seats_of(intent);
                let same = self.line_with(&seats, intent, &task) == turn.line;
                if same { seats } else { Vec::new() }
            });
            let pending = self.states.get_mut(&key).and_then(|state| state.pending.take());
            // What was issued already is written as what it is.
            let issued = pending.as_ref().map(|pending| &pending.origin.app);
            let place = {
                let apps = self.apps.borrow();
                let at = |app| seats.iter().position(|seat| apps.full(&seat.key) == apps.full(app));
                issued.and_then(at).or_else(|| at(&turn.app))
            };
            let Some(place) = place else {
                if let Some(state) = self.states.get_mut(&key) {
                    state.pending = pending;
                }
                passed.push(key);
                continue;
            };
            let seat = seats.swap_remove(place);
            let hash = task.intent.as_ref().and_then(|intent| seat.scope_hash(intent));
            match pending {
                Some(pending) if hash.as_ref() == Some(&pending.scope_hash) && pending.expires_at() > task.now => {
                    task.pending = Some(*pending);
                }
                other => self.discard(other),
            }
            task.others = turn.line.len() > 1;
            let Turn { permit, slot, .. } = turn;
            self.start(slot, &key, task, move |context, task| async move {
                issue::issue(&context, task, seat, permit, why).await
            });
            return;
        }
    }
}
