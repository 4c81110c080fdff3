//! What is known of a Token, put before the plan.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::{Reason, condition};
use crate::domain::intent::{AppKey, Intent, Key, app_not_found};
use crate::domain::plan::{Observed, Place as Seen, Plan, Why, plan};
use crate::domain::policy::consequence;
use crate::domain::schedule::Retry;
use crate::domain::{Problem, Sign};

use super::app::App;
use super::engine::Engine;
use super::job::Task;
use super::record::SecretRecord;
use super::settle::status_life;
use super::state::Place;

impl<S: Sign + 'static> Engine<S> {
    /// What is known of the Token, and what is to be done about it. No task: nothing, before its alarm goes off.
    pub(super) fn decide(
        &mut self,
        key: &Arc<Key>,
        app: Option<&App<S>>,
        now: Timestamp,
    ) -> (Option<Task>, Result<Plan, Problem>) {
        let nothing = (None, Ok(Plan::Rest { until: Timestamp::MAX }));
        let Some(record) = self.index.token(key) else {
            return nothing;
        };
        let (uid, generation) = (record.uid.clone(), record.generation);
        let (mut intent, status) = record.read();
        let forbidden = intent.as_mut().ok().and_then(|intent| self.judge(key, intent));
        self.index
            .want(key, intent.as_ref().ok().map(|intent| &intent.secret.key));
        let written = status
            .managed_secret
            .as_ref()
            .and_then(|managed| managed.resource_version.as_deref());
        let ours = intent
            .as_ref()
            .ok()
            .and_then(|intent| self.index.secret(&intent.secret.key));
        let facts = ours
            .map(|secret| secret.facts(written))
            .filter(|facts| facts.owner.as_deref() == Some(&*uid));
        let Some(state) = self.states.get_mut(key) else {
            return nothing;
        };
        let out_of_turn = state.budget.check(now);
        let request = intent
            .as_ref()
            .ok()
            .and_then(|intent| intent.refresh_request.as_deref());
        let holds = state
            .failure
            .as_ref()
            .filter(|failure| failure.holds(now, generation, request))
            // What went wrong before does not put off a prohibition.
            .filter(|failure| {
                let reason = forbidden.as_ref().map(|forbidden| forbidden.problem.reason);
                reason.is_none_or(|reason| reason == failure.problem.reason)
            })
            .map(|failure| failure.until);
        let mut task = Task {
            key: key.clone(),
            uid,
            generation,
            intent: None,
            status,
            facts,
            failure: state.failure.as_deref().cloned(),
            pending: None,
            granted: state.granted.as_deref().cloned(),
            scout: self.outage.is_scout(key),
            now,
        };
        let planned = match &intent {
            Err(problem) => Err(problem.clone()),
            Ok(intent) => match forbidden {
                Some(forbidden) => {
                    let since = task.status.condition(condition::FORBIDDEN);
                    let since = since.map(|condition| condition.last_transition_time.into());
                    consequence(forbidden, task.facts.as_ref(), since, now)
                }
                None => self.plan(intent, app, &task),
            },
        };
        task.intent = intent.ok();
        let out_of_turn = match &planned {
            Ok(Plan::Mint { why, .. }) if *why != Why::Due => out_of_turn,
            Ok(Plan::Rewrite) => out_of_turn,
            _ => Ok(()),
        };
        let planned = match (planned, holds, out_of_turn) {
            (Ok(Plan::Rest { until }), _, _) => {
                task.failure = None;
                Ok(Plan::Rest { until })
            }
            (_, Some(until), _) | (_, None, Err(until)) => Ok(Plan::Rest { until }),
            (planned, None, Ok(())) => planned,
        };
        (Some(task), planned)
    }

    fn why_no_app(&self) -> Problem {
        let why = self
            .startup
            .borrow()
            .as_ref()
            .and_then(|app| app.as_ref().err().cloned());
        why.unwrap_or_else(no_startup_app)
    }

    fn plan(&self, intent: &Intent, app: Option<&App<S>>, task: &Task) -> Result<Plan, Problem> {
        let app = match (&intent.app, app) {
            (AppKey::Startup, Some(app)) => app,
            (AppKey::Startup, None) => return Err(self.why_no_app()),
            (AppKey::Object { namespace, name }, _) => return Err(app_not_found(namespace.as_deref(), name)),
        };
        let state = self.states.get(&task.key);
        let place = match (
            &task.facts,
            self.index.secret(&intent.secret.key),
            state.and_then(|state| state.place.as_ref()),
        ) {
            (Some(facts), _, _) => Seen::Ours(facts.clone()),
            (None, Some(SecretRecord { owner: Some(owner), .. }), _) => Seen::Foreign {
                whose: format!("belongs to {}", owner.key),
            },
            (None, Some(_), _) => Seen::Foreign {
                whose: "has no Token as its owner".to_owned(),
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
        };
        Ok(plan(task.now, intent, &app.facts, &observed))
    }
}

fn no_startup_app() -> Problem {
    Problem::new(
        Reason::NoStartupConfig,
        Retry::Every(Duration::from_secs(600)),
        "spec.appRef is not set, and the operator was started without an App; set app_id, installation_id and key in gtm.yaml, or name an App",
    )
}
