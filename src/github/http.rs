//! HTTP: the connection pool, a request with GitHub's headers, a bounded answer.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use reqwest::{Certificate, Method, Request, Response, redirect};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::error::Error;
use super::proxy::{self, Proxy};
use crate::domain::digest::base64_sha256;
use crate::domain::{BaseUrl, innermost, quote};

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

/// What a CA bundle is.
const BUNDLE: &str = "it must be PEM certificates, each between BEGIN CERTIFICATE and END CERTIFICATE";

/// Why there is no HTTP client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The CA bundle is not one.
    #[error("ca_bundle {0}: {BUNDLE}")]
    CaBundle(&'static str),
    /// TLS cannot be set up.
    #[error("the HTTPS client cannot be set up: {0}; an image without CA certificates needs a ca_bundle")]
    Tls(String),
}

impl HttpError {
    /// What is wrong, where the CA bundle stands in this field.
    #[must_use]
    pub fn in_field(&self, field: &str) -> String {
        match self {
            HttpError::CaBundle(what) => format!("{field} {what}: {BUNDLE}"),
            HttpError::Tls(_) => self.to_string(),
        }
    }
}

/// A client with a connection pool. It follows no redirects: a JWT or a token goes to the host that was configured only.
///
/// # Errors
/// [`HttpError`]
pub fn http_client(options: &HttpOptions) -> Result<reqwest::Client, HttpError> {
    let Some(pem) = &options.ca_bundle else {
        return built(builder(options));
    };
    let certificates = Certificate::from_pem_bundle(pem).map_err(|_| HttpError::CaBundle("cannot be read"))?;
    if certificates.is_empty() {
        return Err(HttpError::CaBundle("holds no certificate"));
    }
    built(builder(options).tls_certs_merge(certificates)).map_err(|error| match built(builder(options)) {
        // Without the bundle it would do.
        Ok(_) => HttpError::CaBundle("holds a damaged certificate"),
        Err(_) => error,
    })
}

fn built(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, HttpError> {
    builder.build().map_err(|error| HttpError::Tls(cause(&error)))
}

fn builder(options: &HttpOptions) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(options.connect_timeout)
        .timeout(options.total_timeout)
        // After a burst over HTTP/1.1 a hundred connections, with their buffers, would wait for the next one.
        .pool_idle_timeout(IDLE)
        // A connection that a firewall has forgotten is found out before it costs a request its whole time.
        .http2_keep_alive_interval(Duration::from_secs(15))
        .http2_keep_alive_timeout(Duration::from_secs(5))
}

/// The HTTP clients in use, by the certificates that they trust beside the system's: each holds all of the system's, too, and has
/// connections of its own, and so Apps that trust the same share one. A clone is a handle on the same.
#[derive(Clone, Default)]
pub struct HttpClients(Arc<Mutex<HashMap<Option<String>, Weak<reqwest::Client>>>>);

impl HttpClients {
    /// The client that trusts this CA bundle; it is kept for as long as someone uses it.
    ///
    /// # Errors
    /// [`HttpError`]
    pub fn trusting(&self, ca_bundle: Option<&[u8]>) -> Result<Arc<reqwest::Client>, HttpError> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = ca_bundle.map(base64_sha256);
        if let Some(shared) = clients.get(&name).and_then(Weak::upgrade) {
            return Ok(shared);
        }
        let client = Arc::new(http_client(&HttpOptions {
            ca_bundle: ca_bundle.map(<[u8]>::to_vec),
            ..HttpOptions::default()
        })?);
        clients.retain(|_, client| client.strong_count() > 0);
        clients.insert(name, Arc::downgrade(&client));
        Ok(client)
    }
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

/// What went wrong on the way to this GitHub, with what helps.
pub(super) fn failure(error: &reqwest::Error, base_url: &BaseUrl) -> String {
    let text = cause(error);
    let kind = match (error.is_timeout(), error.is_connect()) {
        (true, true) => "no connection in time",
        (true, false) => return format!("no answer in time: {text}"),
        (false, true) => "no connection",
        (false, false) => return text,
    };
    match proxy::on_the_way_to(base_url) {
        Some(Proxy { place, variable }) => format!(
            "{kind} through the proxy {place} of {variable}: {text}; see to the proxy, correct {variable}, or go past it by NO_PROXY"
        ),
        None if text.contains(AUTHORITY) => format!("{kind}: {text}"),
        None => {
            format!("{kind}: {text}; check base_url, DNS and firewalls, and whether it takes a proxy (HTTPS_PROXY)")
        }
    }
}

/// What helps where a certificate is not trusted.
const AUTHORITY: &str = "; a private CA belongs into ca_bundle";

/// The words of the innermost cause, which has the facts (a certificate, a name, a reset).
fn cause(error: &reqwest::Error) -> String {
    let text = if error.source().is_some() {
        innermost(error).to_string()
    } else {
        "the request failed".to_owned()
    };
    let cure = if text.contains("certificate") { AUTHORITY } else { "" };
    format!("{}{cure}", quote(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_trusts_the_same_shares_a_client_for_as_long_as_anyone_uses_it() {
        let authority = |name: &str| {
            let key = rcgen::KeyPair::generate().expect("a key");
            let parameters = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
            parameters.self_signed(&key).expect("a certificate").pem().into_bytes()
        };
        let (one, other) = (authority("one.test"), authority("other.test"));
        let clients = HttpClients::default();
        let trusting = |bundle: Option<&[u8]>| clients.trusting(bundle).expect("a client");
        let (plain, first, second) = (trusting(None), trusting(Some(&one)), trusting(Some(&other)));
        assert!(Arc::ptr_eq(&plain, &trusting(None)) && Arc::ptr_eq(&first, &trusting(Some(&one))));
        assert!(!Arc::ptr_eq(&plain, &first) && !Arc::ptr_eq(&first, &second));
        drop((first, second));
        let _third = trusting(Some(&authority("third.test")));
        assert_eq!(clients.0.lock().expect("it is whole").len(), 2);
    }
}
