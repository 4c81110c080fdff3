//! Where the operator has a Role in each namespace, Kubernetes deletes that along with everything else in a namespace that ends, mostly
//! before the Secrets: who only then begins to let these go may not do so any more, and the namespace waits for ever. So they are let go as
//! soon as the namespace is seen to end, and their tokens are revoked afterwards, as far as that can be done.

use crate::api::Time;
use crate::cluster::{ClusterError, Held};
use crate::domain::Sign;
use crate::domain::intent::SecretKey;

use super::app::AppsNow;
use super::discard::revoke_now;
use super::engine::{Back, Engine};
use super::job::Context;
use super::publish::against_conflicts;
use super::revoke::abandoned;
use super::state::Replaced;

impl<S: Sign + 'static> Engine<S> {
    /// Lets go of all Secrets of a namespace that is being deleted.
    pub(super) fn part_from(&mut self, namespace: &str) {
        let held = self
            .index
            .secrets()
            .filter(|(key, secret)| *key.namespace == *namespace && secret.held);
        let held: Vec<_> = held
            .map(|(key, secret)| (key.clone(), secret.uid.clone(), self.index.has_copy(key, secret)))
            .collect();
        for (key, uid, copied) in held {
            let (context, apps) = (self.context.clone(), self.apps.clone());
            self.jobs.spawn(async move {
                if let Some(secret) = let_go(&context, &key, &uid).await
                    && !copied
                {
                    revoke(&context, &apps, &key, &secret).await;
                }
                Back::Nothing
            });
        }
    }
}

/// Lets go of a Secret, for good: it is not held again by an operator that takes its finalizer for lost. What was in it.
async fn let_go(context: &Context, key: &SecretKey, uid: &str) -> Option<Held> {
    let released = against_conflicts(|| async {
        let secret = context.secrets.read(key, uid).await?;
        let now = Time::from((context.clock)());
        context.secrets.release(key, secret.metadata(), Some(now)).await?;
        Ok(secret)
    });
    match released.await {
        Ok(secret) => Some(secret),
        Err(ClusterError::Missing) => None,
        Err(error) => {
            tracing::warn!(secret = %key, %error, "the Secret's namespace ends, and it could not be let go");
            None
        }
    }
}

async fn revoke<S: Sign>(context: &Context, apps: &AppsNow<S>, key: &SecretKey, secret: &Held) {
    let Some(Replaced { token, hashed, origin }) = Replaced::of(secret) else {
        return;
    };
    let app = apps.borrow().for_revocation(&origin);
    match revoke_now(context, &app, &token).await {
        Ok(()) => tracing::info!(secret = %key, "revoked the token of a namespace that ends{hashed}"),
        Err(why) => {
            let note = abandoned(context, &format!("of a namespace that ends{hashed}"), &why);
            tracing::warn!(secret = %key, "{}", note.message);
        }
    }
}
