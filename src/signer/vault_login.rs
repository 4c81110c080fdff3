//! How the operator gets a Vault token: it has one, or it logs in by its service account or by AppRole. A token is renewed while
//! Vault does that, and had anew when not.
//!
//! | method | chosen by | read |
//! |---|---|---|
//! | `token` | `VAULT_TOKEN`, `VAULT_TOKEN_FILE` | the file anew each time, since an agent replaces it |
//! | `kubernetes` | `VAULT_ROLE` | `VAULT_K8S_TOKEN_FILE`, the service account's by default |
//! | `approle` | `VAULT_ROLE_ID` | `VAULT_SECRET_ID`, `VAULT_SECRET_ID_FILE` |
//!
//! `VAULT_AUTH_METHOD` chooses where several are set, `VAULT_AUTH_PATH` is the method's mount where it is another than its name.

use std::time::Duration;

use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::bearer::{Bearer, BearerCache};
use super::http;
use super::vault::{Server, variable};
use super::{Ambient, ServiceKey};
use crate::domain::SignError;

/// Where Kubernetes puts a service account's token.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// Where the command line client keeps its token, below the home folder.
const TOKEN_HELPER: &str = ".vault-token";

/// A way to a token.
pub(super) struct Login {
    key: String,
    method: LoginMethod,
}

enum LoginMethod {
    /// A token that someone else looks after.
    Token(SecretString),
    /// The same, in a file.
    TokenFile(String),
    Kubernetes {
        path: String,
        role: String,
        file: String,
    },
    AppRole {
        path: String,
        role_id: String,
        secret: Option<AppRoleSecret>,
    },
}

enum AppRoleSecret {
    Text(SecretString),
    File(String),
}

#[derive(Deserialize)]
struct AuthAnswer {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: SecretString,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

#[derive(Deserialize)]
struct LookupAnswer {
    data: Lookup,
}

#[derive(Deserialize)]
struct Lookup {
    #[serde(default)]
    ttl: u64,
    #[serde(default)]
    renewable: bool,
}

impl Login {
    /// Reads the method from the variables.
    pub fn new(key: &ServiceKey, ambient: &Ambient) -> Result<Self, SignError> {
        let get = |name| variable(ambient, name);
        let text = |name| get(name).map(str::to_owned);
        let wrong = |what: &str| SignError::NoCredentials(format!("key {key}: {what}"));
        let chosen = match get("AUTH_METHOD") {
            Some(method) => method,
            None if get("TOKEN").is_some() || get("TOKEN_FILE").is_some() => "token",
            None if get("ROLE_ID").is_some() => "approle",
            None if get("ROLE").is_some() => "kubernetes",
            None => "token",
        };
        let path = |default: &str| {
            let path = get("AUTH_PATH").unwrap_or(default).trim_matches('/');
            path.strip_prefix("auth/").unwrap_or(path).to_owned()
        };
        let method = match chosen {
            "token" => match (get("TOKEN"), text("TOKEN_FILE"), ambient.get("HOME")) {
                (Some(token), ..) => LoginMethod::Token(token.into()),
                (None, Some(file), _) => LoginMethod::TokenFile(file),
                (None, None, Some(home)) => LoginMethod::TokenFile(format!("{home}/{TOKEN_HELPER}")),
                (None, None, None) => return Err(wrong(NONE)),
            },
            "kubernetes" => LoginMethod::Kubernetes {
                path: path("kubernetes"),
                role: text("ROLE")
                    .ok_or_else(|| wrong("VAULT_ROLE is missing: give the role of Vault's Kubernetes auth"))?,
                file: text("K8S_TOKEN_FILE").unwrap_or_else(|| SERVICE_ACCOUNT.to_owned()),
            },
            "approle" => LoginMethod::AppRole {
                path: path("approle"),
                role_id: text("ROLE_ID")
                    .ok_or_else(|| wrong("VAULT_ROLE_ID is missing: give the AppRole's role ID"))?,
                secret: match (get("SECRET_ID"), text("SECRET_ID_FILE")) {
                    (Some(secret), _) => Some(AppRoleSecret::Text(secret.into())),
                    (None, file) => file.map(AppRoleSecret::File),
                },
            },
            other => {
                let other = crate::domain::quote(other);
                return Err(wrong(&format!(
                    "VAULT_AUTH_METHOD {other:?} is not served: give token, kubernetes or approle"
                )));
            }
        };
        let key = key.to_string();
        Ok(Login { key, method })
    }

    /// What helps when a token that was given to the operator is not good; none for one that it has had by itself just now.
    pub fn cure(&self) -> Option<&'static str> {
        match self.method {
            LoginMethod::Token(_) => Some("give a new one by VAULT_TOKEN, or let the operator log in by VAULT_ROLE"),
            LoginMethod::TokenFile(_) => Some("whoever writes its file has to renew it"),
            LoginMethod::Kubernetes { .. } | LoginMethod::AppRole { .. } => None,
        }
    }

    /// The token in use, renewed or had anew when it grows old.
    pub async fn token(&self, server: &Server, cache: &BearerCache) -> Result<SecretString, SignError> {
        // A file is read each time: only whoever writes it knows when it changes.
        if let LoginMethod::TokenFile(path) = &self.method {
            return self.read(path).await;
        }
        cache.get(|old| self.had(server, old)).await
    }

    async fn had(&self, server: &Server, old: Option<SecretString>) -> Result<Bearer, SignError> {
        if let Some(old) = old
            && let Some(renewed) = self.renewed(server, &old).await
        {
            return Ok(renewed);
        }
        match &self.method {
            LoginMethod::Token(token) => self.found(server, token).await,
            LoginMethod::TokenFile(path) => self.read(path).await.map(Bearer::lasting),
            LoginMethod::Kubernetes { path, role, file } => {
                let jwt = self.read(file).await?;
                let body = json!({"role": role, "jwt": jwt.expose_secret()});
                self.log_in(server, path, &body).await
            }
            LoginMethod::AppRole { path, role_id, secret } => {
                let secret = match secret {
                    None => None,
                    Some(AppRoleSecret::Text(secret)) => Some(secret.clone()),
                    Some(AppRoleSecret::File(file)) => Some(self.read(file).await?),
                };
                let secret = secret.as_ref().map(|secret| secret.expose_secret());
                self.log_in(server, path, &json!({"role_id": role_id, "secret_id": secret}))
                    .await
            }
        }
    }

    async fn log_in(&self, server: &Server, path: &str, body: &Value) -> Result<Bearer, SignError> {
        let key = &self.key;
        let request = server.request(Method::POST, &format!("auth/{path}/login")).json(body);
        let answer = server.send(&format!("key {key}: {}", server.name()), request).await?;
        let auth = (answer.status == 200).then(|| answer.json::<AuthAnswer>()).flatten();
        let Some(AuthAnswer { auth }) = auth else {
            let (status, said) = (answer.status, answer.text("/errors/0"));
            return Err(SignError::NoCredentials(format!(
                "key {key}: {} refuses the login at auth/{path} (HTTP {status}): {said}; check the role, what it is bound to, and \
                 the mount of the auth method (VAULT_AUTH_PATH)",
                server.name()
            )));
        };
        Ok(auth.into())
    }

    /// A token's life, where its policy lets it look at itself; it is used as it is in any case.
    async fn found(&self, server: &Server, token: &SecretString) -> Result<Bearer, SignError> {
        let looked: Option<LookupAnswer> = self.look(server, token).await?.json();
        let lifetime = looked
            .map(|looked| looked.data)
            .filter(|data| data.renewable && data.ttl > 0);
        Ok(Bearer {
            token: token.clone(),
            lifetime: lifetime.map(|data| Duration::from_secs(data.ttl)),
        })
    }

    async fn look(&self, server: &Server, token: &SecretString) -> Result<http::Answer, SignError> {
        let request = server.request(Method::GET, "auth/token/lookup-self");
        let request = request.header("X-Vault-Token", token.expose_secret());
        server
            .send(&format!("key {}: {}", self.key, server.name()), request)
            .await
    }

    /// The same token with a longer life; none, when Vault does not grant one worth having.
    async fn renewed(&self, server: &Server, token: &SecretString) -> Option<Bearer> {
        let request = server.request(Method::POST, "auth/token/renew-self");
        let request = request.header("X-Vault-Token", token.expose_secret()).json(&json!({}));
        let answer = server
            .send(&format!("key {}: {}", self.key, server.name()), request)
            .await
            .ok()?;
        let AuthAnswer { auth } = (answer.status == 200).then(|| answer.json()).flatten()?;
        // Close to the end of its longest life a token is renewed for the rest of that alone.
        (auth.renewable && auth.lease_duration >= SHORTEST_RENEWAL).then(|| auth.into())
    }

    /// Whether Vault lets the token in use look at itself. One of a policy that does not allow that cannot be told from one that
    /// Vault does not know any more.
    pub async fn knows(&self, server: &Server, cache: &BearerCache) -> Result<bool, SignError> {
        let token = self.token(server, cache).await?;
        let status = self.look(server, &token).await?.status;
        Ok(status != 403)
    }

    async fn read(&self, path: &str) -> Result<SecretString, SignError> {
        let key = &self.key;
        match tokio::fs::read_to_string(path).await {
            Ok(text) => Ok(text.trim().to_owned().into()),
            Err(_) if path.ends_with(TOKEN_HELPER) => Err(SignError::NoCredentials(format!("key {key}: {NONE}"))),
            Err(error) => Err(SignError::NoCredentials(format!(
                "key {key}: {path} cannot be read: {error}; check what is mounted there"
            ))),
        }
    }
}

/// In seconds.
const SHORTEST_RENEWAL: u64 = 10;

const NONE: &str = "there are no Vault credentials: set VAULT_ROLE for Kubernetes auth, VAULT_ROLE_ID and VAULT_SECRET_ID for \
                    AppRole, or VAULT_TOKEN";

impl From<Auth> for Bearer {
    fn from(auth: Auth) -> Self {
        Bearer {
            token: auth.client_token,
            lifetime: (auth.lease_duration > 0).then(|| Duration::from_secs(auth.lease_duration)),
        }
    }
}
