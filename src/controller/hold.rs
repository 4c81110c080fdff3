//! Managed Secrets that have lost our finalizer get it back: without it a Secret goes at once, and its token is never revoked.

use std::sync::Arc;

use crate::cluster::{ClusterError, OwnerRef, Secrets};
use crate::domain::Sign;
use crate::domain::intent::SecretKey;

use super::engine::{Back, Engine};
use super::job::Context;
use super::publish::against_conflicts;

impl<S: Sign + 'static> Engine<S> {
    /// Takes hold again of the Secret of a living Token, whatever else is the matter with that. Who takes the finalizer off again and
    /// again is no reason for a stream of writes: beyond the Token's budget it is put off until everything is looked at.
    pub(super) fn hold(&mut self, key: &SecretKey) {
        let Some(secret) = self.index.secret(key).filter(|secret| secret.is_loose()) else {
            return;
        };
        let uid = secret.uid.clone();
        let Some(owner) = secret.owner.clone() else { return };
        let intent = self.intent_of(&owner.key);
        let now = self.time_of(intent.and_then(|intent| self.source_of(&intent)).as_deref());
        let budget = &mut self.states.entry(owner.key.clone()).or_default().budget;
        if budget.check(now).is_err() {
            return;
        }
        budget.spend(now);
        let (context, slots, key) = (self.context.clone(), self.chores.clone(), key.clone());
        self.jobs.spawn(async move {
            let _slot = slots.acquire_owned().await;
            hold(&context, &key, &uid, &owner).await;
            Back::Nothing
        });
    }
}

async fn hold(context: &Arc<Context>, key: &SecretKey, uid: &str, owner: &OwnerRef) {
    let held = held(&context.secrets, key, uid).await;
    match &held {
        Ok(false) => return,
        Ok(true) => {
            tracing::warn!(token = %owner.key, secret = %key, "someone took our finalizer off the Secret; it is put back");
        }
        Err(error) => {
            tracing::warn!(token = %owner.key, secret = %key, %error, "the Secret has lost our finalizer, which could not be put back");
        }
    }
    context.observer.secret_written(&owner.key, "update", held.is_ok());
}

/// Whoever takes it off writes more often than once.
pub(super) async fn held(secrets: &Secrets, key: &SecretKey, uid: &str) -> Result<bool, ClusterError> {
    against_conflicts(|| secrets.hold(key, uid)).await
}
