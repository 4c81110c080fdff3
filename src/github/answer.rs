//! GitHub's answers, and the one place that knows what each refusal means. Pure.

use std::collections::HashMap;
use std::fmt;

use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{DATE, HeaderMap, LOCATION, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretSlice};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use url::Url;

use super::error::Error;
use super::mint::MintScope;
use super::observe::Route;
use crate::domain::BaseUrl;
use crate::domain::jwt::Issuer;
use crate::domain::quote;

/// GitHub's windows are an hour long: no announced wait is longer.
const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// GitHub's wish where it limits without saying for how long.
const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// Stands for a message that is not quoted.
const UNQUOTED: &str = "its message is not shown, since an App object has named this address";

/// An HTTP answer. The body is a secret, since it may hold a token.
pub struct Answer {
    status: u16,
    headers: HeaderMap,
    body: SecretSlice<u8>,
    at: Timestamp,
}

impl Answer {
    /// An answer that came at `now` by GitHub's clock, as far as we know it; its own `Date` header is preferred.
    #[must_use]
    pub fn new(status: u16, headers: HeaderMap, body: Vec<u8>, now: Timestamp) -> Self {
        let at = date(&headers).unwrap_or(now);
        Answer {
            status,
            headers,
            body: body.into(),
            at,
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// When GitHub answered, by its own clock.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Reads the body as JSON; the error tells where it is broken and nothing of what is there.
    pub(super) fn json<'a, T: Deserialize<'a>>(&'a self, asked: &Asked<'_>) -> Result<T, Error> {
        self.read().map_err(|problem| asked.invalid(problem))
    }

    /// The same, with what is wrong as a text.
    pub(super) fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, String> {
        serde_json::from_slice(self.body.expose_secret()).map_err(|error| {
            let (kind, line, column) = (error.classify(), error.line(), error.column());
            format!(
                "HTTP {}, JSON error {kind:?} at line {line} column {column}",
                self.status
            )
        })
    }

    /// Whether GitHub itself refuses: a load balancer or a proxy before it does so with a page of its own, or with nothing.
    pub(super) fn is_githubs_refusal(&self) -> bool {
        self.read::<HashMap<String, IgnoredAny>>().is_ok()
    }

    /// GitHub's message in quotation marks, made safe.
    pub(super) fn said(&self) -> String {
        match quote(self.message().trim()) {
            text if text.is_empty() => "no message".to_owned(),
            text => format!("\"{text}\""),
        }
    }

    /// Whether a `Link` header names a next page.
    pub(super) fn has_next_page(&self) -> bool {
        self.header("link").is_some_and(|links| links.contains("rel=\"next\""))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// GitHub's `message` and the entries of its `errors`, as they came.
    fn message(&self) -> String {
        let body: Value = serde_json::from_slice(self.body.expose_secret()).unwrap_or_default();
        let mut message = body
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        for entry in body
            .get("errors")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .take(10)
        {
            let fields = ["resource", "field", "code", "message"].map(|name| entry.get(name).and_then(Value::as_str));
            for text in fields.into_iter().flatten().chain(entry.as_str()) {
                message.push(' ');
                message.push_str(text);
            }
        }
        message
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// The `Date` header.
pub(super) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(DATE)?.to_str().ok()?)
}

/// An IMF-fixdate of RFC 9110 is a date of RFC 2822.
fn http_date(text: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(text).ok()
}

/// What was asked, of which GitHub, by which App: error texts name it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Which GitHub.
    pub base_url: &'a BaseUrl,
    /// Which App.
    pub issuer: &'a Issuer,
    /// Whether errors quote the answer. Not where who may read them has chosen the address, and could not ask there himself.
    pub quotes: bool,
    /// What.
    pub call: Call<'a>,
}

/// One call of the API.
#[derive(Clone, Copy, Debug)]
pub enum Call<'a> {
    /// `POST /app/installations/{id}/access_tokens`
    Mint {
        /// The installation.
        installation_id: u64,
        /// What the token is to be good for.
        scope: &'a MintScope,
    },
    /// `DELETE /installation/token`
    Revoke,
    /// `GET /app`
    App,
    /// `GET /app/installations`
    Installations,
    /// `GET /installation/repositories`
    Verify,
}

impl Asked<'_> {
    /// The kind of the call.
    #[must_use]
    pub const fn route(&self) -> Route {
        match self.call {
            Call::Mint { .. } => Route::Mint,
            Call::Revoke => Route::Revoke,
            Call::App => Route::App,
            Call::Installations => Route::Installations,
            Call::Verify => Route::Verify,
        }
    }

    /// Whether the token itself authenticates the call, rather than the App's JWT.
    pub(super) const fn by_token(&self) -> bool {
        match self.call {
            Call::Revoke | Call::Verify => true,
            Call::Mint { .. } | Call::App | Call::Installations => false,
        }
    }

    pub(super) fn invalid(&self, problem: String) -> Error {
        Error::InvalidAnswer {
            base_url: self.base_url.to_string(),
            problem,
        }
    }

    pub(super) fn unavailable(&self, problem: String) -> Error {
        Error::Unavailable {
            base_url: self.base_url.to_string(),
            problem,
        }
    }

    /// A refusal that is nobody's last word: what stands before GitHub may be itself again within a minute.
    fn not_githubs(&self, status: u16) -> Error {
        self.invalid(format!(
            "HTTP {status} without GitHub's JSON: a proxy or a load balancer on the way has answered, or nothing at this address is GitHub's API"
        ))
    }

    fn app_refused(&self, said: String) -> Error {
        Error::AppRefused {
            issuer: self.issuer.to_string(),
            base_url: self.base_url.to_string(),
            said,
        }
    }

    fn refused(&self, status: u16, said: String) -> Error {
        Error::Refused {
            status,
            base_url: self.base_url.to_string(),
            said,
        }
    }

    fn installation(&self) -> String {
        match self.call {
            Call::Mint { installation_id, .. } => format!("installationID {installation_id}"),
            Call::Revoke | Call::App | Call::Installations | Call::Verify => "the installation".to_owned(),
        }
    }
}

/// What an answer means that is not the one hoped for. Every status leads somewhere.
#[must_use]
pub fn classify(asked: &Asked<'_>, answer: &Answer) -> Error {
    let lower = answer.message().to_lowercase();
    let said = if asked.quotes {
        answer.said()
    } else {
        UNQUOTED.to_owned()
    };
    match answer.status {
        408 | 500..=599 => asked.unavailable(format!("HTTP {} {said}", answer.status)),
        403 | 429 => forbidden(asked, answer, &lower, said),
        status @ 400..=499 if !answer.is_githubs_refusal() => asked.not_githubs(status),
        401 if asked.by_token() => Error::TokenNotActive { status: 401, said },
        401 if is_about_the_clock(&lower) => Error::Clock { said },
        401 => asked.app_refused(said),
        404 if lower.contains("integration not found") => asked.app_refused(said),
        404 => not_found(asked, said),
        422 => unprocessable(asked, &lower, said),
        300..=399 if !asked.quotes => asked.invalid(format!("HTTP {} redirects to another address", answer.status)),
        300..=399 => asked.invalid(format!("HTTP {} redirects to {}", answer.status, redirection(answer))),
        400..=499 => asked.refused(answer.status, said),
        other => asked.invalid(format!("HTTP {other} is not expected here")),
    }
}

/// `'Expiration time' claim ('exp') …`, `'Issued at' claim ('iat') …`
fn is_about_the_clock(lower: &str) -> bool {
    ["'exp'", "'iat'", "expiration time", "issued at"]
        .iter()
        .any(|text| lower.contains(text))
}

/// 403 and 429: suspension, network policy, both kinds of limit, in that order.
fn forbidden(asked: &Asked<'_>, answer: &Answer, lower: &str, said: String) -> Error {
    if lower.contains("suspended") {
        return Error::Suspended {
            installation: asked.installation(),
            said,
        };
    }
    if lower.contains("ip allow list") {
        return Error::IpNotAllowed { said };
    }
    let retry_after = answer
        .header(RETRY_AFTER.as_str())
        .and_then(|text| announced(text, answer.at));
    let used_up = answer
        .header("x-ratelimit-remaining")
        .is_some_and(|left| left.trim() == "0");
    let secondary = lower.contains("secondary rate limit") || lower.contains("abuse detection");
    if used_up && !secondary {
        let reset = resets_at(&answer.headers, answer.at);
        let wait = reset.map_or(MINUTE, |reset| reset.duration_since(answer.at));
        return Error::PrimaryLimit {
            resets_at: later(answer.at, wait.max(retry_after.unwrap_or_default())),
            said,
        };
    }
    if secondary || retry_after.is_some() || answer.status == 429 {
        let until = later(answer.at, retry_after.unwrap_or(MINUTE));
        return Error::SecondaryLimit {
            announced: retry_after.map(SignedDuration::unsigned_abs),
            until,
            said,
        };
    }
    if !answer.is_githubs_refusal() {
        return asked.not_githubs(answer.status);
    }
    if asked.by_token() {
        return Error::TokenNotActive {
            status: answer.status,
            said,
        };
    }
    asked.refused(answer.status, said)
}

/// When there are new requests by the `x-ratelimit-reset` of an answer that came at `at`: at most an hour later. A second more than it says,
/// since it is rounded. One that was over already says nothing: who believed it would ask again and again.
pub(super) fn resets_at(headers: &HeaderMap, at: Timestamp) -> Option<Timestamp> {
    let text = headers.get("x-ratelimit-reset")?.to_str().ok()?;
    let told = Timestamp::from_second(text.trim().parse().ok()?).ok()?;
    (told > at).then(|| later(at, told.duration_since(at).saturating_add(SECOND)))
}

/// `retry-after`: seconds or a date, made to lie between a second and an hour ahead.
fn announced(text: &str, at: Timestamp) -> Option<SignedDuration> {
    let wait = match text.trim().parse::<u32>() {
        Ok(seconds) => SignedDuration::from_secs(i64::from(seconds)),
        Err(_) => http_date(text)?.duration_since(at),
    };
    Some(bounded(wait))
}

/// Between a second and an hour: neither a past time nor a lie stops us for long.
pub(super) fn bounded(wait: SignedDuration) -> SignedDuration {
    wait.clamp(SECOND, HOUR)
}

/// `at` and a bounded wait.
pub(super) fn later(at: Timestamp, wait: SignedDuration) -> Timestamp {
    at.saturating_add(bounded(wait)).unwrap_or(at)
}

fn not_found(asked: &Asked<'_>, said: String) -> Error {
    match asked.call {
        Call::Mint { installation_id, .. } => Error::InstallationNotFound {
            installation_id,
            issuer: asked.issuer.to_string(),
            base_url: asked.base_url.to_string(),
            said,
        },
        Call::Revoke | Call::Verify => Error::TokenNotActive { status: 404, said },
        Call::App | Call::Installations => asked.refused(404, said),
    }
}

/// 422 naming permissions or repositories.
fn unprocessable(asked: &Asked<'_>, lower: &str, said: String) -> Error {
    match asked.call {
        Call::Mint { installation_id, scope } if lower.contains("permission") => Error::PermissionsNotGranted {
            installation_id,
            permissions: scope.permissions_text(),
            said,
        },
        Call::Mint { installation_id, scope } if lower.contains("repositor") => Error::RepositoryNotAccessible {
            installation_id,
            repositories: scope.repositories_text(),
            said,
        },
        Call::Mint { .. } | Call::Revoke | Call::App | Call::Installations | Call::Verify => asked.refused(422, said),
    }
}

/// The host of a redirect: the rest could be anything.
fn redirection(answer: &Answer) -> String {
    let host = answer
        .header(LOCATION.as_str())
        .and_then(|to| Url::parse(to).ok())
        .and_then(|to| to.host().map(|host| host.to_string()));
    quote(host.as_deref().unwrap_or("another path"))
}
