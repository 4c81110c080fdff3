//! What is remembered of a Token between two looks at it.

use std::sync::Arc;

use jiff::Timestamp;
use secrecy::SecretString;

use crate::domain::Problem;
use crate::domain::intent::{AppKey, SecretKey};
use crate::domain::policy::Forbidden;
use crate::domain::schedule::{Budget, RESERVE, later};
use crate::domain::secret::IssuedToken;
use crate::domain::status::Granted;

use super::app::Origin;
use super::desk::Turn;
use super::job::Task;
use super::observer::{Observer, Revocation};

/// What stands at the wanted place, when it is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing.
    Free,
    /// A Secret of someone else: whose, for people.
    Foreign(String),
}

/// What went wrong, and until when nothing is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub problem: Problem,
    /// How many attempts in a row have failed.
    pub count: u32,
    /// When the next attempt is made, by GitHub's clock.
    pub until: Timestamp,
    generation: i64,
    request: Option<String>,
    verdict: Option<Forbidden>,
    released: bool,
}

impl Failure {
    /// A failure of this task.
    #[must_use]
    pub fn new(problem: Problem, count: u32, until: Timestamp, task: &Task) -> Self {
        let request = task.intent.as_ref().and_then(|intent| intent.refresh_request.clone());
        Failure {
            problem,
            count,
            until,
            generation: task.generation,
            request,
            verdict: task.verdict.clone(),
            released: false,
        }
    }

    /// Lets the next attempt be made at once: what stood in the way seems to have passed.
    pub fn release(&mut self) {
        self.released = true;
    }

    /// The deadline by which a Token stands in line for its next attempt. What was refused for good will most likely be refused again: it
    /// goes behind those that are only due, so that many of them, all expired, do not keep the others from being served in time.
    #[must_use]
    pub fn deadline(&self, deadline: Timestamp, generation: i64) -> Timestamp {
        if self.problem.retry.is_transient() || self.generation != generation || self.released {
            return deadline;
        }
        deadline.max(later(self.until, RESERVE))
    }

    /// Whether it still stands in the way: a changed spec, a request for a new token, or another verdict of the policies is a reason to try
    /// at once.
    #[must_use]
    pub fn holds(&self, now: Timestamp, generation: i64, request: Option<&str>, verdict: Option<&Forbidden>) -> bool {
        let same = self.generation == generation && self.request.as_deref() == request;
        !self.released && now < self.until && same && self.verdict.as_ref() == verdict
    }
}

/// A token that was issued and is not known to be in its Secret. It is never lost in silence.
pub struct Pending {
    /// The token.
    pub issued: IssuedToken,
    /// Its hash.
    pub hashed_token: String,
    /// What GitHub granted.
    pub granted: Granted,
    /// Where it is to be written.
    pub secret: SecretKey,
    /// What it was issued for.
    pub scope_hash: String,
    /// Who has issued it.
    pub origin: Origin,
    /// Who hears of it if it is lost; `None` once it cannot be any more.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Pending {
    /// When the token expires.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.issued.expires_at
    }

    /// It is in its Secret, or revoked.
    pub fn accounted_for(mut self) {
        self.observer = None;
    }

    /// It is left to expire.
    pub fn give_up(mut self, why: &str) {
        self.tell(why);
    }

    fn tell(&mut self, why: &str) {
        let Some(observer) = self.observer.take() else { return };
        let hashed_token = &self.hashed_token;
        tracing::warn!(secret = %self.secret, hashed_token, "a token that was issued stays valid until it expires: {why}");
        observer.revoked(Revocation::GivenUp);
    }
}

impl Drop for Pending {
    /// The work on it was broken off, or nobody has thought of it.
    fn drop(&mut self) {
        self.tell("the work on it ended before it was known to be in its Secret, or revoked");
    }
}

/// A token that another one has taken the place of, and that is to be revoked.
pub struct Replaced {
    /// The token.
    pub token: SecretString,
    /// By what GitHub's audit log knows it, for behind its name in a sentence.
    pub hashed: String,
    /// Who has issued it.
    pub origin: Origin,
}

/// An App that could not issue for a Token: until then, others are asked first.
#[derive(Clone, Debug)]
pub struct Declined {
    /// The App.
    pub app: AppKey,
    /// Until when, by GitHub's clock.
    pub until: Timestamp,
    /// The generation of the Token's spec.
    pub generation: i64,
}

/// What is remembered of a Token.
#[derive(Default)]
pub struct State {
    /// A job is under way.
    pub busy: bool,
    /// A job is wanted for which there was no room yet.
    pub put_off: bool,
    /// Its turn at GitHub, which came while it was busy.
    pub turn: Option<Box<Turn>>,
    /// The job began with a former App: what it finds wrong says nothing about the present one.
    pub outdated: bool,
    /// The UID of a Secret that is gone since the job began: what the job has seen of it is over.
    pub lost: Option<Box<str>>,
    /// What stands at the wanted place.
    pub place: Option<Place>,
    /// What went wrong.
    pub failure: Option<Box<Failure>>,
    /// Apps of its pool that could not issue for it.
    pub declined: Vec<Declined>,
    /// A token that could not be written.
    pub pending: Option<Box<Pending>>,
    /// What GitHub granted, as long as the status does not say so.
    pub granted: Option<Box<Granted>>,
    /// How often it may be issued or rewritten out of turn. An attempt that brings no token costs nothing.
    pub budget: Budget,
    /// The policies that are about it, and whether each has something against it; `None`: no policy is.
    pub policies: Option<Box<[(String, bool)]>>,
    /// How many writes of the status have failed in a row.
    pub unsettled: u32,
    /// When the next write of the status may be tried, by GitHub's clock.
    pub settle_after: Option<Timestamp>,
}

impl State {
    /// Whether there is nothing to remember.
    #[must_use]
    pub fn is_blank(&self, now: Timestamp) -> bool {
        let State {
            busy,
            put_off,
            turn,
            outdated,
            lost,
            place,
            failure,
            declined,
            pending,
            granted,
            budget,
            policies,
            unsettled,
            settle_after,
        } = self;
        let declines = declined.iter().any(|declined| declined.until > now);
        let waits =
            declines || *busy || *put_off || turn.is_some() || *outdated || *unsettled > 0 || settle_after.is_some();
        let knows = policies.is_some()
            || lost.is_some()
            || place.is_some()
            || failure.is_some()
            || pending.is_some()
            || granted.is_some();
        !waits && !knows && budget.full_after(now).is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::Reason;
    use crate::domain::schedule::Retry;

    #[test]
    fn what_was_refused_for_good_goes_behind_what_is_due_and_what_was_not_does_not() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let failure = |retry| Failure {
            problem: Problem::new(Reason::InstallationSuspended, retry, "no"),
            count: 3,
            until: at(1_000),
            generation: 1,
            request: None,
            verdict: None,
            released: false,
        };
        let refused = failure(Retry::Every(Duration::from_secs(600)));
        let due = at(1_000 + 15 * 60);
        assert_eq!(refused.deadline(Timestamp::MIN, 1), due);
        assert_eq!(refused.deadline(at(5_000), 1), at(5_000), "what can wait longer does");
        assert_eq!(
            refused.deadline(Timestamp::MIN, 2),
            Timestamp::MIN,
            "its spec is another"
        );
        let mut released = refused.clone();
        released.release();
        assert_eq!(released.deadline(Timestamp::MIN, 1), Timestamp::MIN);
        let outage = failure(Retry::Backoff);
        assert_eq!(outage.deadline(Timestamp::MIN, 1), Timestamp::MIN);
    }
}
