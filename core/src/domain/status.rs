//! The status, settled on every exit: from what was there, what is observed and what went wrong.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::names::annotation;
use crate::api::{Condition, Format, InstallationAccessToken, ManagedSecret, Reason, Time, TokenStatus, condition};

use super::intent::{SecretIntent, Warning};
use super::plan::{Content, SecretFacts};
use super::problem::Problem;

/// What a Token is told that has no token yet.
const WAITING: &str = "No token has been issued yet; the Token waits for its turn at GitHub";

/// What a Token is told whose token has expired.
const LATE: &str = "The token in the Secret has expired; the Token waits for its turn at GitHub";

/// What a Token is told that is being deleted.
const DELETING: &str = "It is being deleted, and its Secret with it";

/// What GitHub granted with a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Name -> level.
    pub permissions: BTreeMap<String, String>,
    /// `all` or `selected`.
    pub repository_selection: Option<String>,
    /// Names, if selected.
    pub repositories: Vec<String>,
}

/// What a status is made of.
#[derive(Clone, Debug)]
pub struct Outcome<'a> {
    /// By GitHub's clock.
    pub now: Timestamp,
    /// The generation of the spec.
    pub generation: i64,
    /// The Secret that is wanted, if the spec can be read.
    pub secret: Option<&'a SecretIntent>,
    /// The Secret that is there.
    pub facts: Option<&'a SecretFacts>,
    /// Whether the Secret was written just now.
    pub wrote: bool,
    /// What GitHub granted, if a token was issued just now.
    pub granted: Option<&'a Granted>,
    /// What stands in the way.
    pub problem: Option<&'a Problem>,
    /// What looks wrong.
    pub warnings: &'a [Warning],
    /// When something happens next.
    pub next: Option<Timestamp>,
}

/// The status that is to be written; equal to `previous` if nothing has changed.
#[must_use]
pub fn settle(previous: &TokenStatus, outcome: &Outcome<'_>) -> TokenStatus {
    let mut status = previous.clone();
    status.observed_generation = Some(outcome.generation);
    status.next_attempt_at = outcome.next.map(Time::from);
    describe_secret(&mut status, outcome);
    if let Some(granted) = outcome.granted {
        status.permissions.clone_from(&granted.permissions);
        status.repository_selection.clone_from(&granted.repository_selection);
        status.repositories.clone_from(&granted.repositories);
    }
    describe_conditions(&mut status, outcome);
    status
}

/// The status of a Token that is being deleted, which a finalizer of someone else may hold for long: nothing of it is good any more.
/// Equal to `previous` if nothing has changed.
#[must_use]
pub fn end(previous: &TokenStatus, generation: i64, now: Timestamp) -> TokenStatus {
    let mut conditions = previous.conditions.clone();
    let mut set = |kind, value| Condition::set(&mut conditions, kind, value, generation, Time::from(now));
    set(condition::READY, Some(("False", Reason::Deleting, DELETING.to_owned())));
    for over in [
        condition::RECONCILING,
        condition::STALLED,
        condition::FORBIDDEN,
        condition::EXPIRED,
        condition::WARNING,
    ] {
        set(over, None);
    }
    TokenStatus {
        observed_generation: Some(generation),
        conditions,
        ..TokenStatus::default()
    }
}

fn describe_secret(status: &mut TokenStatus, outcome: &Outcome<'_>) {
    let Some(secret) = outcome.secret else { return };
    let Some(facts) = outcome.facts else {
        status.managed_secret = None;
        status.installation_access_token = None;
        status.hashed_token = None;
        return;
    };
    let same = status
        .managed_secret
        .take()
        .filter(|m| m.name.as_deref() == Some(&secret.key.name));
    let wrote = outcome.wrote.then(|| facts.resource_version.clone());
    status.managed_secret = Some(ManagedSecret {
        basic_auth: secret.format == Format::BasicAuth,
        namespace: Some(secret.key.namespace.to_string()),
        name: Some(secret.key.name.to_string()),
        resource_version: wrote.or(same.and_then(|m| m.resource_version)),
    });
    if facts.content == Content::Intact
        && let Some((issued, expires)) = facts.issued_at().zip(facts.expires_at())
    {
        status.installation_access_token = Some(InstallationAccessToken {
            updated_at: Some(Time::from(issued)),
            expires_at: Some(Time::from(expires)),
        });
        status.hashed_token = facts.annotations.get(annotation::HASHED_TOKEN).cloned();
    }
}

fn describe_conditions(status: &mut TokenStatus, outcome: &Outcome<'_>) {
    let expires = good_until(status, outcome);
    let expired = expires.filter(|at| *at <= outcome.now);
    let mut set = |kind: &str, value: Option<(&str, Reason, String)>| {
        Condition::set(
            &mut status.conditions,
            kind,
            value,
            outcome.generation,
            Time::from(outcome.now),
        );
    };
    let ready = match outcome.problem {
        Some(problem) => ("False", problem.reason, message_of(problem, expires, expired)),
        None if outcome.facts.is_none() => ("Unknown", Reason::Pending, WAITING.to_owned()),
        None if expired.is_some() => ("False", Reason::TokenExpired, LATE.to_owned()),
        None => ("True", Reason::Issued, ready_message(outcome)),
    };
    set(condition::READY, Some(ready));
    let abnormal = |holds: bool| {
        outcome
            .problem
            .filter(|_| holds)
            .map(|p| ("True", p.reason, p.message.clone()))
    };
    let transient = outcome.problem.is_some_and(|p| p.retry.is_transient());
    let waiting = match (outcome.problem, outcome.facts) {
        (None, None) => Some(("True", Reason::Pending, WAITING.to_owned())),
        (None, Some(_)) => expired.map(|_| ("True", Reason::TokenExpired, LATE.to_owned())),
        (Some(_), _) => None,
    };
    set(condition::RECONCILING, abnormal(transient).or(waiting));
    set(condition::STALLED, abnormal(!transient));
    let forbidden = outcome.problem.is_some_and(|p| p.reason == Reason::PolicyForbids);
    set(condition::FORBIDDEN, abnormal(forbidden));
    let text = |at| {
        format!(
            "The token in the Secret expired at {}; no new one could be issued",
            Time::from(at)
        )
    };
    set(
        condition::EXPIRED,
        expired.map(|at| ("True", Reason::TokenExpired, text(at))),
    );
    let joined: Vec<&str> = outcome.warnings.iter().map(|w| w.message.as_str()).collect();
    set(
        condition::WARNING,
        outcome
            .warnings
            .first()
            .map(|first| ("True", first.reason, joined.join("; "))),
    );
}

/// When the token in the Secret expires: the Secret's own word, else, for one of isometry/github-token-manager's, the status'.
/// Nothing is said of a Secret that someone else has written to.
fn good_until(status: &TokenStatus, outcome: &Outcome<'_>) -> Option<Timestamp> {
    let facts = outcome.facts.filter(|facts| facts.content != Content::Tampered)?;
    let told = || status.installation_access_token.as_ref()?.expires_at;
    facts.expires_at().or_else(|| told().map(Timestamp::from))
}

fn message_of(problem: &Problem, expires: Option<Timestamp>, expired: Option<Timestamp>) -> String {
    match (expires, expired) {
        (Some(at), None) => format!(
            "{} (the token in the Secret is good until {})",
            problem.message,
            Time::from(at)
        ),
        _ => problem.message.clone(),
    }
}

fn ready_message(outcome: &Outcome<'_>) -> String {
    outcome.secret.map_or_else(String::new, |secret| {
        format!("The Secret {} holds a good token", secret.key)
    })
}

#[cfg(test)]
mod tests;
