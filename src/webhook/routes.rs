//! `/inject` and `/validate`: an envelope in, a decision of the domain's, an envelope out.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::future::join_all;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::Reason;
use crate::api::names::GROUP;
use crate::cluster::{Record, Secrets};
use crate::domain::intent::Kind;
use crate::domain::pod::{Injection, Pod, Refusal, Warnings, asks, inject};
use crate::domain::policy::Policies;
use crate::domain::review::{self, Answer, Request, read_object, read_pod};

use super::guard::{Guard, guard};
use super::known::Known;
use super::observer::{Observer, Operation, Outcome};
use super::owner::Owners;
use super::validate;

/// What the routes need.
pub struct Desk {
    /// The Tokens of the cluster.
    pub known: Known,
    /// Hears of every review.
    pub observer: Arc<dyn Observer>,
    /// Hear of refusals.
    pub owners: Owners,
    /// Secrets that stand in the way.
    pub secrets: Secrets,
    /// What Tokens may ask for.
    pub policies: watch::Receiver<Option<Arc<Policies>>>,
    /// Where refusals of policies are written down.
    pub record: Record,
    /// The operator's own namespace.
    pub namespace: String,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
}

/// The routes, behind their guard; `stop` begins the end.
pub fn routes(desk: Arc<Desk>, stop: CancellationToken) -> Router {
    let routes = Router::new()
        .route("/inject", post(inject_pod))
        .route("/validate", post(validate_token))
        .with_state(desk);
    guarded(routes, stop)
}

/// Any routes, behind the guard of every request.
pub fn guarded(routes: Router, stop: CancellationToken) -> Router {
    // The guard's limit is the one that counts.
    let routes = routes.layer(DefaultBodyLimit::disable());
    routes.layer(from_fn_with_state(Guard::new(stop), guard))
}

/// A decision, with what the log and the metrics say about it.
pub(super) struct Decision {
    pub outcome: Outcome,
    pub reason: Reason,
    pub answer: Answer,
}

async fn inject_pod(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    let started = Instant::now();
    let request = match understood(&headers, &body, read_pod, |kind| {
        kind.group.is_empty() && *kind.kind == *"Pod"
    }) {
        Ok(request) => request,
        Err(wrong) => {
            desk.observer
                .reviewed(Operation::Inject, Outcome::Rejected, None, started.elapsed());
            return wrong.into_response();
        }
    };
    let decision = decide(&desk, &request).await;
    log(&request, &decision);
    if let (Some(message), false) = (&decision.answer.refusal, request.dry_run.unwrap_or(false)) {
        let owner = request.object.as_ref().and_then(Pod::controller);
        desk.owners.tell(owner, &request.namespace, decision.reason, message);
    }
    desk.observer.reviewed(
        Operation::Inject,
        decision.outcome,
        Some(decision.reason),
        started.elapsed(),
    );
    written(&decision.answer, &request.uid)
}

async fn validate_token(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    let started = Instant::now();
    let request = match understood(&headers, &body, read_object, |kind| {
        *kind.group == *GROUP && Validated::of(kind).is_some()
    }) {
        Ok(request) => request,
        Err(wrong) => {
            desk.observer
                .reviewed(Operation::Validate, Outcome::Rejected, None, started.elapsed());
            return wrong.into_response();
        }
    };
    let decision = match Validated::of(&request.kind) {
        Some(Validated::Token(kind)) => validate::decide(&desk, kind, &request).await,
        Some(Validated::Policy) | None => validate::decide_policy(&desk, &request),
    };
    validate::log(&request, &decision);
    desk.observer.reviewed(
        Operation::Validate,
        decision.outcome,
        Some(decision.reason),
        started.elapsed(),
    );
    written(&decision.answer, &request.uid)
}

/// The kinds that `/validate` knows.
enum Validated {
    Token(Kind),
    Policy,
}

impl Validated {
    fn of(kind: &review::Kind<'_>) -> Option<Self> {
        match &*kind.kind {
            "Token" => Some(Validated::Token(Kind::Token)),
            "ClusterToken" => Some(Validated::Token(Kind::ClusterToken)),
            "TokenPolicy" => Some(Validated::Policy),
            _ => None,
        }
    }
}

/// Reads a review of a kind that `serves` knows.
fn understood<'a, T>(
    headers: &HeaderMap,
    body: &'a [u8],
    read: fn(&'a [u8]) -> Result<Request<'a, T>, String>,
    serves: impl Fn(&review::Kind<'_>) -> bool,
) -> Result<Request<'a, T>, (StatusCode, String)> {
    let json = |value: &str| {
        value
            .split(';')
            .next()
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    };
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !kind.is_some_and(json) {
        let text = "content-type: send application/json\n";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, text.to_owned()));
    }
    let wrong = |text: String| {
        // Anyone may send anything: it is counted, and told to who sent it.
        tracing::debug!("a request of the webhook was not understood: {text}");
        (StatusCode::BAD_REQUEST, text + "\n")
    };
    let request = read(body).map_err(wrong)?;
    if !serves(&request.kind) {
        return Err(wrong(format!(
            "request.kind: '{}' of group '{}' is not served here: correct the rules of the webhook configuration",
            crate::domain::quote(&request.kind.kind),
            crate::domain::quote(&request.kind.group)
        )));
    }
    Ok(request)
}

async fn decide(desk: &Desk, request: &Request<'_, Pod<'_>>) -> Decision {
    let whole = *request.operation == *"CREATE" && request.sub_resource.is_empty();
    let Some(pod) = request.object.as_ref().filter(|_| whole) else {
        return allowed(Reason::NotRequested, Answer::default());
    };
    let mut warnings = Warnings::default();
    let decided = inject_into(desk, pod, &request.namespace, &mut warnings).await;
    let warnings = warnings.into_texts();
    match decided {
        Ok(injection) => {
            let answer = Answer {
                patch: Some(injection.patch),
                warnings,
                refusal: None,
            };
            allowed(injection.reason, answer)
        }
        Err(Refusal { reason, message }) => Decision {
            outcome: Outcome::Refused,
            reason,
            answer: Answer {
                refusal: Some(message),
                warnings,
                patch: None,
            },
        },
    }
}

async fn inject_into(
    desk: &Desk,
    pod: &Pod<'_>,
    namespace: &str,
    warnings: &mut Warnings,
) -> Result<Injection, Refusal> {
    let asks = asks(pod.annotations(), namespace, warnings)?;
    // At once: those that are not in memory take up to a second each.
    let found = join_all(
        asks.iter()
            .map(async |ask| (&ask.token, desk.known.get(&ask.token).await)),
    )
    .await;
    let mut facts = BTreeMap::new();
    for (token, found) in found {
        match found {
            Ok(Some(found)) => drop(facts.insert(token.clone(), found)),
            Ok(None) => {}
            Err(why) => {
                let message = format!("whether {token} exists could not be found out, try again: {why}");
                return Err(Refusal::new(Reason::TokenMissing, message));
            }
        }
    }
    inject(pod, namespace, &asks, &facts, warnings)
}

fn allowed(reason: Reason, answer: Answer) -> Decision {
    let patched = answer.patch.as_ref().is_some_and(|patch| !patch.is_empty());
    let outcome = if patched { Outcome::Patched } else { Outcome::Allowed };
    Decision {
        outcome,
        reason,
        answer,
    }
}

fn log(request: &Request<'_, Pod<'_>>, decision: &Decision) {
    let owner = request.object.as_ref().and_then(Pod::controller);
    let owner = owner.map_or_else(String::new, |owner| format!("{} {}", owner.kind, owner.name));
    let (namespace, owner) = (crate::domain::quote(&request.namespace), crate::domain::quote(&owner));
    let reason = decision.reason.as_str();
    let warnings = decision.answer.warnings.len();
    match &decision.answer.refusal {
        Some(message) => tracing::info!(namespace, owner, reason, "a pod is refused: {message}"),
        None if decision.outcome != Outcome::Patched => {
            tracing::info!(namespace, owner, reason, warnings, "a pod is let in as it is");
        }
        None if decision.reason == Reason::Injected => {
            tracing::info!(namespace, owner, reason, warnings, "a pod gets its token");
        }
        None => tracing::info!(
            namespace,
            owner,
            reason,
            warnings,
            "a pod gets no token, and its status says so"
        ),
    }
}

fn written(answer: &Answer, uid: &str) -> Response {
    match answer.write(uid) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
