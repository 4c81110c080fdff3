//! Failures on command: every row of the table of answers, and what a network does.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use futures::stream;
use hyper::header::CONTENT_LENGTH;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::{
    Answer, error, html_page, ip_allow_list, json_answer, mint_error, primary_limit, raw, secondary_limit, set, text,
};
use super::settings::seconds;

/// Which requests a fault or a limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// `POST /app/installations/{id}/access_tokens`.
    Mint,
    /// `DELETE /installation/token`.
    Revoke,
    /// What is asked with the App's JWT: `/app`, `/app/installations`, `/{repos,orgs,users}/…/installation`.
    App,
    /// What is asked with a token: repositories and pull requests.
    Token,
    /// Git over HTTP.
    Git,
    /// Everything else, such as `/meta`.
    Other,
}

/// How a 201 is not a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotAToken {
    /// No `token` field.
    Missing,
    /// `token` is the empty string.
    Empty,
    /// `token` and `expires_at` are numbers.
    WrongTypes,
    /// `expires_at` is not a time.
    BadExpiry,
    /// A JSON array.
    Array,
}

/// One way to fail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Any status with any body.
    Status {
        /// HTTP status.
        status: u16,
        /// Body, sent as JSON.
        body: String,
    },
    /// 401: the JWT has expired by GitHub's clock.
    JwtExpired,
    /// 401: the JWT expires more than 10 min ahead of GitHub's clock.
    JwtExpiresTooLate,
    /// 401: the JWT was issued in the future of GitHub's clock.
    JwtIssuedInFuture,
    /// 401: wrong key.
    JwtUndecodable,
    /// 401: the App has no key at all.
    NoPublicKey,
    /// 404: wrong issuer.
    IntegrationNotFound,
    /// 401: as for a token that is unknown, expired or revoked.
    BadCredentials,
    /// 403: the installation is suspended.
    Suspended,
    /// 403: an IP allow list keeps the caller out.
    IpAllowList,
    /// 403 or 429 with `x-ratelimit-remaining: 0`.
    PrimaryLimit {
        /// 403 or 429.
        status: u16,
        /// When `x-ratelimit-reset` is, from now; sent in whole seconds.
        #[serde(with = "seconds")]
        reset_in: Duration,
    },
    /// 403 or 429 with the message of the secondary limit.
    SecondaryLimit {
        /// 403 or 429.
        status: u16,
        /// `retry-after` in seconds, or no such header.
        retry_after: Option<u64>,
    },
    /// 404: uninstalled.
    NotFound,
    /// 422: more permissions than granted.
    PermissionsNotGranted,
    /// 422: a repository outside of the installation.
    RepositoriesNotAccessible,
    /// 408, 500, 502, 503, 504 with GitHub's JSON.
    Unavailable(u16),
    /// The same with an HTML page.
    HtmlErrorPage(u16),
    /// No answer until the client leaves, or the faults are cleared: then the request is served.
    Hang,
    /// The connection is reset, and nothing was done.
    CloseConnection,
    /// What was asked is done, and then the connection is reset instead of an answer.
    LoseAnswer,
    /// A good status and something that is not JSON.
    Garbage,
    /// 201 and JSON that is not a token.
    NotAToken(NotAToken),
    /// The real answer with its second half cut off by a reset.
    Truncated,
    /// The real answer, a byte at a time.
    SlowTrickle {
        /// Between two bytes.
        #[serde(with = "seconds")]
        pause: Duration,
    },
    /// A good status and a body that never ends.
    EndlessBody,
    /// A token that has expired already.
    ExpiredToken,
}

impl Fault {
    /// The answer that is given instead of the real one; `None` for a fault that begins with the real one.
    pub(super) fn instead(&self, app: &str, account: &str, now: i64) -> Option<Answer> {
        Some(match self {
            Self::Status { status, body } => raw(*status, "application/json; charset=utf-8", body.clone()),
            Self::JwtExpired => error(401, text::EXP_IN_PAST),
            Self::JwtExpiresTooLate => error(401, text::EXP_TOO_FAR),
            Self::JwtIssuedInFuture => error(401, text::IAT_IN_FUTURE),
            Self::JwtUndecodable => error(401, text::JWT_UNDECODABLE),
            Self::NoPublicKey => error(401, text::NO_PUBLIC_KEY),
            Self::IntegrationNotFound => error(404, text::INTEGRATION_NOT_FOUND),
            Self::BadCredentials => error(401, text::BAD_CREDENTIALS),
            Self::Suspended => mint_error(403, text::SUSPENDED),
            Self::IpAllowList => ip_allow_list(account),
            Self::PrimaryLimit { status, reset_in } => {
                let mut answer = primary_limit(*status, app);
                set(&mut answer, "x-ratelimit-limit", 5_000);
                set(&mut answer, "x-ratelimit-remaining", 0);
                set(&mut answer, "x-ratelimit-used", 5_000);
                set(&mut answer, "x-ratelimit-resource", "core");
                let reset = now.saturating_add_unsigned(reset_in.as_secs());
                set(&mut answer, "x-ratelimit-reset", reset);
                answer
            }
            Self::SecondaryLimit { status, retry_after } => secondary_limit(*status, *retry_after),
            Self::NotFound => mint_error(404, text::NOT_FOUND),
            Self::PermissionsNotGranted => mint_error(422, text::PERMISSIONS),
            Self::RepositoriesNotAccessible => mint_error(422, text::REPOSITORIES),
            Self::Unavailable(status) => json_answer(*status, &json!({"message": "Server Error"})),
            Self::HtmlErrorPage(status) => html_page(*status),
            Self::Garbage => raw(
                201,
                "application/json; charset=utf-8",
                &b"\x00\xffthis is not the JSON you are looking for"[..],
            ),
            Self::NotAToken(how) => json_answer(201, &how.body()),
            Self::EndlessBody => raw(201, "application/json; charset=utf-8", endless()),
            Self::Hang
            | Self::CloseConnection
            | Self::LoseAnswer
            | Self::Truncated
            | Self::SlowTrickle { .. }
            | Self::ExpiredToken => return None,
        })
    }

    /// Does to the real answer what this fault does. An error resets the connection.
    pub(super) async fn spoil(&self, answer: Answer) -> Result<Answer, Reset> {
        match self {
            Self::LoseAnswer => Err(Reset),
            Self::Truncated => cut(answer).await,
            Self::SlowTrickle { pause } => trickle(answer, *pause).await,
            _ => Ok(answer),
        }
    }
}

impl NotAToken {
    fn body(self) -> serde_json::Value {
        let expires_at = "2099-01-01T00:00:00Z";
        match self {
            Self::Missing => json!({"expires_at": expires_at, "permissions": {"metadata": "read"}}),
            Self::Empty => json!({"token": "", "expires_at": expires_at}),
            Self::WrongTypes => json!({"token": 42, "expires_at": 4_070_908_800_u64}),
            Self::BadExpiry => json!({"token": "ghs_notAToken", "expires_at": "in an hour"}),
            Self::Array => json!([{"token": "ghs_notAToken", "expires_at": expires_at}]),
        }
    }
}

/// The connection is to be reset.
#[derive(Debug, thiserror::Error)]
#[error("the stand-in resets the connection, as it was told to")]
pub(super) struct Reset;

async fn bytes_of(body: Body) -> Result<Bytes, Reset> {
    to_bytes(body, usize::MAX).await.map_err(|_| Reset)
}

/// Announces the whole length, sends half of it and resets the connection.
async fn cut(answer: Answer) -> Result<Answer, Reset> {
    let (mut parts, body) = answer.into_parts();
    let bytes = bytes_of(body).await?;
    parts.headers.insert(CONTENT_LENGTH, bytes.len().into());
    let half = bytes.slice(..bytes.len() / 2);
    // A chunk of its own, so that the half is on the wire before the error.
    let pause = Duration::from_millis(20);
    let chunks = stream::unfold(Some(half), move |half| async move {
        match half {
            Some(half) if !half.is_empty() => Some((Ok(half), Some(Bytes::new()))),
            _ => {
                tokio::time::sleep(pause).await;
                Some((Err(Reset), None))
            }
        }
    });
    Ok(Answer::from_parts(parts, Body::from_stream(chunks)))
}

async fn trickle(answer: Answer, pause: Duration) -> Result<Answer, Reset> {
    let (parts, body) = answer.into_parts();
    let bytes = bytes_of(body).await?;
    let chunks = stream::unfold(bytes, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let byte = rest.split_to(1);
        Some((Ok::<_, Infallible>(byte), rest))
    });
    Ok(Answer::from_parts(parts, Body::from_stream(chunks)))
}

fn endless() -> Body {
    let chunk = Bytes::from(vec![b' '; 64 * 1024]);
    Body::from_stream(stream::repeat_with(move || Ok::<_, Infallible>(chunk.clone())))
}

/// One command to fail.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// How.
    pub fault: Fault,
    /// On which requests; all, if not given.
    #[serde(default)]
    pub route: Option<Route>,
    /// How many times; until the faults are cleared, if not given.
    #[serde(default)]
    pub times: Option<u32>,
}

impl FaultRule {
    fn is_for(&self, route: Route) -> bool {
        self.route.is_none_or(|only| only == route)
    }
}

/// The commands in the order in which they were given: the first that fits is used.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<FaultRule>);

impl Faults {
    pub fn add(&mut self, rule: FaultRule) {
        if rule.times != Some(0) {
            self.0.push(rule);
        }
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn rules(&self) -> &[FaultRule] {
        &self.0
    }

    pub fn active(&self, route: Route) -> bool {
        self.0.iter().any(|rule| rule.is_for(route))
    }

    /// The fault for a request, which is used up by it.
    pub fn take(&mut self, route: Route) -> Option<Fault> {
        let index = self.0.iter().position(|rule| rule.is_for(route))?;
        let rule = &mut self.0[index];
        let fault = rule.fault.clone();
        if let Some(times) = &mut rule.times {
            *times -= 1;
            if *times == 0 {
                self.0.remove(index);
            }
        }
        Some(fault)
    }
}
