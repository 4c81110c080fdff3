//! One request, read whole.

use std::sync::Arc;

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Method};

use super::answer::{Answer, error, text};
use super::digest::{Sha256, sha256};
use super::fault::Route;
use super::jwt::Issuer;
use super::limit::Caller;
use super::shared::{Access, Shared};

/// The path below which an Enterprise Server has its API.
const ENTERPRISE: &str = "/api/v3";

/// One request.
pub(super) struct Call {
    pub shared: Arc<Shared>,
    pub method: Method,
    /// Path without `/api/v3`.
    pub path: String,
    pub query: String,
    /// Base URL of the API as the client called it.
    pub api: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What the request brings to be let in.
pub(super) enum Credentials {
    None,
    /// A JWT or a token: as bearer, or as the password of any user.
    Token(String),
}

impl Call {
    pub fn new(shared: Arc<Shared>, head: hyper::http::request::Parts, body: Bytes) -> Self {
        let whole = head.uri.path();
        let (path, prefix) = match whole.strip_prefix(ENTERPRISE) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => (rest, ENTERPRISE),
            _ => (whole, ""),
        };
        let mut call = Self {
            api: format!("{}{prefix}", shared.url),
            path: path.to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            method: head.method,
            headers: head.headers,
            shared,
            body,
        };
        if let Credentials::Token(credential) = call.credentials()
            && let Some(other) = call.shared.other(&credential)
        {
            call.shared = other;
        }
        call
    }

    /// The parts of the path.
    pub fn segments(&self) -> Vec<&str> {
        self.path.split('/').filter(|segment| !segment.is_empty()).collect()
    }

    /// A query parameter that is a number.
    pub fn number(&self, name: &str) -> Option<usize> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(key, _)| *key == name)
            .find_map(|(_, value)| value.parse().ok())
    }

    pub fn credentials(&self) -> Credentials {
        let header = self.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, value)) = header.and_then(|header| header.split_once(' ')) else {
            return Credentials::None;
        };
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" | "token" => Credentials::Token(value.trim().to_owned()),
            "basic" => {
                let decoded = STANDARD.decode(value.trim()).unwrap_or_default();
                let pair = String::from_utf8_lossy(&decoded).into_owned();
                Credentials::Token(
                    pair.split_once(':')
                        .map(|(_, password)| password.to_owned())
                        .unwrap_or_default(),
                )
            }
            _ => Credentials::None,
        }
    }

    /// Who the rate limits are counted for; nobody for git and for strangers.
    pub fn caller(&self, route: Route) -> Option<Caller> {
        match route {
            Route::Mint | Route::App => Some(Caller::App),
            Route::Revoke | Route::Token | Route::Other => {
                let Credentials::Token(token) = self.credentials() else {
                    return None;
                };
                let state = self.shared.state();
                state
                    .records
                    .find(&token)
                    .map(|mint| Caller::Installation(mint.installation))
            }
            Route::Git => None,
        }
    }

    /// Checks the App's JWT; its hash.
    pub fn app(&self) -> Result<Sha256, Answer> {
        let Credentials::Token(jwt) = self.credentials() else {
            return Err(error(401, text::JWT_UNDECODABLE));
        };
        let (keys, now) = {
            let mut state = self.shared.state();
            state.records.jwt_came(&jwt);
            (state.keys.clone(), state.now().as_second())
        };
        let issuer = Issuer {
            app_id: self.shared.app_id,
            client_id: &self.shared.client_id,
            keys: &keys.iter().map(|key| key.verifier()).collect::<Vec<_>>(),
        };
        issuer.verify(&jwt, now)?;
        let hash = sha256(jwt.as_bytes());
        self.shared.state().records.jwt(hash);
        Ok(hash)
    }

    /// Checks the token; what it may do.
    pub fn token(&self) -> Result<Access, Answer> {
        match self.credentials() {
            Credentials::None => Err(error(401, "Requires authentication")),
            Credentials::Token(token) => self.shared.state().access(&token).map_err(Answer::from),
        }
    }
}
