//! The way of a request: latency, limits, faults, answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use hyper::body::Incoming;
use hyper::{Method, Request};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::admin;
use super::answer::{Answer, error, primary_limit, secondary_limit, set, text};
use super::api;
use super::call::Call;
use super::digest::random_string;
use super::fault::{Fault, Reset, Route};
use super::git::GitRequest;
use super::limit::{Caller, Exceeded};
use super::record::RequestRecord;
use super::shared::{Shared, cost};

/// Largest request body: what a push of the lab needs.
const LARGEST_BODY: usize = 64 * 1024 * 1024;

/// Answers one request, or has the connection reset.
pub(super) async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Reset> {
    let at = (shared.now(), Instant::now());
    let (head, body) = request.into_parts();
    let body = to_bytes(Body::new(body), LARGEST_BODY).await.map_err(|_| Reset)?;
    let call = Call::new(shared, head, body);
    if call.path.starts_with("/_lab") {
        return Ok(admin::answer(&call));
    }
    let mut visit = Visit::new(&call, at);
    let half = call.shared.state().knobs.latency / 2;
    pause(half).await;
    let mut answer = visit.answer().await?;
    pause(half).await;
    visit.sign(&mut answer);
    Ok(answer)
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// A request under way; it is recorded and counted when this is dropped, whether it was answered or not.
struct Visit<'a> {
    call: &'a Call,
    route: Route,
    caller: Option<Caller>,
    at: Timestamp,
    started: Instant,
    let_in: bool,
    status: Option<u16>,
}

impl<'a> Visit<'a> {
    fn new(call: &'a Call, (at, started): (Timestamp, Instant)) -> Self {
        let segments = call.segments();
        let route = match GitRequest::parse(&call.method, &segments, &call.query) {
            Some(_) => Route::Git,
            None => api::route(call.method.as_str(), &segments),
        };
        Self {
            call,
            route,
            caller: call.caller(route),
            at,
            started,
            let_in: false,
            status: None,
        }
    }

    async fn answer(&mut self) -> Result<Answer, Reset> {
        if let Err(refusal) = self.enter() {
            return Ok(refusal);
        }
        let Some((fault, mut cleared)) = self.call.shared.take_fault(self.route) else {
            return Ok(self.really(false).await);
        };
        if let Some(answer) = self.instead(&fault) {
            return Ok(answer);
        }
        match fault {
            Fault::CloseConnection => return Err(Reset),
            Fault::Hang => {
                // The sender lives as long as the stand-in: without it there is nothing to wait for.
                let _ = cleared.changed().await;
            }
            _ => {}
        }
        let answer = self.really(fault == Fault::ExpiredToken).await;
        fault.spoil(answer).await
    }

    /// Counts the request, or refuses it.
    fn enter(&mut self) -> Result<(), Answer> {
        let Some(caller) = self.caller else { return Ok(()) };
        let cost = cost(!matches!(
            self.call.method,
            Method::GET | Method::HEAD | Method::OPTIONS
        ));
        let mut state = self.call.shared.state();
        let state = &mut *state;
        let now = Instant::now();
        match state.meters.enter(&state.knobs.limits, caller, self.route, cost, now) {
            Ok(()) => {
                self.let_in = true;
                let under_way = state.meters.in_flight(Caller::App);
                let most = &mut state.records.counts.most_at_once;
                *most = under_way.max(*most);
                Ok(())
            }
            Err(Exceeded::Secondary { retry_after, status }) => {
                state.records.counts.secondary_violations += 1;
                Err(secondary_limit(status, Some(retry_after)))
            }
            Err(Exceeded::Primary { status }) => {
                state.records.counts.primary_violations += 1;
                Err(primary_limit(status, &self.name(caller)))
            }
        }
    }

    fn name(&self, caller: Caller) -> String {
        match caller {
            Caller::App => format!("app ID {}", self.call.shared.app_id),
            Caller::Installation(id) => format!("installation ID {id}"),
        }
    }

    fn instead(&self, fault: &Fault) -> Option<Answer> {
        let shared = &self.call.shared;
        let account = {
            let state = shared.state();
            state
                .world
                .all()
                .first()
                .map_or_else(String::new, |one| one.about.account.clone())
        };
        fault.instead(&self.name(Caller::App), &account, shared.now().as_second())
    }

    async fn really(&self, expired: bool) -> Answer {
        let call = self.call;
        if let Some(git) = GitRequest::parse(&call.method, &call.segments(), &call.query) {
            return git.answer(call).await;
        }
        if !call.headers.contains_key("user-agent") {
            return error(403, text::USER_AGENT);
        }
        call.api(expired).await
    }

    /// Adds the headers that every answer has.
    fn sign(&mut self, answer: &mut Answer) {
        self.status = Some(answer.status().as_u16());
        let shared = &self.call.shared;
        let mut state = shared.state();
        let now = state.now();
        if let Ok(date) = DateTimePrinter::new().timestamp_to_rfc9110_string(&now) {
            set(answer, "date", date);
        }
        set(answer, "x-github-request-id", random_string(24));
        set(answer, "x-github-media-type", "github.v3; format=json");
        let limits = state.knobs.limits.clone();
        let quota = self
            .caller
            .and_then(|who| state.meters.quota(&limits, who, Instant::now()));
        // A fault brings its own numbers.
        if let Some(quota) = quota
            && !answer.headers().contains_key("x-ratelimit-remaining")
        {
            set(answer, "x-ratelimit-limit", quota.limit);
            set(answer, "x-ratelimit-remaining", quota.limit - quota.used);
            set(answer, "x-ratelimit-used", quota.used);
            set(answer, "x-ratelimit-resource", "core");
            let reset = now.as_second().saturating_add_unsigned(quota.reset_in.as_secs());
            set(answer, "x-ratelimit-reset", reset);
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let mut state = self.call.shared.state();
        if let Some(caller) = self.caller
            && self.let_in
        {
            state.meters.leave(caller);
        }
        state.records.request(RequestRecord {
            at: self.at,
            method: self.call.method.to_string(),
            path: self.call.path.clone(),
            route: self.route,
            status: self.status,
            seconds: self.started.elapsed().as_secs_f32(),
        });
    }
}
