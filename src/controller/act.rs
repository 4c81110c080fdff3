//! What the plan says is done: at once, or when it is the Token's turn at GitHub.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::Reason;
use crate::domain::intent::{Key, SecretKey};
use crate::domain::plan::{Plan, SecretFacts, Why};
use crate::domain::schedule::{Retry, later};
use crate::domain::status::end;
use crate::domain::{Problem, Sign};

use super::app::App;
use super::decide::Decision;
use super::engine::Engine;
use super::job::{self, Done, Task};
use super::lane::give_back;
use super::settle;

/// From so many waiting Tokens on, a Token that joins them is told so.
const LONG_LINE: usize = 100;
/// How long a Token waits in a short line before it is told so.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a Token is told that waits while its Secret is not as it should be.
fn amiss_until_served() -> Problem {
    let message = "the Secret does not hold yet what the Token asks for now; the Token waits for its turn at GitHub";
    Problem::new(Reason::Pending, Retry::Backoff, message)
}

impl<S: Sign + 'static> Engine<S> {
    /// Looks at one Token and starts what the plan says.
    pub(super) fn touch(&mut self, key: &Arc<Key>) {
        if !self.ready() {
            return;
        }
        let Some(record) = self.index.token(key) else { return };
        if record.deleting {
            self.leave(key);
            self.tell_end(key);
            return;
        }
        let state = self.states.entry(key.clone()).or_default();
        if state.busy {
            // The end of the job brings the next look.
            return;
        }
        let Some(Decision { task, planned, app }) = self.decide(key) else {
            self.leave(key);
            return;
        };
        if !matches!(planned, Ok(Plan::Mint { .. })) {
            self.leave(key);
        }
        match planned {
            Ok(Plan::Mint { why, deadline }) => self.queue(key, task, app.as_deref(), (why, deadline)),
            Ok(Plan::Rest { until }) => self.rest(key, task, app.as_deref(), until),
            Ok(Plan::Refuse(problem)) | Err(problem) => self.spawn(key, task, move |context, task| async move {
                settle::fail(&context, task, problem).await
            }),
            Ok(plan) => self.carry_out(key, task, plan, app),
        }
    }

    /// Puts the Token in line. If it will wait for long, or has, the status says so meanwhile, and that its token has expired.
    fn queue(&mut self, key: &Arc<Key>, mut task: Task, app: Option<&App<S>>, (why, deadline): (Why, Timestamp)) {
        // Where GitHub has no limits, the line moves as fast as the API server: to be told costs as much as to be served.
        let slow = app.is_some_and(|app| app.client.mints_may_wait());
        let Some(line) = task.intent.as_ref().map(|intent| self.line_of(intent, &task)) else {
            return;
        };
        let doubt = task.failure.as_ref().filter(|_| !task.keeps_former);
        let place = doubt.map_or(deadline, |failure| failure.deadline(deadline, task.generation));
        let (since, left) = self.desks.join(&line, key, place, task.now);
        self.tell_waiting(left.as_ref());
        self.tell_waiting(Some(&line));
        let hold = self.hold_of(&line);
        let hold_ends = hold.as_ref().and_then(|hold| hold.retry.not_before());
        let patient_until = later(since, PATIENCE);
        let long = hold.is_some() || self.desks.line(&line) > LONG_LINE || patient_until <= task.now;
        let amiss = why.is_amiss() && task.failure.is_none();
        task.held = hold.or_else(|| amiss.then(amiss_until_served));
        let unsettled = slow && settle::wanted_status(&task, false) != task.status;
        let told = if long { later(task.now, PATIENCE) } else { patient_until };
        let alarm = [Some(deadline), hold_ends, unsettled.then_some(told)];
        let alarm = alarm.into_iter().flatten().filter(|alarm| *alarm > task.now).min();
        if let Some(alarm) = alarm {
            self.timers.set(key, app.map_or(alarm, |app| app.local_time(alarm)));
        }
        if long && unsettled && self.settles_later(key, task.now).is_none() {
            self.tell(key, task);
        }
    }

    /// Writes the status.
    fn tell(&mut self, key: &Arc<Key>, task: Task) {
        self.spawn(key, task, |context, task| async move {
            settle::settle_status(&context, task, false).await
        });
    }

    /// A Token that is being deleted is there for as long as someone else's finalizer holds it, and its Secret is not: it says so, once.
    fn tell_end(&mut self, key: &Arc<Key>) {
        self.context.observer.expiry(key, None);
        let Some(record) = self.index.token(key) else { return };
        let (intent, status) = record.read();
        let app = intent.ok().and_then(|intent| self.source_of(&intent));
        let task = Task::new(record, status, self.time_of(app.as_deref()));
        let status = end(&task.status, task.generation, task.now);
        if status == task.status {
            return;
        }
        // At the end of a job comes the next look.
        if self.states.entry(key.clone()).or_default().busy {
            return;
        }
        if let Some(after) = self.settles_later(key, task.now) {
            self.timers.set(key, app.map_or(after, |app| app.local_time(after)));
            return;
        }
        self.spawn(key, task, |context, task| async move {
            settle::write_status(&context, task, status).await
        });
    }

    /// When the status may be written again, if it could not be a moment ago.
    fn settles_later(&self, key: &Arc<Key>, now: Timestamp) -> Option<Timestamp> {
        let state = self.states.get(key);
        state.and_then(|state| state.settle_after).filter(|after| *after > now)
    }

    /// Nothing to do: the status is written if it is not what it should be, and the alarm is set.
    fn rest(&mut self, key: &Arc<Key>, task: Task, app: Option<&App<S>>, until: Timestamp) {
        let (secret, facts) = task.in_use();
        let expires = facts.and_then(SecretFacts::expires_at);
        let alarm = expires.filter(|at| *at > task.now).map_or(until, |at| at.min(until));
        let unsettled = settle::wanted_status(&task, false) != task.status;
        if let Some(secret) = secret {
            let live = expires.map(|at| (&secret.key, at));
            self.context.observer.expiry(key, live);
        }
        let Some(state) = self.states.get_mut(key) else { return };
        // A token that was just issued for the first time leaves nothing else to remember: it is forgotten soon.
        let alarm = state.budget.full_after(task.now).map_or(alarm, |full| full.min(alarm));
        let local = app.map_or(alarm, |app| app.local_time(alarm));
        if task.failure.is_none() {
            state.failure = None;
        }
        // Of a Secret that is on its way out, its end is told; but not that all is well when its token is over, or it is stuck.
        let good = task.held.is_none() && expires.is_none_or(|at| at > task.now);
        let passing = good && task.facts.as_ref().is_some_and(|facts| facts.deleting);
        if passing || !unsettled {
            if state.is_blank(task.now) {
                self.states.remove(key);
                give_back(&mut self.states);
            }
            self.timers.set(key, local);
            return;
        }
        if let Some(after) = state.settle_after.filter(|after| *after > task.now) {
            self.timers
                .set(key, app.map_or(after, |app| app.local_time(after)).min(local));
            return;
        }
        self.timers.set(key, local);
        self.tell(key, task);
    }

    fn carry_out(&mut self, key: &Arc<Key>, task: Task, plan: Plan, app: Option<Arc<App<S>>>) {
        let Some(intent) = task.intent.clone() else { return };
        let uid = task.facts.as_ref().map(|facts| facts.uid.clone()).unwrap_or_default();
        let (plan, app) = match (plan, app) {
            // Needs no App: where there is none, the token is left to expire.
            (Plan::Withdraw(secrets), _) => {
                let known = self.with_uids(secrets);
                return self.spawn(key, task, move |context, task| async move {
                    job::withdraw(&context, task, known).await
                });
            }
            (plan, Some(app)) => (plan, app),
            (_, None) => return,
        };
        match plan {
            Plan::Look => self.spawn(key, task, move |context, task| async move {
                job::look(&context, task, intent.secret.key).await
            }),
            Plan::Inspect => self.spawn(key, task, move |context, task| async move {
                job::inspect(&context, task, &intent, &uid).await
            }),
            Plan::Rewrite => {
                self.spawn(key, task, move |context, task| async move {
                    Done {
                        out_of_turn: true,
                        ..job::rewrite(&context, task, &intent, &app, &uid).await
                    }
                });
            }
            Plan::Remove(former) => {
                let known = self.with_uids(former);
                self.spawn(key, task, move |context, task| async move {
                    job::remove(&context, task, known).await
                });
            }
            Plan::Mint { .. } | Plan::Refuse(_) | Plan::Rest { .. } | Plan::Withdraw(_) => {}
        }
    }

    /// Managed Secrets with their UIDs, so that none is deleted that has become another one.
    fn with_uids(&self, secrets: Vec<SecretKey>) -> Vec<(SecretKey, Box<str>)> {
        let known = |key: SecretKey| {
            let uid = self.index.secret(&key)?.uid.clone();
            Some((key, uid))
        };
        secrets.into_iter().filter_map(known).collect()
    }
}
