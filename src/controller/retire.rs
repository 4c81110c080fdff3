//! Secrets whose Token is gone: the token is revoked, then the Secret is let go. Bounded in time, so that the end of a namespace
//! never waits for GitHub.

use jiff::Timestamp;
use tokio::time::Instant;

use crate::api::condition;
use crate::api::names::annotation;
use crate::cluster::{ClusterError, Note, OwnerRef, TokenRecord};
use crate::domain::intent::SecretKey;
use crate::domain::secret::find_token;
use crate::domain::{Problem, Sign};

use super::app::{AppsNow, Origin};
use super::engine::{Back, Engine};
use super::job::Context;
use super::observer::Revocation;
use super::record::SecretRecord;
use super::retiring::{Retired, Retirement, Standing};
use super::revoke::{abandoned, revoke};
use super::settle::{cluster_problem, hashed};

impl<S: Sign + 'static> Engine<S> {
    /// Looks at the Secrets of a Token that is gone, or about to be.
    pub(super) fn touch_secrets_of(&mut self, owner: &OwnerRef) {
        let owned = |secret: &SecretRecord| match &secret.owner {
            Some(known) => known.uid == owner.uid,
            None => secret.facts(None).is_labelled(&owner.key),
        };
        let secrets = self.index.secrets().filter(|(_, secret)| owned(secret));
        for secret in secrets.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.touch_secret(&secret);
        }
    }

    /// Looks at all Secrets that are being deleted.
    pub(super) fn touch_doomed(&mut self) {
        let doomed = self.index.secrets().filter(|(_, secret)| secret.deleting);
        for key in doomed.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.touch_secret(&key);
        }
    }

    /// A managed Secret whose Token is gone, or that is being deleted, is let go.
    pub(super) fn touch_secret(&mut self, key: &SecretKey) {
        let Some(secret) = self.index.secret(key) else { return };
        let Some(owner) = self.index.owner_of(key, secret) else {
            return;
        };
        let known = self.ready() || secret.deleting && self.is_doomed(owner.key.kind);
        if !known {
            return;
        }
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
            Back::Retired(key, retirement, retired)
        });
    }

    /// How far it went with a Secret is known.
    pub(super) fn retired(&mut self, key: &SecretKey, retirement: &Retirement, retired: Retired) {
        let Retirement { uid, owner, .. } = retirement;
        let now = self.local();
        self.retiring.end(key, uid, &retired, now);
        match retired {
            Retired::Gone if self.index.secret(key).is_some_and(|known| known.uid == *uid) => {
                self.secret_gone(key, uid);
            }
            Retired::Orphaned => {
                self.token_missing(owner);
                self.touch_secret(key);
            }
            // What it waits for may have been told of while it looked.
            Retired::Waits => self.touch_secret(key),
            Retired::Later { problem: Some(_), .. } => {
                if let Some(token) = self.index.owner(owner).map(|token| token.key.clone()) {
                    self.touch(&token);
                }
            }
            Retired::Gone | Retired::LetGo | Retired::Later { problem: None, .. } => {}
        }
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
            Err(ClusterError::Conflict) => Retired::Later {
                first,
                revoked,
                problem: None,
            },
            Err(error) => {
                let problem = Some(self.fail(context, key, &error).await);
                Retired::Later {
                    first,
                    revoked,
                    problem,
                }
            }
        }
    }

    /// Says what stands in the way: once, as long as that is the same.
    async fn fail(&self, context: &Context, key: &SecretKey, error: &ClusterError) -> Problem {
        let problem = cluster_problem(error);
        let what = if self.standing == Standing::Lives {
            "was"
        } else {
            "is to be"
        };
        // With a Role in each namespace, ours goes with everything else there, and none can be made in a namespace that ends.
        let cure = if matches!(error, ClusterError::Forbidden(_)) {
            format!(
                "; if its namespace is being deleted, and with it the operator's Role, an administrator lets it go by `gtm release \
                 --watch-namespaces {}`",
                key.namespace
            )
        } else {
            String::new()
        };
        let message = format!(
            "the Secret {key} {what} deleted, and could not be let go: {}{cure}",
            problem.message
        );
        let problem = Problem { message, ..problem };
        context.observer.failed(&self.owner.key, problem.reason);
        if self.told.as_ref() == Some(&problem) {
            tracing::debug!(token = %self.owner.key, "{}", problem.message);
            return problem;
        }
        tracing::warn!(token = %self.owner.key, reason = %problem.reason, "{}; it is tried again", problem.message);
        let note = Note::from(&problem);
        if self.standing == Standing::Gone {
            context.events.about_secret(key, &self.uid, &note).await;
        } else {
            context
                .events
                .about_token(&self.owner.key, &self.owner.uid, &note)
                .await;
        }
        problem
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
        if !exists && self.standing != Standing::Gone {
            return Ok(Retired::Orphaned);
        }
        // Someone deleted the Secret of a living Token: it is let go, and a new one is made. Its token may be in use. The end of a
        // namespace looks the same when its Secrets go before its Tokens.
        let lives = self.standing == Standing::Lives && !context.secrets.namespace_ends(key).await;
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
                        problem: None,
                    });
                }
            }
        }
        let written = async {
            if !lives {
                context.secrets.delete(key, &self.uid).await?;
            }
            context.secrets.let_go(key, &self.uid).await
        };
        let written = written.await;
        if !matches!(written, Ok(false)) {
            context
                .observer
                .secret_written(&self.owner.key, "delete", written.is_ok());
        }
        let was_there = written?;
        Ok(if was_there { Retired::LetGo } else { Retired::Gone })
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
