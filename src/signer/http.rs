//! HTTP for the key services that are spoken to directly: bounded answers, few repetitions, no redirects.

use std::error::Error as _;
use std::time::Duration;

use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode, header, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ServiceKey, TOTAL_TIMEOUT};
use crate::domain::{SignError, innermost, quote};

/// An answer is read up to here, in bytes: a list of 100 versions, and room.
const LONGEST_ANSWER: usize = 1 << 20;
/// How long a metadata service, which is one hop away, may take to be connected to: where there is none, nobody says so.
const LOCAL: Duration = Duration::from_secs(2);
/// How often a request is sent at most, when the service is busy or the connection breaks.
const TRIES: u32 = 3;
/// The first pause between two tries; it doubles.
const PAUSE: Duration = Duration::from_millis(200);
/// A service that says when to come again is waited for in place only this long.
const SHORT: Duration = Duration::from_secs(2);
/// When to come again where the service does not say it.
const COME_AGAIN: Duration = Duration::from_secs(10);
/// What a service says of that is believed within these bounds.
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(60);
/// The headers that carry a credential.
const CREDENTIALS: [&str; 3] = ["authorization", "x-vault-token", "x-identity-header"];

/// A status and a body.
pub(super) struct Answer {
    pub status: u16,
    pub retry_after: Option<Duration>,
    /// The header `WWW-Authenticate`.
    pub challenge: Option<String>,
    /// The header `Location`: redirects are not followed here.
    pub location: Option<String>,
    body: Vec<u8>,
    /// What was sent with the request and must not be shown, even if the service says it.
    sent: Vec<SecretString>,
}

impl Answer {
    /// The body as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body as it is: it may be a secret.
    pub fn body(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text at a JSON pointer of the body, made safe; empty where there is none.
    pub fn text(&self, pointer: &str) -> String {
        let body: Option<Value> = self.json();
        let text = body
            .as_ref()
            .and_then(|body| body.pointer(pointer))
            .and_then(Value::as_str);
        let shown = |text: String, secret: &SecretString| text.replace(secret.expose_secret(), "…");
        let text = text.unwrap_or_default().to_owned();
        quote(self.sent.iter().fold(text, shown).trim())
    }
}

/// A client for services; `ca` are PEM certificates to trust beside the system's.
pub(super) fn client(key: &ServiceKey, ca: Option<&[u8]>) -> Result<Client, SignError> {
    let unusable = |what: String| SignError::Unavailable(format!("key {key}: {what}"));
    let mut builder = base();
    if let Some(pem) = ca {
        let certificates = Certificate::from_pem_bundle(pem).unwrap_or_default();
        if certificates.is_empty() {
            return Err(unusable("the CA file holds no PEM certificate".to_owned()));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    builder
        .build()
        .map_err(|error| unusable(format!("the HTTPS client cannot be set up: {}", cause(&error))))
}

/// A client for a metadata server, which is on this machine's own link: no proxy leads there.
pub(super) fn local_client(key: &ServiceKey) -> Result<Client, SignError> {
    base().no_proxy().connect_timeout(LOCAL).build().map_err(|error| {
        SignError::Unavailable(format!(
            "key {key}: the HTTP client cannot be set up: {}",
            cause(&error)
        ))
    })
}

fn base() -> reqwest::ClientBuilder {
    Client::builder()
        .redirect(redirect::Policy::none())
        .referer(false)
        .user_agent(concat!("github-token-manager/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(TOTAL_TIMEOUT / 2)
        // Within the total, so that it is known which of several services is the slow one.
        .timeout(TOTAL_TIMEOUT * 4 / 5)
}

/// A form as the body, as OAuth wants it.
pub(super) fn form(request: RequestBuilder, pairs: &[(&str, &str)]) -> RequestBuilder {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish();
    request
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(body)
}

/// Sends a request, again if the service is busy or the connection breaks: asking for a signature twice does no harm.
/// `who` is the service in an error's text.
///
/// # Errors
/// [`SignError::Unavailable`], when there is no answer; [`SignError::Throttled`]; [`SignError::Slow`].
pub(super) async fn send(who: &str, request: RequestBuilder) -> Result<Answer, SignError> {
    let (mut pause, sent) = (PAUSE, credentials(&request));
    for _ in 1..TRIES {
        let Some(copy) = request.try_clone() else { break };
        let wait = match once(copy, &sent).await {
            Ok(answer) => match busy(&answer) {
                Some(wait) if wait <= SHORT => wait.max(pause),
                _ => return checked(who, answer),
            },
            Err(error) if error.is_timeout() => return Err(unreachable(who, &error)),
            Err(_) => pause,
        };
        tokio::time::sleep(wait).await;
        pause *= 2;
    }
    match once(request, &sent).await {
        Ok(answer) => checked(who, answer),
        Err(error) => Err(unreachable(who, &error)),
    }
}

/// The credentials of a request.
fn credentials(request: &RequestBuilder) -> Vec<SecretString> {
    let Some(Ok(request)) = request.try_clone().map(RequestBuilder::build) else {
        return Vec::new();
    };
    let values = CREDENTIALS
        .iter()
        .filter_map(|name| request.headers().get(*name)?.to_str().ok());
    let secrets = values.map(|value| value.trim_start_matches("Bearer ").trim());
    secrets
        .filter(|secret| !secret.is_empty())
        .map(SecretString::from)
        .collect()
}

/// How long a busy service is to be left alone; none for one that has answered.
fn busy(answer: &Answer) -> Option<Duration> {
    let busy = matches!(answer.status, 429 | 500 | 502 | 503 | 504);
    busy.then(|| answer.retry_after.unwrap_or_default())
}

fn checked(who: &str, answer: Answer) -> Result<Answer, SignError> {
    let said = [
        "/error/message",
        "/error_description",
        "/errors/0",
        "/message",
        "/error",
    ]
    .iter()
    .map(|pointer| answer.text(pointer))
    .find(|text| !text.is_empty());
    let said = said.map_or_else(String::new, |said| format!(": {said}"));
    match answer.status {
        429 => Err(SignError::Throttled {
            message: format!("{who} wants fewer requests (HTTP 429){said}; it is asked again later"),
            wait: answer.retry_after.unwrap_or(COME_AGAIN).clamp(SOONEST, LATEST),
        }),
        status @ 500.. => Err(SignError::Unavailable(format!(
            "{who} is not available (HTTP {status}){said}; it is asked again by itself"
        ))),
        _ => Ok(answer),
    }
}

async fn once(request: RequestBuilder, sent: &[SecretString]) -> Result<Answer, reqwest::Error> {
    let mut response = request.send().await?;
    let (status, retry_after) = (response.status(), retry_after(&response));
    let text = |name| {
        let value = response.headers().get(name);
        value.and_then(|value| Some(value.to_str().ok()?.to_owned()))
    };
    let (challenge, location) = (text(header::WWW_AUTHENTICATE), text(header::LOCATION));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_ANSWER {
            // What is longer is no answer of a key service; cut off, it cannot be read as one.
            body.clear();
            break;
        }
    }
    Ok(Answer {
        status: status.as_u16(),
        retry_after,
        challenge,
        location,
        body,
        sent: sent.to_vec(),
    })
}

/// The header `Retry-After` in seconds; the services do not give a date.
fn retry_after(response: &Response) -> Option<Duration> {
    let of_interest = matches!(
        response.status(),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    );
    let seconds = response
        .headers()
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    of_interest.then(|| Duration::from_secs(seconds))
}

fn unreachable(who: &str, error: &reqwest::Error) -> SignError {
    let text = cause(error);
    if error.is_timeout() {
        return SignError::Slow(format!(
            "{who} does not answer in time: {text}; check its address, proxies and firewalls"
        ));
    }
    let cure = if text.contains("certificate") {
        "a private CA belongs into the CA file that the README names for the provider"
    } else {
        "check its address, DNS, proxies and firewalls"
    };
    SignError::Unavailable(format!("{who} cannot be reached: {text}; {cure}"))
}

/// What went wrong, in the words of the innermost cause.
fn cause(error: &reqwest::Error) -> String {
    if error.source().is_some() {
        quote(&innermost(error).to_string())
    } else {
        "the request failed".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_says_is_shown_without_the_blanks_around_it_and_without_what_was_sent() {
        let answer = Answer {
            status: 403,
            retry_after: None,
            challenge: None,
            location: None,
            body: br#"{"errors": ["1 error occurred:\n\t* no rights for hvs.x\n\n"]}"#.to_vec(),
            sent: vec!["hvs.x".to_owned().into()],
        };
        assert_eq!(answer.text("/errors/0"), "1 error occurred:  * no rights for …");
        assert_eq!(answer.text("/errors/1"), "");
    }
}
