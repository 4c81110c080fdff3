//! What the cluster's admin allows, asked again for every Token before anything is issued.

use std::sync::Arc;

use crate::api::Reason;
use crate::domain::Sign;
use crate::domain::intent::{Intent, Key};
use crate::domain::policy::Forbidden;

use super::engine::Engine;

impl<S: Sign + 'static> Engine<S> {
    /// A policy decides anew about every Token.
    pub(super) fn policies_changed(&mut self, known: bool) {
        if !known {
            return;
        }
        let before = self.ready();
        self.has_listed(3);
        // A namespace that could not be written to may be there now.
        for state in self.states.values_mut().filter(|_| before) {
            state
                .failure
                .take_if(|failure| failure.problem.reason == Reason::NamespaceUnavailable);
        }
        if before {
            self.sweep();
        }
    }

    /// How many Tokens each policy is about.
    pub(super) fn count_policies(&self) {
        let found = self
            .states
            .values()
            .filter_map(|state| state.policies.as_deref())
            .flatten();
        self.context
            .record
            .count(found.map(|(name, objects)| (name.as_str(), *objects)));
    }

    /// Why no policy allows the Token, if none does; what policies warn of is added to its warnings.
    pub(super) fn judge(&mut self, key: &Arc<Key>, intent: &mut Intent) -> Option<Forbidden> {
        let policies = self.context.policies.borrow().clone()?;
        let verdict = policies.judge(intent);
        let state = self.states.get_mut(key)?;
        let found = verdict
            .found
            .iter()
            .map(|(name, objection)| (name.clone(), objection.is_some()));
        let found: Box<[(String, bool)]> = found.collect();
        let found = (!found.is_empty()).then_some(found);
        if state.policies != found {
            state.policies = found;
            self.recount = true;
            self.context
                .record
                .refused(&verdict, &intent.key, (self.context.clock)());
        }
        intent.warnings.extend(verdict.warnings);
        verdict.forbidden
    }
}
