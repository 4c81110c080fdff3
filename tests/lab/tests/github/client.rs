//! A plain HTTP client of the stand-in.

use std::time::Duration;

use lab::github::{GitHub, Settings};
use reqwest::header::HeaderMap;
use reqwest::{Certificate, Method};
use serde_json::Value;

/// What the stand-in answered.
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    /// Null when it is not JSON.
    pub json: Value,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn message(&self) -> &str {
        self.json["message"].as_str().unwrap_or_default()
    }

    #[track_caller]
    pub fn is(&self, status: u16, message: &str) {
        assert_eq!((self.status, self.message()), (status, message), "{}", self.json);
    }
}

/// A stand-in with its client.
pub struct Client {
    pub github: GitHub,
    http: reqwest::Client,
}

impl Client {
    pub async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    pub async fn start_with(settings: Settings) -> Self {
        let github = GitHub::start(settings).await.unwrap();
        let ca = github
            .ca_pem()
            .map(|pem| Certificate::from_pem(pem.as_bytes()).unwrap());
        let http = reqwest::Client::builder()
            .no_proxy()
            .user_agent("lab-tests")
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(30))
            .tls_certs_only(ca)
            .build()
            .unwrap();
        Self { github, http }
    }

    /// The ID of the one installation of the default settings.
    pub fn installation(&self) -> u64 {
        67_890
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        credential: &str,
        body: Option<&Value>,
    ) -> reqwest::Result<Reply> {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.github.url())
        };
        let mut request = self.http.request(method, url);
        if !credential.is_empty() {
            request = request.bearer_auth(credential);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?;
        Ok(Reply {
            status,
            headers,
            json: serde_json::from_slice(&bytes).unwrap_or_default(),
        })
    }

    pub async fn get(&self, path: &str, credential: &str) -> Reply {
        self.send(Method::GET, path, credential, None).await.unwrap()
    }

    pub async fn post(&self, path: &str, credential: &str, body: &Value) -> Reply {
        self.send(Method::POST, path, credential, Some(body)).await.unwrap()
    }

    pub async fn get_as_app(&self, path: &str) -> Reply {
        self.get(path, &self.github.jwt().unwrap()).await
    }

    pub async fn try_mint(&self, body: &Value) -> reqwest::Result<Reply> {
        let path = format!("/app/installations/{}/access_tokens", self.installation());
        self.send(Method::POST, &path, &self.github.jwt().unwrap(), Some(body))
            .await
    }

    pub async fn mint(&self, body: Value) -> Reply {
        self.try_mint(&body).await.unwrap()
    }

    /// A token of that scope.
    pub async fn token(&self, body: Value) -> String {
        let reply = self.mint(body).await;
        assert_eq!(reply.status, 201, "{}", reply.json);
        reply.json["token"].as_str().unwrap().to_owned()
    }
}

/// Waits for a condition.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}
