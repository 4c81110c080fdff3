//! Tokens that were issued and that no Secret needs any more: they are revoked, as far as that can be done.

use std::sync::Arc;

use secrecy::SecretString;
use tokio::time::sleep;

use crate::api::names::annotation;
use crate::cluster::Held;
use crate::domain::Sign;
use crate::domain::intent::{Key, SecretKey};
use crate::domain::secret::find_token;

use super::app::{App, AppsNow, Origin, Unrevoked};
use super::engine::{Back, Engine};
use super::job::{Context, Task};
use super::observer::Revocation;
use super::revoke::{PAUSE, abandoned, revoke};
use super::settle::hashed;
use super::state::{Pending, Replaced};

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

    /// Revokes a token after the grace that its Token gives it.
    pub(super) fn revoke_later(&mut self, key: &Arc<Key>, replaced: Replaced) {
        let grace = self.intent_of(key).and_then(|intent| intent.revoke_previous_after);
        let uid = self.index.token(key).map(|token| token.uid.clone());
        let (Some(grace), Some(uid)) = (grace, uid) else { return };
        let (context, apps, key) = (self.context.clone(), self.apps.clone(), key.clone());
        let Replaced { token, hashed, origin } = replaced;
        // Now: during the grace, the App may come to be at another GitHub.
        let app = apps.borrow().for_revocation(&origin);
        // Best effort by design: a restart forgets it, and the token expires by itself.
        tokio::spawn(async move {
            let app = match app {
                Err((false, why)) => Err((false, why)),
                found => {
                    sleep(grace).await;
                    found.or_else(|_| apps.borrow().for_revocation(&origin))
                }
            };
            match revoke_now(&context, &app, &token).await {
                Ok(()) => tracing::info!(token = %key, "revoked the token that was replaced{hashed}"),
                Err(why) => {
                    let note = abandoned(&context, &format!("that was replaced{hashed}"), &why);
                    tracing::warn!(token = %key, "{}", note.message);
                    context.events.about_token(&key, &uid, &note).await;
                }
            }
        });
    }
}

/// Revokes a token, for as long as that is tried; says why it could not.
pub(super) async fn revoke_now<S: Sign>(
    context: &Context,
    app: &Result<Arc<App<S>>, Unrevoked>,
    token: &SecretString,
) -> Result<(), String> {
    let mut first = None;
    loop {
        match revoke(app.clone(), token, &mut first).await {
            Ok(()) => {
                context.observer.revoked(Revocation::Done);
                return Ok(());
            }
            Err((true, _)) => {
                context.observer.revoked(Revocation::Again);
                sleep(PAUSE).await;
            }
            Err((_, why)) => return Err(why),
        }
    }
}

impl Replaced {
    /// The token that is in a Secret of this Token before that is written or removed, if the spec wants it revoked afterwards.
    pub async fn read(context: &Context, task: &Task, secret: &SecretKey, uid: &str) -> Option<Self> {
        task.intent.as_ref()?.revoke_previous_after?;
        Replaced::of(&context.secrets.read(secret, uid).await.ok()?)
    }

    /// The token that is in a managed Secret.
    pub fn of(secret: &Held) -> Option<Self> {
        let notes = secret.metadata().annotations.as_ref()?;
        let hash = notes.get(annotation::HASHED_TOKEN).map(String::as_str);
        Some(Replaced {
            token: find_token(&secret.data(), hash)?,
            hashed: hashed(hash),
            origin: Origin::noted(notes),
        })
    }
}

async fn discard<S: Sign>(context: Arc<Context>, apps: AppsNow<S>, pending: Pending) {
    // The write may have succeeded although its answer was lost: who reads the Secret uses the token.
    let found = match context.secrets.look(&pending.secret).await {
        Ok(found) => found,
        Err(error) => return pending.give_up(&format!("whether it is in its Secret is not known: {error}")),
    };
    let annotations = found.and_then(|meta| meta.metadata.annotations).unwrap_or_default();
    if annotations.get(annotation::HASHED_TOKEN) == Some(&pending.hashed_token) {
        return pending.accounted_for();
    }
    let app = apps.borrow().for_revocation(&pending.origin);
    match revoke(app, &pending.issued.token, &mut None).await {
        Ok(()) => {
            let hashed_token = &pending.hashed_token;
            tracing::info!(secret = %pending.secret, hashed_token, "revoked a token that was not written");
            context.observer.revoked(Revocation::Done);
            pending.accounted_for();
        }
        Err((_, why)) => pending.give_up(&why),
    }
}
