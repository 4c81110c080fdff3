//! Secrets whose Token is gone: the token is revoked, then the Secret is let go. Bounded in time, so that the end of a namespace
//! never waits for GitHub.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::api::condition;
use crate::api::names::annotation;
use crate::cluster::{ClusterError, OwnerRef, TokenRecord};
use crate::domain::Sign;
use crate::domain::intent::SecretKey;
use crate::domain::schedule::later;
use crate::domain::secret::find_token;

use super::app::{AppsNow, Origin};
use super::engine::{Back, Engine};
use super::job::Context;
use super::observer::Revocation;
use super::record::SecretRecord;
use super::revoke::{PAUSE, abandoned, revoke};
use super::settle::hashed;

/// Between two looks for the end of a Token, which the watch tells of.
const LONG_PAUSE: Duration = Duration::from_secs(30);

/// The Secrets that are being let go.
#[derive(Debug, Default)]
pub struct Retiring {
    entries: HashMap<SecretKey, Entry>,
}

#[derive(Debug)]
struct Entry {
    uid: Box<str>,
    standing: Standing,
    busy: bool,
    first: Option<Instant>,
    next: Option<Timestamp>,
    revoked: bool,
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
    /// When its token was first to be revoked, if that was in vain.
    first: Option<Instant>,
    /// Nothing is left to be done about its token: what is tried again is the end of the Secret.
    revoked: bool,
    /// Its token is a living Token's, of whose Secret it is a copy.
    copied: bool,
}

/// How far it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retired {
    /// The Secret is let go.
    Gone,
    /// To be tried again soon.
    Later {
        /// When its token was first to be revoked.
        first: Option<Instant>,
        /// Nothing is left to be done about its token.
        revoked: bool,
    },
    /// Its Token is about to go, and still there.
    Waits,
}

impl Retiring {
    /// Takes a Secret on, unless that has happened already.
    pub fn begin(
        &mut self,
        key: &SecretKey,
        secret: &SecretRecord,
        owner: OwnerRef,
        standing: Standing,
        now: Timestamp,
    ) -> Option<Retirement> {
        let uid = secret.uid.clone();
        if self.entries.get(key).is_some_and(|entry| entry.uid != uid) {
            self.entries.remove(key);
        }
        let entry = self.entries.entry(key.clone()).or_insert(Entry {
            uid: uid.clone(),
            standing,
            busy: false,
            first: None,
            next: None,
            revoked: false,
        });
        if !entry.busy && entry.standing != standing {
            (entry.standing, entry.first, entry.next) = (standing, None, None);
        }
        if entry.busy || entry.next.is_some_and(|next| next > now) {
            return None;
        }
        entry.busy = true;
        Some(Retirement {
            uid,
            owner,
            standing,
            first: entry.first,
            revoked: entry.revoked,
            copied: false,
        })
    }

    /// What became of it.
    pub fn end(&mut self, key: &SecretKey, uid: &str, retired: Retired, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| *entry.uid == *uid) else {
            return;
        };
        match retired {
            Retired::Gone => drop(self.entries.remove(key)),
            Retired::Later { first, revoked } => {
                entry.busy = false;
                (entry.first, entry.revoked) = (first, revoked);
                entry.next = Some(later(now, PAUSE));
            }
            Retired::Waits => {
                entry.busy = false;
                entry.next = Some(later(now, LONG_PAUSE));
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

impl<S: Sign + 'static> Engine<S> {
    /// Looks at the Secrets of a Token that is gone, or about to be.
    pub(super) fn touch_secrets_of(&mut self, owner: &OwnerRef) {
        let owned = |secret: &SecretRecord| match &secret.owner {
            Some(known) => known.uid == owner.uid,
            None => secret.facts(None).is_of(&owner.key, &owner.uid, None),
        };
        let secrets = self.index.secrets().filter(|(_, secret)| owned(secret));
        for secret in secrets.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.touch_secret(&secret);
        }
    }

    /// A managed Secret whose Token is gone, or that is being deleted, is let go.
    pub(super) fn touch_secret(&mut self, key: &SecretKey) {
        if !self.ready() {
            return;
        }
        let Some(secret) = self.index.secret(key) else { return };
        let Some(owner) = self.index.owner_of(key, secret) else {
            return;
        };
        let token = self.index.owner(&owner).filter(|token| !token.deleting);
        let alive = token.is_some();
        let released = secret.deleting && !secret.held;
        if alive && !secret.deleting {
            return self.hold(key);
        }
        if released {
            return;
        }
        let forbidden = |token: &TokenRecord| token.read().1.condition(condition::FORBIDDEN).is_some();
        let standing = match token {
            None => Standing::Gone,
            Some(token) if forbidden(token) => Standing::Forbidden,
            Some(_) => Standing::Lives,
        };
        if let Some(retirement) = self.retiring.begin(key, secret, owner, standing, self.local()) {
            let copied = self.index.has_copy(key, secret);
            self.retire(key.clone(), Retirement { copied, ..retirement });
        }
    }

    fn retire(&mut self, key: SecretKey, retirement: Retirement) {
        let (context, apps) = (self.context.clone(), self.apps.clone());
        self.jobs.spawn(async move {
            let retired = retirement.run(&context, &apps, &key).await;
            Back::Retired(key, retirement.uid, retired)
        });
    }
}

impl Retirement {
    /// Does it.
    pub async fn run<S: Sign>(&self, context: &Context, apps: &AppsNow<S>, key: &SecretKey) -> Retired {
        let (mut first, mut revoked) = (self.first, self.revoked);
        match self.attempt(context, apps, key, (&mut first, &mut revoked)).await {
            Ok(retired) => retired,
            Err(ClusterError::Missing) => Retired::Gone,
            // Someone else has written to it, or it is another one: the watch will have told by then.
            Err(ClusterError::Conflict) => Retired::Later { first, revoked },
            Err(error) => {
                tracing::warn!(secret = %key, %error, "the Secret of a deleted Token could not be let go; it is tried again");
                Retired::Later { first, revoked }
            }
        }
    }

    /// `revoked` is told as soon as nothing is left to be done about its token: GitHub is not asked again for what only the API server
    /// holds up.
    async fn attempt<S: Sign>(
        &self,
        context: &Context,
        apps: &AppsNow<S>,
        key: &SecretKey,
        (first, revoked): (&mut Option<Instant>, &mut bool),
    ) -> Result<Retired, ClusterError> {
        // The index may be behind: before a token is revoked, or let go without that, the API server is asked.
        let exists = context.tokens.exists(&self.owner.key, &self.owner.uid).await?;
        // Someone deleted the Secret of a living Token: it is let go, and a new one is made. Its token may be in use. The end of a
        // namespace looks the same when its Secrets go before its Tokens.
        let lives = self.standing == Standing::Lives && exists && !context.secrets.namespace_ends(key).await;
        if !lives {
            if exists && self.standing != Standing::Forbidden {
                return Ok(Retired::Waits);
            }
            if !self.copied && !*revoked {
                *revoked = self.revoke(context, apps, key, first).await?;
                if !*revoked {
                    return Ok(Retired::Later {
                        first: *first,
                        revoked: false,
                    });
                }
            }
            context.secrets.delete(key, &self.uid).await?;
        }
        context.secrets.let_go(key, &self.uid).await?;
        context.observer.secret_written(&self.owner.key, "delete", true);
        Ok(Retired::Gone)
    }

    /// Whether nothing is left to be done about the token.
    async fn revoke<S: Sign>(
        &self,
        context: &Context,
        apps: &AppsNow<S>,
        key: &SecretKey,
        first: &mut Option<Instant>,
    ) -> Result<bool, ClusterError> {
        let held = context.secrets.read(key, &self.uid).await?;
        let notes = held.metadata().annotations.clone().unwrap_or_default();
        let hashed_token = notes.get(annotation::HASHED_TOKEN).map(String::as_str);
        let app = apps.borrow().for_revocation(&Origin::noted(&notes));
        let now = (context.clock)();
        let at_github = app.as_ref().map_or(now, |app| app.github_time(now));
        let expired = notes
            .get(annotation::EXPIRES_AT)
            .and_then(|at| at.parse::<Timestamp>().ok())
            .is_some_and(|at| at <= at_github);
        let token = find_token(&held.data(), hashed_token);
        let (Some(token), false) = (token, expired) else {
            return Ok(true);
        };
        match revoke(app, &token, first).await.err() {
            None => {
                context.observer.revoked(Revocation::Done);
                tracing::info!(token = %self.owner.key, secret = %key, hashed_token, "revoked the token");
                Ok(true)
            }
            Some((true, error)) => {
                tracing::warn!(token = %self.owner.key, secret = %key, "the token could not be revoked yet: {error}");
                context.observer.revoked(Revocation::Again);
                Ok(false)
            }
            Some((_, error)) => {
                self.give_up(context, key, hashed_token, &error).await;
                Ok(true)
            }
        }
    }

    async fn give_up(&self, context: &Context, key: &SecretKey, hashed_token: Option<&str>, why: &str) {
        let which = format!("of the deleted {}{}", self.owner.key, hashed(hashed_token));
        let note = abandoned(context, &which, why);
        tracing::warn!(secret = %key, "{}", note.message);
        context.events.about_secret(key, &self.uid, &note).await;
    }
}

#[cfg(test)]
mod tests {
    use kube::api::ObjectMeta;

    use super::*;
    use crate::cluster::Metadata;
    use crate::domain::intent::{Key, Kind};

    #[test]
    fn the_end_of_a_token_is_waited_for_and_only_then_its_revocation_is_counted() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let key = SecretKey {
            namespace: "ns".into(),
            name: "s".into(),
        };
        let owner = OwnerRef {
            key: std::sync::Arc::new(Key {
                kind: Kind::Token,
                namespace: Some("ns".into()),
                name: "t".into(),
            }),
            uid: "token".into(),
        };
        let meta = ObjectMeta {
            uid: Some("secret".to_owned()),
            ..ObjectMeta::default()
        };
        let secret = SecretRecord::new(&Metadata::from(meta)).unwrap();
        let mut retiring = Retiring::default();
        let begin = |retiring: &mut Retiring, standing, second| {
            let begun = retiring.begin(&key, &secret, owner.clone(), standing, at(second));
            begun.map(|retirement| retirement.first)
        };
        assert_eq!(begin(&mut retiring, Standing::Lives, 0), Some(None));
        assert_eq!(begin(&mut retiring, Standing::Gone, 1), None, "it is under way");
        retiring.end(&key, "secret", Retired::Waits, at(2));
        assert_eq!(begin(&mut retiring, Standing::Lives, 20), None);
        assert_eq!(retiring.next(), Some(at(32)));
        assert_eq!(begin(&mut retiring, Standing::Gone, 25), Some(None), "at once");
        let first = Some(Instant::now());
        retiring.end(&key, "secret", Retired::Later { first, revoked: false }, at(26));
        assert_eq!(begin(&mut retiring, Standing::Gone, 27), None);
        assert_eq!(begin(&mut retiring, Standing::Gone, 29), Some(first));
    }
}
