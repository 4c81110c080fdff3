//! How a job ends: the status says what is, and an Event says what went wrong.

use std::sync::Once;

use jiff::Timestamp;

use crate::api::names::{MANAGER, label};
use crate::api::{Reason, TokenStatus, condition, crd};
use crate::cluster::{ClusterError, Metadata, Note};
use crate::domain::Problem;
use crate::domain::intent::SecretKey;
use crate::domain::plan::{Content, SecretFacts};
use crate::domain::schedule::{self, Retry, in_time, next_attempt};
use crate::domain::status::{Granted, Outcome, settle};

use super::job::{Context, Done, Task, carry};
use super::outage::SCOUT_PERIOD;
use super::record::SecretRecord;
use super::state::Failure;

/// It is said once in the life of the process.
static OLDER_KINDS: Once = Once::new();
const OLDER: &str = "the API server does not keep all of a Token's status, as where the CustomResourceDefinitions are older than this program";

/// When the status says that the token was issued and expires.
#[must_use]
pub fn status_life(status: &TokenStatus) -> Option<(Timestamp, Timestamp)> {
    let life = status.installation_access_token.as_ref()?;
    Some((life.updated_at?.into(), life.expires_at?.into()))
}

/// The Secret that the status tells of.
#[must_use]
pub fn status_place(status: &TokenStatus) -> Option<SecretKey> {
    let told = status.managed_secret.as_ref()?;
    Some(SecretKey {
        namespace: told.namespace.as_deref()?.into(),
        name: told.name.as_deref()?.into(),
    })
}

/// The Secret is as it should be: says so in the status.
pub async fn published(context: &Context, mut task: Task, meta: Metadata, granted: Option<Granted>) -> Done {
    // What is wanted is not there yet: only what was wanted before is good again.
    let failure = task.failure.take_if(|_| task.keeps_former);
    let troubled = task.failure.is_some() || task.status.condition(condition::STALLED).is_some();
    let recovered = troubled && !task.keeps_former;
    let facts = SecretRecord::new(&meta).map(|record| SecretFacts {
        content: Content::Intact,
        ..record.facts(None)
    });
    let task = Task {
        facts,
        failure,
        pending: None,
        granted: granted.or(task.granted.clone()),
        ..task
    };
    if recovered && let Some(intent) = &task.intent {
        let token = hashed(task.facts.as_ref().and_then(SecretFacts::hashed_token));
        let message = format!("The Secret {} holds a good token again{token}", intent.secret.key);
        let note = Note {
            reason: Reason::Issued,
            message,
            warning: false,
        };
        context.events.about_token(&task.key, &task.uid, &note).await;
    }
    let done = settle_status(context, task, true).await;
    Done {
        secret: Some((meta, Some(Content::Intact))),
        ..done
    }
}

/// By what GitHub's audit log knows a token, for behind its name in a sentence.
pub fn hashed(hash: Option<&str>) -> String {
    hash.map_or_else(String::new, |hash| format!(" (hashed_token {hash})"))
}

/// When the token that is in the Secret expires.
fn good_until(task: &Task) -> Option<Timestamp> {
    task.in_use().1.and_then(SecretFacts::expires_at)
}

/// Something stands in the way: says so in the status, and once in an Event.
pub async fn fail(context: &Context, mut task: Task, problem: Problem) -> Done {
    let patience = task
        .intent
        .as_ref()
        .map_or(schedule::BACKOFF_LONGEST, |intent| intent.retry);
    let retry_cap = if task.scout {
        patience.min(SCOUT_PERIOD)
    } else {
        patience
    };
    let failures = task
        .failure
        .as_ref()
        .map_or(0, |failure| failure.count)
        .saturating_add(1);
    // What has failed may have taken long to do so.
    task.now = task.github_time((context.clock)());
    let until = next_attempt(task.now, problem.retry, failures, retry_cap, (context.dice)());
    let until = in_time(until, problem.retry, task.now, good_until(&task));
    tracing::warn!(token = %task.key, reason = %problem.reason, next_attempt = %until, "{}", problem.message);
    context.observer.failed(&task.key, problem.reason);
    if problem.reason == Reason::InstallationNotFound
        && let Some(intent) = &task.intent
    {
        let _ = context.rediscover.send(intent.app.in_namespace(&context.namespace));
    }
    if problem.reason.is_about_the_app() {
        context.observer.app_missing(&task.key);
    }
    let known = task
        .failure
        .as_ref()
        .is_some_and(|f| f.problem.reason == problem.reason && f.problem.message == problem.message);
    let told = task
        .status
        .condition(condition::READY)
        .is_some_and(|c| c.reason == problem.reason.as_str());
    if !(known || told && task.failure.is_none()) {
        let note = Note::from(&problem);
        context.events.about_attempt(&task.key, &task.uid, &note, until).await;
    }
    task.failure = Some(Failure::new(problem, failures, until, &task));
    settle_status(context, task, false).await
}

/// Writes the status, if it is not what it should be.
pub async fn settle_status(context: &Context, task: Task, wrote: bool) -> Done {
    let status = wanted_status(&task, wrote);
    write_status(context, task, status).await
}

/// Writes this status, if it is another one.
pub async fn write_status(context: &Context, task: Task, status: TokenStatus) -> Done {
    if status == task.status {
        return Done {
            ..carry(Task { granted: None, ..task })
        };
    }
    match context
        .tokens
        .replace_status(&task.key, &task.uid, &task.resource_version, &status)
        .await
    {
        Ok(record) => {
            let kept = record.as_ref().map(|record| record.read().1);
            // What the API server did not keep as it was written is written again, but at leisure: its kinds may become newer.
            let unsettled = kept.is_some_and(|kept| kept != status);
            if unsettled {
                OLDER_KINDS.call_once(|| tracing::warn!("{OLDER}; {}", crd::UPGRADE));
            }
            let granted = task.granted.clone().filter(|_| unsettled);
            Done {
                unsettled,
                record,
                ..carry(Task { granted, ..task })
            }
        }
        // The object is gone, or another one: nobody is left to be told. But a kind without a status says the same.
        Err(ClusterError::Missing | ClusterError::Conflict) if is_gone(context, &task).await => Done {
            gone: true,
            ..carry(task)
        },
        Err(error) => {
            tracing::warn!(token = %task.key, %error, "the status could not be written");
            context.observer.failed(&task.key, Reason::SecretWriteFailed);
            Done {
                unsettled: true,
                ..carry(task)
            }
        }
    }
}

async fn is_gone(context: &Context, task: &Task) -> bool {
    let exists = context.tokens.exists(&task.key, &task.uid).await;
    exists.is_ok_and(|exists| !exists)
}

/// What the status should be now.
#[must_use]
pub fn wanted_status(task: &Task, wrote: bool) -> TokenStatus {
    let failed = task.failure.as_ref();
    let until = failed.map(|failure| failure.until);
    // What holds it now is news; what it failed of before that is not.
    let (problem, until) = match &task.held {
        Some(held) => (Some(held), held.retry.not_before()),
        None => (failed.map(|failure| &failure.problem), until),
    };
    let (secret, facts) = task.in_use();
    let life = facts.and_then(|facts| facts.issued_at().zip(facts.expires_at()));
    let due = task
        .intent
        .as_ref()
        .zip(life)
        .map(|(intent, (issued, expires))| schedule::due(issued, expires, intent.refresh, &intent.uid));
    settle(
        &task.status,
        &Outcome {
            now: task.now,
            generation: task.generation,
            secret,
            facts,
            wrote,
            granted: task.granted.as_ref(),
            problem,
            warnings: task.warnings(),
            next: until.or(due),
        },
    )
}

/// What an error of the API server means for a Token.
#[must_use]
pub fn cluster_problem(error: &ClusterError) -> Problem {
    let minute = Retry::Every(std::time::Duration::from_secs(60));
    match error {
        ClusterError::NamespaceUnavailable(message) => Problem::new(
            Reason::NamespaceUnavailable,
            minute,
            format!(
                "the Secret cannot be written: {message}; it takes a namespace that is there to stay: create it, or name another one (spec.secret.namespace of a ClusterToken)"
            ),
        ),
        ClusterError::Invalid(message) => Problem::new(
            Reason::SecretWriteFailed,
            minute,
            format!("the API server does not accept the Secret; check spec.secret: {message}"),
        ),
        ClusterError::Forbidden(message) if message.contains("exceeded quota") => Problem::new(
            Reason::SecretWriteFailed,
            minute,
            format!("the quota of the Secret's namespace is used up; raise it, or make room: {message}"),
        ),
        ClusterError::Forbidden(message) => Problem::new(
            Reason::SecretWriteFailed,
            minute,
            format!("the operator lacks a right; check its RBAC: {message}"),
        ),
        ClusterError::Refused(message) => Problem::new(
            Reason::SecretWriteFailed,
            minute,
            format!(
                "a policy or webhook of the cluster does not admit the Secret; check spec.secret, or change that: {message}"
            ),
        ),
        ClusterError::Altered(what) => Problem::new(
            Reason::SecretWriteFailed,
            Retry::Backoff,
            format!(
                "{what} was taken off the Secret, or changed, while it was written: exclude the Secrets with the label {}={MANAGER} from the cluster's webhook that does so",
                label::CREATED_BY
            ),
        ),
        ClusterError::Conflict
        | ClusterError::Exists
        | ClusterError::Missing
        | ClusterError::Unserved
        | ClusterError::Unauthorized
        | ClusterError::Unavailable(_) => Problem::new(
            Reason::SecretWriteFailed,
            Retry::Backoff,
            format!("the Secret cannot be written: {error}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_that_is_used_up_is_not_a_right_that_is_missing() {
        let quota =
            "secrets \"ci\" is forbidden: exceeded quota: small, requested: count/secrets=1, used: count/secrets=5";
        let right = "secrets \"ci\" is forbidden: User \"gtm\" cannot create resource \"secrets\"";
        for (said, cure) in [
            (quota, "the quota of the Secret's namespace"),
            (right, "check its RBAC"),
        ] {
            let problem = cluster_problem(&ClusterError::Forbidden(said.to_owned()));
            assert!(
                problem.message.contains(cure) && problem.message.contains(said),
                "{}",
                problem.message
            );
        }
    }
}
