//! Secrets whose Token is gone: the token is revoked, then the Secret is let go. Bounded in time, so that the end of a namespace
//! never waits for GitHub.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::Reason;
use crate::api::names::annotation;
use crate::cluster::{ClusterError, Note, OwnerRef};
use crate::domain::intent::{AppKey, SecretKey};
use crate::domain::schedule::later;
use crate::domain::secret::find_token;
use crate::domain::{Problem, Sign};

use super::app::AppsNow;
use super::job::Context;
use super::observer::Revocation;
use super::record::SecretRecord;

/// How long one revocation may take, once it is its turn.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// How long revocations are tried in all, counted from when the Secret was taken on, and its App waited for: then the Secret goes,
/// and the token is left to expire.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a Secret may wait for its turn at GitHub.
const LONGEST_QUEUE: Duration = Duration::from_secs(5 * 60);
/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(3);

/// The Secrets that are being let go.
#[derive(Debug, Default)]
pub struct Retiring {
    entries: HashMap<SecretKey, Entry>,
}

#[derive(Debug)]
struct Entry {
    uid: Box<str>,
    busy: bool,
    since: Timestamp,
    next: Option<Timestamp>,
}

/// What is known of the Token of a Secret that is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It wants its Secret back.
    Lives,
    /// No policy allows it: its token is good for nothing any more.
    Forbidden,
    /// It is deleted.
    Gone,
}

/// What is to be done about one Secret.
#[derive(Debug)]
pub struct Retirement {
    /// The Secret's UID.
    pub uid: Box<str>,
    owner: OwnerRef,
    standing: Standing,
    since: Timestamp,
}

/// How far it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retired {
    /// The Secret is let go.
    Gone,
    /// To be tried again soon.
    Later,
}

impl Retiring {
    /// Takes a Secret on, unless that has happened already.
    pub fn begin(
        &mut self,
        key: &SecretKey,
        secret: &SecretRecord,
        standing: Standing,
        now: Timestamp,
    ) -> Option<Retirement> {
        let owner = secret.owner.clone()?;
        let uid = secret.uid.clone();
        if self.entries.get(key).is_some_and(|entry| entry.uid != uid) {
            self.entries.remove(key);
        }
        let entry = self.entries.entry(key.clone()).or_insert(Entry {
            uid: uid.clone(),
            busy: false,
            since: now,
            next: None,
        });
        if entry.busy || entry.next.is_some_and(|next| next > now) {
            return None;
        }
        entry.busy = true;
        Some(Retirement {
            uid,
            owner,
            standing,
            since: entry.since,
        })
    }

    /// What became of it.
    pub fn end(&mut self, key: &SecretKey, uid: &str, retired: Retired, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| *entry.uid == *uid) else {
            return;
        };
        match retired {
            Retired::Gone => drop(self.entries.remove(key)),
            Retired::Later => {
                entry.busy = false;
                entry.next = Some(later(now, PAUSE));
            }
        }
    }

    /// The Secret is gone.
    pub fn forget(&mut self, key: &SecretKey) {
        self.entries.remove(key);
    }

    /// The Secrets whose next attempt is due: each is told once.
    pub fn ring(&mut self, now: Timestamp) -> Vec<SecretKey> {
        let waiting = self.entries.iter_mut().filter(|(_, entry)| !entry.busy);
        let due = waiting.filter_map(|(key, entry)| entry.next.take_if(|next| *next <= now).map(|_| key));
        due.cloned().collect()
    }

    /// When the next attempt is due.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.entries
            .values()
            .filter(|entry| !entry.busy)
            .filter_map(|entry| entry.next)
            .min()
    }
}

impl Retirement {
    /// Does it.
    pub async fn run<S: Sign>(&self, context: &Context, apps: &AppsNow<S>, key: &SecretKey) -> Retired {
        match self.attempt(context, apps, key).await {
            Ok(retired) => retired,
            Err(ClusterError::Missing) => Retired::Gone,
            // Someone else has written to it, or it is another one: the watch will have told by then.
            Err(ClusterError::Conflict) => Retired::Later,
            Err(error) => {
                tracing::warn!(secret = %key, %error, "the Secret of a deleted Token could not be let go; it is tried again");
                Retired::Later
            }
        }
    }

    async fn attempt<S: Sign>(
        &self,
        context: &Context,
        apps: &AppsNow<S>,
        key: &SecretKey,
    ) -> Result<Retired, ClusterError> {
        // The index may be behind: before a token is revoked, or let go without that, the API server is asked.
        let exists = context.tokens.exists(&self.owner.key, &self.owner.uid).await?;
        // Someone deleted the Secret of a living Token: it is let go, and a new one is made. Its token may be in use. The end of a
        // namespace looks the same when its Secrets go before its Tokens.
        let lives = self.standing == Standing::Lives && exists && !context.secrets.namespace_ends(key).await;
        if !lives {
            if exists && self.standing != Standing::Forbidden {
                return Ok(Retired::Later);
            }
            if !self.revoke(context, apps, key).await? {
                return Ok(Retired::Later);
            }
            context.secrets.delete(key, &self.uid).await?;
        }
        if let Some(meta) = context.secrets.look(key).await?
            && meta.metadata.uid.as_deref() == Some(&*self.uid)
        {
            context.secrets.release(key, &meta.metadata).await?;
        }
        context.observer.secret_written(&self.owner.key, "delete", true);
        Ok(Retired::Gone)
    }

    /// Whether nothing is left to be done about the token.
    async fn revoke<S: Sign>(
        &self,
        context: &Context,
        apps: &AppsNow<S>,
        key: &SecretKey,
    ) -> Result<bool, ClusterError> {
        let held = context.secrets.read(key, &self.uid).await?;
        let note = |name: &str| {
            held.metadata()
                .annotations
                .as_ref()
                .and_then(|all| all.get(name).cloned())
        };
        let now = (context.clock)();
        let expired = note(annotation::EXPIRES_AT)
            .and_then(|at| at.parse::<Timestamp>().ok())
            .is_some_and(|at| at <= now);
        let token = find_token(&held.data(), note(annotation::HASHED_TOKEN).as_deref());
        let (Some(token), false) = (token, expired) else {
            return Ok(true);
        };
        let issuer = note(annotation::APP).map_or(AppKey::Startup, |name| AppKey::named(&name));
        let found = apps.borrow().for_revocation(&issuer);
        let app = match found {
            Ok(app) => app,
            Err(Problem {
                reason: Reason::AppNotFound | Reason::NoStartupConfig,
                ..
            }) => {
                self.give_up(context, key, "the App that issued it is gone").await;
                return Ok(true);
            }
            // Not tried yet, or in trouble for a moment.
            Err(_) if now < later(self.since, PATIENCE) => return Ok(false),
            Err(problem) => {
                self.give_up(context, key, &problem.message).await;
                return Ok(true);
            }
        };
        let queue = tokio::time::timeout(LONGEST_QUEUE, app.client.revocation_turn()).await;
        let failed = match queue {
            Ok(turn) => app
                .client
                .revoke(&token, DEADLINE, turn)
                .await
                .err()
                .map(|error| (error.retry().is_transient(), error.to_string())),
            Err(_) => Some((false, format!("GitHub's limits left no room for {LONGEST_QUEUE:?}"))),
        };
        match failed {
            None => {
                context.observer.revoked(Revocation::Done);
                tracing::info!(token = %self.owner.key, secret = %key, hashed_token = note(annotation::HASHED_TOKEN), "revoked the token");
                Ok(true)
            }
            Some((true, error)) if (context.clock)() < later(self.since, PATIENCE) => {
                tracing::warn!(token = %self.owner.key, secret = %key, "the token could not be revoked yet: {error}");
                context.observer.revoked(Revocation::Again);
                Ok(false)
            }
            Some((_, error)) => {
                self.give_up(context, key, &error).await;
                Ok(true)
            }
        }
    }

    async fn give_up(&self, context: &Context, key: &SecretKey, why: &str) {
        let message = format!(
            "The token of the deleted {} could not be revoked and stays valid until it expires, within the hour: {why}",
            self.owner.key
        );
        tracing::warn!(secret = %key, "{message}");
        context.observer.revoked(Revocation::GivenUp);
        let note = Note {
            reason: Reason::RevocationAbandoned,
            message,
            warning: true,
        };
        context.events.about_secret(key, &self.uid, &note).await;
    }
}
