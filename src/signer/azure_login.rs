//! Azure's credentials, in the order that its own libraries have: a secret or certificate in the environment, workload identity, managed identity.
//! See <https://learn.microsoft.com/en-us/azure/developer/intro/azure-developer-authentication-overview>.
//!
//! | identity | read |
//! |---|---|
//! | environment | `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, and `AZURE_CLIENT_SECRET` or `AZURE_CLIENT_CERTIFICATE_PATH` (PEM) |
//! | workload identity | `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, `AZURE_FEDERATED_TOKEN_FILE`, which AKS sets |
//! | managed identity | `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`, else the machine's metadata server; `AZURE_CLIENT_ID` for a user-assigned one |
//!
//! `AZURE_AUTHORITY_HOST` is another cloud's login, `AZURE_POD_IDENTITY_AUTHORITY_HOST` another metadata server.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use reqwest::{Client, RequestBuilder};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::bearer::Bearer;
use super::http;
use super::{Ambient, PemKey, ServiceKey};
use crate::domain::SignError;
use crate::domain::jwt::assemble;

const AUTHORITY: &str = "https://login.microsoftonline.com";
const METADATA: &str = "http://169.254.169.254";

/// A way to an access token for one resource.
pub(super) struct Login {
    key: String,
    client: Client,
    local: Client,
    resource: String,
    method: LoginMethod,
    clock: fn() -> Timestamp,
}

enum LoginMethod {
    Application {
        url: String,
        client_id: String,
        proof: Proof,
    },
    Managed {
        url: String,
        header: Option<SecretString>,
        client_id: Option<String>,
    },
}

/// What shows that one is the application.
enum Proof {
    Secret(SecretString),
    /// A file with a token of the cluster's, which is replaced before it expires.
    Federated(String),
    /// A PEM file of a certificate and its private key.
    Certificate(String),
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: SecretString,
    expires_in: Option<Seconds>,
}

/// The login answers with a number, metadata servers with a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(u64),
    Text(String),
}

impl Login {
    /// Reads the method from the variables; `resource` is what the token is for.
    pub fn new(key: &ServiceKey, ambient: &Ambient, client: Client, resource: &str) -> Result<Self, SignError> {
        let text = |name| ambient.get(name).map(str::to_owned);
        let proof = text("AZURE_CLIENT_SECRET")
            .map(|secret| Proof::Secret(secret.into()))
            .or_else(|| text("AZURE_CLIENT_CERTIFICATE_PATH").map(Proof::Certificate))
            .or_else(|| text("AZURE_FEDERATED_TOKEN_FILE").map(Proof::Federated));
        let method = match (proof, text("AZURE_TENANT_ID"), text("AZURE_CLIENT_ID")) {
            (Some(proof), Some(tenant), Some(client_id)) => {
                let authority = ambient
                    .get("AZURE_AUTHORITY_HOST")
                    .unwrap_or(AUTHORITY)
                    .trim_end_matches('/');
                LoginMethod::Application {
                    url: format!("{authority}/{tenant}/oauth2/v2.0/token"),
                    client_id,
                    proof,
                }
            }
            (Some(_), ..) => {
                return Err(SignError::NoCredentials(format!(
                    "key {key}: AZURE_TENANT_ID or AZURE_CLIENT_ID is missing beside the secret, certificate or token file; \
                     on AKS, label the pod azure.workload.identity/use and annotate its service account"
                )));
            }
            (None, _, client_id) => match (text("IDENTITY_ENDPOINT"), text("IDENTITY_HEADER")) {
                (Some(endpoint), Some(header)) => LoginMethod::Managed {
                    url: format!("{endpoint}?api-version=2019-08-01"),
                    header: Some(header.into()),
                    client_id,
                },
                _ => {
                    let host = ambient.get("AZURE_POD_IDENTITY_AUTHORITY_HOST").unwrap_or(METADATA);
                    let host = host.trim_end_matches('/');
                    LoginMethod::Managed {
                        url: format!("{host}/metadata/identity/oauth2/token?api-version=2018-02-01"),
                        header: None,
                        client_id,
                    }
                }
            },
        };
        Ok(Login {
            key: key.to_string(),
            client,
            local: http::local_client(key)?,
            resource: resource.to_owned(),
            method,
            clock: ambient.clock,
        })
    }

    /// A new access token.
    pub async fn token(&self) -> Result<Bearer, SignError> {
        match &self.method {
            LoginMethod::Application { url, client_id, proof } => {
                let secret = match proof {
                    Proof::Secret(secret) => secret.clone(),
                    Proof::Federated(path) => self.read(path).await?,
                    Proof::Certificate(path) => self.assertion(&self.read(path).await?, client_id, url)?,
                };
                let scope = format!("{}/.default", self.resource);
                let mut form = vec![
                    ("grant_type", "client_credentials"),
                    ("client_id", client_id),
                    ("scope", &scope),
                ];
                match proof {
                    Proof::Secret(_) => form.push(("client_secret", secret.expose_secret())),
                    Proof::Federated(_) | Proof::Certificate(_) => form.extend([
                        (
                            "client_assertion_type",
                            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                        ),
                        ("client_assertion", secret.expose_secret()),
                    ]),
                }
                let cure = "check AZURE_TENANT_ID, AZURE_CLIENT_ID and the secret, or the federated credential of the application";
                self.asked(http::form(self.client.post(url), &form), cure).await
            }
            LoginMethod::Managed { url, header, client_id } => {
                let mut query = vec![("resource", self.resource.as_str())];
                query.extend(client_id.as_deref().map(|id| ("client_id", id)));
                let query = url::form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(query)
                    .finish();
                let mut request = self.local.get(format!("{url}&{query}"));
                request = match header {
                    Some(secret) => request.header("X-IDENTITY-HEADER", secret.expose_secret()),
                    None => request.header("Metadata", "true"),
                };
                let cure = "give the node or the workload an identity, or set AZURE_CLIENT_ID, AZURE_TENANT_ID and \
                            AZURE_CLIENT_SECRET or AZURE_FEDERATED_TOKEN_FILE";
                self.asked(request, cure).await.map_err(|error| match error {
                    SignError::Unavailable(text) | SignError::Slow(text) => {
                        SignError::NoCredentials(format!("{text}; {cure}"))
                    }
                    other => other,
                })
            }
        }
    }

    /// A JWT that proves the certificate's key: <https://learn.microsoft.com/en-us/entra/identity-platform/certificate-credentials>.
    fn assertion(&self, pem: &SecretString, client_id: &str, url: &str) -> Result<SecretString, SignError> {
        let unusable = |what: String| {
            SignError::NoCredentials(format!(
                "key {}: AZURE_CLIENT_CERTIFICATE_PATH: {what}; give a PEM file with the certificate and its RSA key",
                self.key
            ))
        };
        let pem = pem.expose_secret();
        let key = PemKey::parse(pem.as_bytes()).map_err(|error| unusable(error.to_string()))?;
        let certificate = pem
            .split_once("-----BEGIN CERTIFICATE-----")
            .and_then(|(_, rest)| rest.split_once("-----END CERTIFICATE-----"))
            .and_then(|(body, _)| STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok())
            .ok_or_else(|| unusable("it holds no certificate".to_owned()))?;
        let now = (self.clock)().as_second();
        let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, &certificate));
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(|_| unusable("the system gives no random bytes".to_owned()))?;
        let head = json!({"alg": "RS256", "typ": "JWT", "x5t#S256": thumbprint});
        let claims = json!({
            "aud": url, "iss": client_id, "sub": client_id, "jti": URL_SAFE_NO_PAD.encode(id),
            "iat": now, "nbf": now - 60, "exp": now + 600,
        });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(&head), part(&claims));
        let signature = key
            .sign(input.as_bytes())
            .map_err(|error| unusable(error.to_string()))?;
        Ok(assemble(&input, &signature))
    }

    async fn asked(&self, request: RequestBuilder, cure: &str) -> Result<Bearer, SignError> {
        let key = &self.key;
        let answer = http::send(&format!("key {key}: the source of Azure's access tokens"), request).await?;
        let good = (answer.status == 200).then(|| answer.json::<TokenAnswer>()).flatten();
        let Some(good) = good else {
            let (status, said) = (answer.status, answer.text("/error_description"));
            return Err(SignError::NoCredentials(format!(
                "key {key}: Azure gives no access token (HTTP {status}): {said}; {cure}"
            )));
        };
        let seconds = good.expires_in.and_then(|seconds| match seconds {
            Seconds::Number(number) => Some(number),
            Seconds::Text(text) => text.parse().ok(),
        });
        Ok(Bearer {
            token: good.access_token,
            lifetime: seconds.map(Duration::from_secs),
        })
    }

    async fn read(&self, path: &str) -> Result<SecretString, SignError> {
        let text = tokio::fs::read_to_string(path).await.map_err(|error| {
            SignError::NoCredentials(format!(
                "key {}: {path} cannot be read: {error}; check AZURE_FEDERATED_TOKEN_FILE or AZURE_CLIENT_CERTIFICATE_PATH, and what \
                 is mounted there",
                self.key
            ))
        })?;
        Ok(text.trim().to_owned().into())
    }
}
