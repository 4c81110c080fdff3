//! What is known of a Token, put before the plan.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::api::{Reason, TokenStatus, condition};
use crate::cluster::{TokenRecord, possession};
use crate::domain::intent::{Intent, Key};
use crate::domain::plan::{Observed, Place as Seen, Plan, SecretFacts, Why, plan};
use crate::domain::policy::consequence;
use crate::domain::schedule::Retry;
use crate::domain::{Problem, Sign};

use super::app::App;
use super::engine::Engine;
use super::job::Task;
use super::settle::{status_life, status_place};
use super::state::Place;

/// What is to be done about a Token.
pub(super) struct Decision<S> {
    /// What is known of it.
    pub task: Task,
    /// What the plan says.
    pub planned: Result<Plan, Problem>,
    /// Its App, if that works.
    pub app: Option<Arc<App<S>>>,
}

impl Task {
    /// A Token as it was last seen, of which nothing else is known.
    pub(super) fn new(record: &TokenRecord, status: TokenStatus, now: Timestamp) -> Self {
        Task {
            key: record.key.clone(),
            uid: record.uid.clone(),
            generation: record.generation,
            resource_version: record.resource_version.clone(),
            intent: None,
            status,
            facts: None,
            verdict: None,
            former: None,
            keeps_former: false,
            failure: None,
            pending: None,
            granted: None,
            others: false,
            held: None,
            scout: false,
            now,
            skew: SignedDuration::ZERO,
        }
    }
}

/// What a Token is told whose Secret was changed too often of late.
fn overspent(until: Timestamp) -> Problem {
    let message = "the Token or its Secret was changed many times within minutes: what is to be changed now is put off for some seconds";
    Problem::new(Reason::Pending, Retry::At(until), message)
}

impl<S: Sign + 'static> Engine<S> {
    /// What is known of the Token, and what is to be done about it. `None`: nothing, before its alarm goes off.
    pub(super) fn decide(&mut self, key: &Arc<Key>) -> Option<Decision<S>> {
        let (mut intent, status) = self.index.token(key)?.read();
        let told = status.condition(condition::READY).is_some();
        let forbidden = intent.as_mut().ok().and_then(|intent| self.judge(key, intent));
        let app = match &intent {
            // What the status says holds until more is known, but for a prohibition.
            Ok(intent) if told && forbidden.is_none() && self.apps.borrow().is_untried(&intent.app) => return None,
            Ok(intent) => self.apps.borrow().of(intent, |other| self.allows(other)),
            Err(problem) => Err(problem.clone()),
        };
        if let (Ok(intent), Ok(app)) = (&intent, &app)
            && forbidden.is_none()
            && app.facts.is_unsure(intent)
            // What stands in for an App knows no more of it, and need not wait.
            && self.apps.borrow().get(&intent.app).is_ok_and(|own| Arc::ptr_eq(&own, app))
            && status_life(&status).is_some_and(|(_, expires)| expires > self.time_of(Some(app)))
        {
            return None;
        }
        let now = self.time_of(app.as_deref().ok());
        let mut task = Task::new(self.index.token(key)?, status, now);
        self.index
            .want(key, intent.as_ref().ok().map(|intent| &intent.secret.key));
        let written = task
            .status
            .managed_secret
            .as_ref()
            .and_then(|managed| managed.resource_version.as_deref());
        // Of a spec that cannot be read, the Secret of before is known: what is in it expires all the same.
        let place = match &intent {
            Ok(intent) => Some(intent.secret.key.clone()),
            Err(_) => status_place(&task.status),
        };
        let ours = place.as_ref().and_then(|place| self.index.secret(place));
        task.facts = ours
            .map(|secret| secret.facts(written))
            .filter(|facts| facts.is_of(key, &task.uid, task.status.hashed_token.as_deref()));
        let state = self.states.get(key)?;
        let out_of_turn = state.budget.check(now);
        let request = intent
            .as_ref()
            .ok()
            .and_then(|intent| intent.refresh_request.as_deref());
        let holds = state
            .failure
            .as_ref()
            .filter(|failure| failure.holds(now, task.generation, request, forbidden.as_ref()))
            .map(|failure| failure.until);
        task.verdict.clone_from(&forbidden);
        task.failure = state.failure.as_deref().cloned();
        task.granted = state.granted.as_deref().cloned();
        task.scout = self.outages.is_scout(key);
        task.skew = app.as_ref().map_or(SignedDuration::ZERO, |app| app.client.skew());
        if let (Ok(intent), None) = (&intent, &forbidden) {
            task.former = self.former_of(&task, intent);
        }
        let planned = match &intent {
            Err(problem) => Err(problem.clone()),
            Ok(intent) => match forbidden {
                Some(forbidden) => {
                    let since = task.status.condition(condition::FORBIDDEN);
                    let since = since.and_then(|condition| condition.since(now));
                    let own = task.facts.as_ref().filter(|facts| !facts.deleting);
                    let mut secrets = self.index.former(key, &task.uid);
                    secrets.extend(own.map(|_| intent.secret.key.clone()));
                    consequence(forbidden, secrets, since, now)
                }
                None => self.plan(intent, &app, &task),
            },
        };
        task.intent = intent.ok();
        self.sort_out(key, task.facts.as_ref(), &planned);
        let out_of_turn = match &planned {
            Ok(Plan::Mint { why, .. }) if *why != Why::Due => out_of_turn,
            Ok(Plan::Look | Plan::Rewrite) => out_of_turn,
            _ => Ok(()),
        };
        let planned = match (planned, holds, out_of_turn) {
            (Ok(Plan::Rest { until }), _, _) => {
                task.failure = None;
                task.held = self.stuck(&task);
                Ok(Plan::Rest { until })
            }
            (_, Some(until), _) => self.keep_former(&mut task, until),
            (_, None, Err(until)) => {
                task.held = Some(overspent(until));
                Ok(Plan::Rest { until })
            }
            (planned, None, Ok(())) => planned,
        };
        Some(Decision {
            task,
            planned,
            app: app.ok(),
        })
    }

    /// A token that could not be written may be in the Secret all the same, since the answer was lost: then the next one is another.
    /// One that is not wanted any more is revoked.
    fn sort_out(&mut self, key: &Key, facts: Option<&SecretFacts>, planned: &Result<Plan, Problem>) {
        let Some(state) = self.states.get_mut(key) else { return };
        let written = facts.and_then(SecretFacts::hashed_token);
        let arrived = state.pending.take_if(|pending| written == Some(&*pending.hashed_token));
        if let Some(arrived) = arrived {
            arrived.accounted_for();
        }
        let going = facts.is_some_and(|facts| facts.deleting);
        if matches!(planned, Ok(Plan::Rest { .. })) && !going {
            let unwanted = state.pending.take();
            self.discard(unwanted);
        }
    }

    /// Why the Token's Secret, which is being deleted, is still there.
    fn stuck(&self, task: &Task) -> Option<Problem> {
        let going = task.facts.as_ref().filter(|facts| facts.deleting)?;
        let trouble = self.retiring.trouble(&task.intent.as_ref()?.secret.key, &going.uid)?;
        Some(Problem {
            retry: Retry::At(task.github_time(trouble.until)),
            ..trouble.problem.clone()
        })
    }

    /// What a Token asks for, if that can be read: each time, it is unpacked and parsed.
    pub(super) fn intent_of(&self, key: &Key) -> Option<Intent> {
        self.index.token(key)?.read().0.ok()
    }

    /// The App that this comes from, or what stands in for it.
    pub(super) fn source_of(&self, intent: &Intent) -> Option<Arc<App<S>>> {
        self.apps.borrow().of(intent, |_| true).ok()
    }

    /// The local time, by the clock of the App's GitHub.
    pub(super) fn time_of(&self, app: Option<&App<S>>) -> Timestamp {
        app.map_or_else(|| self.local(), |app| app.github_time(self.local()))
    }

    fn plan(&self, intent: &Intent, app: &Result<Arc<App<S>>, Problem>, task: &Task) -> Result<Plan, Problem> {
        let app = app.as_ref().map_err(Problem::clone)?;
        let state = self.states.get(&task.key);
        let place = match (
            &task.facts,
            self.index.secret(&intent.secret.key),
            state.and_then(|state| state.place.as_ref()),
        ) {
            (Some(facts), _, _) => Seen::Ours(facts.clone()),
            (None, Some(secret), _) => Seen::Foreign {
                whose: possession(secret.owner.as_ref(), &task.key),
            },
            (None, None, Some(Place::Free)) => Seen::Free,
            (None, None, Some(Place::Foreign(whose))) => Seen::Foreign { whose: whose.clone() },
            (None, None, None) => Seen::Unknown,
        };
        let former = self.index.former(&task.key, &task.uid);
        let observed = Observed {
            place,
            former,
            status_life: status_life(&task.status),
            lent: task
                .facts
                .as_ref()
                .and_then(|facts| self.apps.borrow().lent(intent, facts)),
        };
        Ok(plan(task.now, intent, &app.facts, &observed))
    }
}
