//! `POST /app-manifests/{code}/conversions`: the App that a person has just registered from a manifest, with its private key. See
//! <https://docs.github.com/en/rest/apps/apps#create-a-github-app-from-a-manifest>.

use jiff::Timestamp;
use reqwest::{Client as Http, Method};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::answer::Answer;
use super::app::Account;
use super::http::{self, BodyError};
use crate::domain::BaseUrl;

/// Why GitHub did not hand out the App. No text holds the code, which may still be good, or anything of an answer but its `message`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConversionError {
    /// 404 or 422: no such code, or no longer.
    #[error(
        "GitHub at {base_url} does not take the code: {said}; a code is good once, for one hour, at the GitHub that made it. If \
         the App is on the list {apps}, make a private key on its page there; if not, begin again"
    )]
    Code {
        /// Which GitHub.
        base_url: String,
        /// GitHub's message.
        said: String,
        /// The address of the person's Apps.
        apps: String,
    },
    /// Any other refusal, such as a rate limit.
    #[error(
        "GitHub at {base_url} refuses to hand out the App (HTTP {status}): {said}; the code stays good for an hour: try again \
         with --code"
    )]
    Refused {
        /// HTTP status.
        status: u16,
        /// Which GitHub.
        base_url: String,
        /// GitHub's message.
        said: String,
    },
    /// No connection, no answer in time, or a server error.
    #[error("GitHub at {base_url} is not available: {problem}; the code stays good for an hour: try again with --code")]
    Unavailable {
        /// Which GitHub.
        base_url: String,
        /// What happened.
        problem: String,
    },
    /// An answer that cannot be understood.
    #[error("the answer of {base_url} is not GitHub's: {problem}; check --base-url and any proxy on the way")]
    InvalidAnswer {
        /// Which GitHub.
        base_url: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// A new App. The client secret and the webhook secret of GitHub's answer are never read: nobody here needs them.
#[derive(Clone, Debug, Deserialize)]
pub struct Registered {
    /// The App ID.
    pub id: u64,
    /// The client ID; not on old Enterprise Servers.
    #[serde(default)]
    pub client_id: Option<String>,
    /// The name in the App's addresses.
    pub slug: String,
    /// Who registered it.
    #[serde(default)]
    pub owner: Option<Account>,
    /// The App's page.
    pub html_url: String,
    /// The private key, PEM; `None` where the answer has none.
    #[serde(default)]
    pub pem: Option<SecretString>,
}

/// Exchanges the code for the App. GitHub does so once: whoever asks has to have a place for the key.
///
/// # Errors
/// [`ConversionError`]
pub async fn convert(
    http: &Http,
    base_url: &BaseUrl,
    api_version: &str,
    code: &SecretString,
    now: Timestamp,
) -> Result<Registered, ConversionError> {
    let unavailable = |problem: String| ConversionError::Unavailable {
        base_url: base_url.to_string(),
        problem,
    };
    let url = base_url.route(&["app-manifests", code.expose_secret(), "conversions"]);
    let request = http::request(Method::POST, url, None, api_version, None);
    let request = request.map_err(|error| unavailable(error.to_string()))?;
    // The address of a failed request is not repeated: it holds the code.
    let response = http.execute(request).await;
    let response = response.map_err(|error| unavailable(http::failure(&error.without_url(), base_url)))?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = http::read(response).await.map_err(|error| match error {
        BodyError::TooLong => unavailable("its answer is longer than 8 MiB".to_owned()),
        BodyError::Broken(error) => unavailable(http::failure(&error.without_url(), base_url)),
    })?;
    parse(base_url, &Answer::new(status, headers, body, now))
}

fn parse(base_url: &BaseUrl, answer: &Answer) -> Result<Registered, ConversionError> {
    let said = answer.said();
    let at = base_url.to_string();
    match answer.status() {
        201 => answer
            .read()
            .map_err(|problem| ConversionError::InvalidAnswer { base_url: at, problem }),
        404 | 422 => Err(ConversionError::Code {
            apps: format!("{}/settings/apps", base_url.web_url()),
            base_url: at,
            said,
        }),
        408 | 500..=599 => Err(ConversionError::Unavailable {
            problem: format!("HTTP {} {said}", answer.status()),
            base_url: at,
        }),
        status @ 400..=499 => Err(ConversionError::Refused {
            status,
            base_url: at,
            said,
        }),
        status => Err(ConversionError::InvalidAnswer {
            problem: format!("HTTP {status} is not expected here"),
            base_url: at,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderMap;
    use serde_json::{Value, json};

    fn answered(status: u16, body: &Value) -> Result<Registered, ConversionError> {
        let body = serde_json::to_vec(body).unwrap();
        let answer = Answer::new(status, HeaderMap::new(), body, Timestamp::UNIX_EPOCH);
        parse(&BaseUrl::GITHUB_COM.parse().unwrap(), &answer)
    }

    fn app() -> Value {
        json!({
            "id": 1, "slug": "acme-flux", "client_id": "Iv1.8a", "owner": {"login": "acme", "type": "Organization"},
            "html_url": "https://github.com/apps/acme-flux", "pem": "SECRET-PEM", "client_secret": "SECRET-CLIENT",
            "webhook_secret": "SECRET-HOOK",
        })
    }

    #[test]
    fn the_app_is_read_and_nothing_shows_its_secrets() {
        let registered = answered(201, &app()).unwrap();
        assert_eq!((registered.id, &*registered.slug), (1, "acme-flux"));
        assert_eq!(registered.owner.as_ref().unwrap().login, "acme");
        assert_eq!(registered.pem.as_ref().unwrap().expose_secret(), "SECRET-PEM");
        assert!(!format!("{registered:?}").contains("SECRET"));
    }

    #[test]
    fn an_answer_without_a_key_is_known_as_such() {
        for pem in [json!(null), json!({})] {
            let mut body = app();
            match &pem {
                Value::Null => body["pem"] = Value::Null,
                _ => drop(body.as_object_mut().unwrap().remove("pem")),
            }
            assert!(answered(201, &body).unwrap().pem.is_none());
        }
    }

    #[test]
    fn every_refusal_says_what_helps_and_nothing_of_the_body() {
        let message = json!({"message": "Not Found", "pem": "SECRET-PEM"});
        for (status, body, told) in [
            (404, &message, "\"Not Found\"; a code is good once, for one hour"),
            (422, &message, "a code is good once"),
            (403, &message, "HTTP 403"),
            (429, &message, "try again with --code"),
            (503, &message, "not available: HTTP 503"),
            (302, &message, "HTTP 302 is not expected"),
            (200, &message, "HTTP 200 is not expected"),
            (201, &json!({"id": "SECRET-PEM"}), "JSON error"),
            (201, &json!([]), "check --base-url"),
        ] {
            let error = answered(status, body).unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains("SECRET"), "{status}: {error}");
        }
    }
}
