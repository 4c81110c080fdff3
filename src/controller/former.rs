//! The Secret that a Token had before: it is kept fresh while the one that is wanted now cannot be had.

use jiff::Timestamp;

use crate::api::names::annotation;
use crate::domain::intent::{Intent, SecretIntent};
use crate::domain::plan::{Plan, SecretFacts, Why};
use crate::domain::schedule::due;
use crate::domain::secret::{format_mark, in_form_of};
use crate::domain::{Problem, Sign};

use super::engine::Engine;
use super::job::Task;

/// A Secret of a former name, or of a former form.
#[derive(Clone, Debug)]
pub struct Former {
    /// What was wanted of it, as far as that is known.
    secret: SecretIntent,
    /// Whether it can be written again in the form that it has.
    known: bool,
    /// What is in it.
    facts: SecretFacts,
}

impl Former {
    fn new(wanted: SecretIntent, facts: SecretFacts) -> Box<Self> {
        let mark = facts.annotations.get(annotation::FORMAT);
        let form = mark.and_then(|mark| in_form_of(&wanted, mark));
        Box::new(Former {
            known: form.is_some(),
            secret: form.unwrap_or(wanted),
            facts,
        })
    }
}

impl Task {
    /// The Secret that is in use, and what is in it: the wanted one, or a former one for as long as something stands in its way.
    pub fn in_use(&self) -> (Option<&SecretIntent>, Option<&SecretFacts>) {
        let former = self.former.as_ref().filter(|_| self.failure.is_some());
        match (&self.facts, former) {
            (None, Some(former)) => (Some(&former.secret), Some(&former.facts)),
            (facts, _) => (self.intent.as_ref().map(|intent| &intent.secret), facts.as_ref()),
        }
    }
}

impl<S: Sign + 'static> Engine<S> {
    /// What a Token has besides the Secret that it wants: of its former Secrets the one that is good for longest, or its Secret as it was
    /// before another form was wanted.
    pub(super) fn former_of(&self, task: &Task, intent: &Intent) -> Option<Box<Former>> {
        if let Some(facts) = &task.facts {
            let mark = facts.annotations.get(annotation::FORMAT)?;
            let changed = task.failure.is_some() && *mark != format_mark(&intent.secret);
            return changed.then(|| Former::new(intent.secret.clone(), facts.clone()));
        }
        let all = self.index.former(&task.key, &task.uid).into_iter();
        let known = all.filter_map(|key| Some((self.index.secret(&key)?.facts(None), key)));
        let (facts, key) = known.max_by_key(|(facts, _)| facts.expires_at())?;
        let there = SecretIntent {
            key,
            ..intent.secret.clone()
        };
        Some(Former::new(there, facts))
    }

    /// While nothing is tried, since the wanted Secret cannot be had: the former one gets its next token when that is due.
    pub(super) fn keep_former(&self, task: &mut Task, until: Timestamp) -> Result<Plan, Problem> {
        let rest = Ok(Plan::Rest { until });
        let blocked = task
            .failure
            .as_ref()
            .is_some_and(|failure| failure.problem.reason.is_about_the_secret());
        let (Some(intent), Some(former), true) = (&task.intent, &task.former, blocked) else {
            return rest;
        };
        let life = former.facts.issued_at().zip(former.facts.expires_at());
        let Some((issued, expires)) = life.filter(|_| former.known) else {
            return rest;
        };
        let due = due(issued, expires, intent.refresh, &intent.uid);
        if task.now < due {
            return Ok(Plan::Rest { until: until.min(due) });
        }
        let intent = Intent {
            secret: former.secret.clone(),
            ..intent.clone()
        };
        // It may be in a namespace for which it would not be allowed.
        if !self.allows(&intent) {
            return rest;
        }
        task.facts = Some(former.facts.clone());
        task.intent = Some(intent);
        task.keeps_former = true;
        Ok(Plan::Mint {
            why: Why::Due,
            deadline: expires,
        })
    }
}
