//! Tokens that were issued and that no Secret needs: they are revoked, as far as that can be done at once.

use std::sync::Arc;

use crate::api::names::annotation;
use crate::domain::Sign;

use super::app::AppsNow;
use super::engine::{Back, Engine};
use super::job::Context;
use super::observer::Revocation;
use super::retire::revoke;
use super::state::Pending;

impl<S: Sign + 'static> Engine<S> {
    /// Revokes a token that could not be written, and will not be.
    pub(super) fn discard(&mut self, pending: impl IntoIterator<Item = Box<Pending>>) {
        for pending in pending {
            let (context, apps) = (self.context.clone(), self.apps.clone());
            self.jobs.spawn(async move {
                discard(context, apps, *pending).await;
                Back::Nothing
            });
        }
    }

    /// Lets the jobs under way end. What was issued and could not be written is lost with this process, so it is revoked.
    pub(super) async fn drain(&mut self) {
        let pending: Vec<_> = self
            .states
            .values_mut()
            .filter_map(|state| state.pending.take())
            .collect();
        self.discard(pending);
        while let Some(back) = self.jobs.join_next().await {
            if let Ok(Back::Token(_, _, done)) = back {
                self.discard(done.pending.into_iter().chain(done.stray).map(Box::new));
            }
        }
    }
}

async fn discard<S: Sign>(context: Arc<Context>, apps: AppsNow<S>, pending: Pending) {
    // The write may have succeeded although its answer was lost: who reads the Secret uses the token.
    let Ok(found) = context.secrets.look(&pending.secret).await else {
        return;
    };
    let annotations = found.and_then(|meta| meta.metadata.annotations).unwrap_or_default();
    if annotations.get(annotation::HASHED_TOKEN) == Some(&pending.hashed_token) {
        return;
    }
    let Ok(app) = apps.borrow().for_revocation(&pending.app) else {
        return;
    };
    let hashed_token = &pending.hashed_token;
    match revoke(&app, &pending.issued.token).await {
        Ok(()) => {
            tracing::info!(secret = %pending.secret, hashed_token, "revoked a token that was not written");
            context.observer.revoked(Revocation::Done);
        }
        Err((_, error)) => {
            tracing::warn!(secret = %pending.secret, hashed_token, "a token that was not written stays valid until it expires: {error}");
            context.observer.revoked(Revocation::GivenUp);
        }
    }
}
