//! Tokens and ClusterTokens before they are stored: read by the controller's own parser, with its own words.

use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::api::{ClusterToken, Reason, Token, TokenPolicy};
use crate::cluster::{OwnerRef, possession};
use crate::domain::intent::{AppKey, Intent, Kind, TokenObject, app_not_found, invalid};
use crate::domain::plan::conflict;
use crate::domain::policy::{Policy, Verdict};
use crate::domain::review::{Answer, Object, Request};
use crate::domain::{Problem, quote};

use super::observer::Outcome;
use super::routes::{Decision, Desk};

/// How long the API server may take to say what stands in the way: only a warning depends on it.
const LOOK: Duration = Duration::from_secs(1);

/// Decides about a Token or ClusterToken.
pub(super) async fn decide(desk: &Desk, kind: Kind, request: &Request<'_, Object<'_>>) -> Decision {
    let Some(object) = request.object.as_ref().filter(|object| is_new(object, request)) else {
        return allowed(Vec::new(), Reason::NotRequested);
    };
    let intent = match kind {
        Kind::Token => read::<Token>(object),
        Kind::ClusterToken => read::<ClusterToken>(object),
    };
    let intent = match intent {
        Ok(intent) => intent,
        Err(problem) => return refused(problem, Vec::new()),
    };
    let mut warnings: Vec<String> = intent.warnings.iter().map(|warning| warning.message.clone()).collect();
    let verdict = judge(desk, &intent);
    if !request.dry_run.unwrap_or(false) {
        desk.record.refused(&verdict, &intent.key, (desk.clock)());
    }
    let warned = verdict.warnings.first().map(|warning| warning.reason);
    warnings.extend(verdict.warnings.into_iter().map(|warning| warning.message));
    // Where the namespace is not known yet, nothing is refused here: the controller asks again before it issues anything.
    let forbidden = verdict
        .forbidden
        .filter(|forbidden| forbidden.problem.reason == Reason::PolicyForbids);
    if let Some(forbidden) = forbidden {
        return refused(forbidden.problem, warnings);
    }
    warnings.extend(missing_app(desk, &intent).await);
    warnings.extend(taken_secret(desk, &intent).await);
    allowed(warnings, warned.unwrap_or(Reason::Accepted))
}

/// Decides about a TokenPolicy: its schema has said most of what is wrong.
pub(super) fn decide_policy(desk: &Desk, request: &Request<'_, Object<'_>>) -> Decision {
    let Some(object) = request.object.as_ref().filter(|object| is_new(object, request)) else {
        return allowed(Vec::new(), Reason::NotRequested);
    };
    let policy = match object.read::<TokenPolicy>() {
        Ok(policy) => policy,
        Err(problem) => return refused(problem, Vec::new()),
    };
    if let Some(flaw) = Policy::flaw(&policy.spec) {
        return refused(invalid(flaw), Vec::new());
    }
    let policies = desk.policies.borrow();
    let default = policies.as_ref().map(|policies| policies.default).unwrap_or_default();
    allowed(Policy::doubts(&policy.spec, default), Reason::Accepted)
}

/// Whether there is something to look at: a new object, or another spec. Never in the way of a clean-up.
fn is_new(object: &Object<'_>, request: &Request<'_, Object<'_>>) -> bool {
    let same = || request.old_object.as_ref().is_some_and(|old| old.spec == object.spec);
    match &*request.operation {
        "CREATE" => request.sub_resource.is_empty(),
        "UPDATE" => request.sub_resource.is_empty() && !object.ends && !same(),
        _ => false,
    }
}

fn read<T: TokenObject + DeserializeOwned>(object: &Object<'_>) -> Result<Intent, Problem> {
    Intent::new(&object.read::<T>()?)
}

fn judge(desk: &Desk, intent: &Intent) -> Verdict {
    let policies = desk.policies.borrow().clone();
    policies.map(|policies| policies.judge(intent)).unwrap_or_default()
}

async fn missing_app(desk: &Desk, intent: &Intent) -> Option<String> {
    let AppKey::Object { namespace, name } = &intent.app else {
        return None;
    };
    let place = namespace.as_deref().unwrap_or(&desk.namespace);
    let exists = timeout(LOOK, desk.known.tokens().app_exists(place, name))
        .await
        .ok()??;
    (!exists).then(|| app_not_found(place, name).message)
}

async fn taken_secret(desk: &Desk, intent: &Intent) -> Option<String> {
    let found = timeout(LOOK, desk.secrets.look(&intent.secret.key))
        .await
        .ok()?
        .ok()??;
    let owner = OwnerRef::of(&found.metadata);
    if owner.as_ref().is_some_and(|owner| *owner.uid == *intent.uid) {
        return None;
    }
    Some(conflict(intent, &possession(owner.as_ref(), &intent.key)).message)
}

fn allowed(warnings: Vec<String>, reason: Reason) -> Decision {
    let answer = Answer {
        warnings,
        ..Answer::default()
    };
    Decision {
        outcome: Outcome::Allowed,
        reason,
        answer,
    }
}

fn refused(problem: Problem, warnings: Vec<String>) -> Decision {
    let answer = Answer {
        refusal: Some(problem.message),
        warnings,
        patch: None,
    };
    Decision {
        outcome: Outcome::Refused,
        reason: problem.reason,
        answer,
    }
}

/// Says what was decided, in a line.
pub(super) fn log(request: &Request<'_, Object<'_>>, decision: &Decision) {
    let name = request.object.as_ref().map_or("", |object| &object.name);
    let (namespace, name) = (quote(&request.namespace), quote(name));
    let (kind, reason) = (quote(&request.kind.kind), decision.reason.as_str());
    match &decision.answer.refusal {
        Some(message) => tracing::info!(kind, namespace, name, reason, "refused: {message}"),
        None => tracing::debug!(
            kind,
            namespace,
            name,
            reason,
            warnings = decision.answer.warnings.len(),
            "accepted"
        ),
    }
}
