//! HTTP: the connection pool, a request with GitHub's headers, a bounded answer.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use reqwest::{Certificate, Method, Request, Response, redirect};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::error::Error;
use crate::domain::quote;

/// GitHub refuses requests without a name.
const NAME: &str = concat!("github-token-manager/", env!("CARGO_PKG_VERSION"));
/// An answer is read up to here, in bytes: 500 repositories of some 6 kB, and room.
const LONGEST_ANSWER: usize = 8 << 20;
/// An error is read up to here, in bytes.
const LONGEST_ERROR: usize = 64 << 10;

/// An unused connection is closed after this long: a busy operator has no pause of this length, for an idle one a new connection costs
/// nothing that anyone waits for.
const IDLE: Duration = Duration::from_secs(5);

/// How GitHub is reached. The proxy variables of the environment are respected in any case.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// PEM certificates that are trusted beside the system's.
    pub ca_bundle: Option<Vec<u8>>,
    /// How long a connection may take, TLS included.
    pub connect_timeout: Duration,
    /// How long a request may take from its start to the last byte of the answer.
    pub total_timeout: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        let (connect_timeout, total_timeout) = (Duration::from_secs(5), Duration::from_secs(30));
        HttpOptions {
            ca_bundle: None,
            connect_timeout,
            total_timeout,
        }
    }
}

/// Why there is no HTTP client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The CA bundle is not one.
    #[error("ca_bundle {0}: it must be PEM certificates, each between BEGIN CERTIFICATE and END CERTIFICATE")]
    CaBundle(&'static str),
    /// TLS cannot be set up.
    #[error("the HTTPS client cannot be set up: {0}; an image without CA certificates needs a ca_bundle")]
    Tls(String),
}

/// A client with a connection pool. It follows no redirects: a JWT or a token goes to the host that was configured only.
///
/// # Errors
/// [`HttpError`]
pub fn http_client(options: &HttpOptions) -> Result<reqwest::Client, HttpError> {
    let mut builder = reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(options.connect_timeout)
        .timeout(options.total_timeout)
        // After a burst over HTTP/1.1 a hundred connections, with their buffers, would wait for the next one.
        .pool_idle_timeout(IDLE)
        // A connection that a firewall has forgotten is found out before it costs a request its whole time.
        .http2_keep_alive_interval(Duration::from_secs(15))
        .http2_keep_alive_timeout(Duration::from_secs(5));
    if let Some(pem) = &options.ca_bundle {
        let certificates = Certificate::from_pem_bundle(pem).map_err(|_| HttpError::CaBundle("cannot be read"))?;
        if certificates.is_empty() {
            return Err(HttpError::CaBundle("holds no certificate"));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|error| HttpError::Tls(cause(&error)))
}

/// A request with GitHub's headers; `bearer` is who asks, if it is anyone.
pub(super) fn request(
    method: Method,
    url: Url,
    bearer: Option<&SecretString>,
    api_version: &str,
    body: Option<Vec<u8>>,
) -> Result<Request, Error> {
    let version = HeaderValue::from_str(api_version).map_err(|_| {
        Error::InvalidRequest(format!(
            "api_version {:?} is not a date: write it like 2022-11-28",
            quote(api_version)
        ))
    })?;
    let mut request = Request::new(method, url);
    let headers = request.headers_mut();
    if let Some(bearer) = bearer {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", bearer.expose_secret()))
            .map_err(|_| Error::InvalidRequest("the token holds characters that no token has".to_owned()))?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
    }
    headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(NAME));
    headers.insert("x-github-api-version", version);
    if let Some(body) = body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(body.into());
    }
    Ok(request)
}

/// Why a body could not be read.
pub(super) enum BodyError {
    TooLong,
    Broken(reqwest::Error),
}

/// Reads a body, of a bounded length.
pub(super) async fn read(mut response: Response) -> Result<Vec<u8>, BodyError> {
    let success = response.status().is_success();
    let longest = if success { LONGEST_ANSWER } else { LONGEST_ERROR };
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Broken)? {
        if body.len() + chunk.len() > longest {
            // An error of any length is an error; its text is then not worth reading.
            return if success {
                Err(BodyError::TooLong)
            } else {
                Ok(Vec::new())
            };
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What went wrong, in the words of the innermost cause, which has the facts (a certificate, a name, a reset).
pub(super) fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = if error.source().is_some() {
        innermost.to_string()
    } else {
        "the request failed".to_owned()
    };
    let kind = match (error.is_timeout(), error.is_connect()) {
        (true, true) => "no connection in time: ",
        (true, false) => "no answer in time: ",
        (false, true) => "no connection: ",
        (false, false) => "",
    };
    let cure = if text.contains("certificate") {
        "; a private CA belongs into ca_bundle"
    } else {
        ""
    };
    format!("{kind}{}{cure}", quote(&text))
}
