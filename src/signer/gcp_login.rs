//! Google's application default credentials: the file that `GOOGLE_APPLICATION_CREDENTIALS` names, then gcloud's, then the metadata
//! server, which GKE's workload identity answers for. See <https://cloud.google.com/docs/authentication/application-default-credentials>.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use reqwest::{Client, RequestBuilder};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::bearer::Bearer;
use super::http;
use super::{Ambient, PemKey, ServiceKey};
use crate::domain::SignError;

const SCOPE: &str = "https://www.googleapis.com/auth/cloudkms";
const METADATA_HOST: &str = "metadata.google.internal";
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// Below the home folder.
const GCLOUD: &str = ".config/gcloud/application_default_credentials.json";

/// Where an access token comes from.
pub(super) struct Login {
    key: String,
    client: Client,
    source: Source,
    quota_project: Option<String>,
    clock: fn() -> Timestamp,
}

enum Source {
    Metadata {
        url: String,
        client: Client,
    },
    /// The path of a file that is read for each access token: it may be replaced.
    File(String),
}

#[derive(Deserialize)]
struct CredentialsFile {
    quota_project_id: Option<String>,
    #[serde(flatten)]
    credentials: Credentials,
}

/// What a credentials file holds, by its `type`.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Credentials {
    ServiceAccount {
        client_email: String,
        private_key: SecretString,
        #[serde(default)]
        private_key_id: String,
        token_uri: Option<String>,
    },
    AuthorizedUser {
        client_id: String,
        client_secret: SecretString,
        refresh_token: SecretString,
        token_uri: Option<String>,
    },
    ExternalAccount(ExternalAccount),
    ImpersonatedServiceAccount {
        service_account_impersonation_url: String,
        source_credentials: Box<Credentials>,
    },
}

/// Workload identity federation: <https://google.aip.dev/auth/4117>.
#[derive(Deserialize)]
struct ExternalAccount {
    audience: String,
    subject_token_type: String,
    token_url: String,
    credential_source: CredentialSource,
    service_account_impersonation_url: Option<String>,
}

#[derive(Deserialize)]
struct CredentialSource {
    file: Option<String>,
    url: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    format: Format,
}

#[derive(Default, Deserialize)]
struct Format {
    subject_token_field_name: Option<String>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: SecretString,
    #[serde(default)]
    expires_in: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImpersonationAnswer {
    access_token: SecretString,
}

impl Login {
    /// Finds the credentials.
    pub async fn new(key: &ServiceKey, ambient: &Ambient, client: Client) -> Result<Self, SignError> {
        let named = ambient.get("GOOGLE_APPLICATION_CREDENTIALS").map(str::to_owned);
        let path = ambient.get("HOME").map(|home| format!("{home}/{GCLOUD}"));
        let file = match (named, path) {
            (Some(path), _) => Some(path),
            (None, Some(path)) => tokio::fs::try_exists(&path).await.unwrap_or(false).then_some(path),
            (None, None) => None,
        };
        let mut quota_project = ambient.get("GOOGLE_CLOUD_QUOTA_PROJECT").map(str::to_owned);
        let source = match file {
            None => {
                let host = ambient.get("GCE_METADATA_HOST").unwrap_or(METADATA_HOST);
                let url =
                    format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token?scopes={SCOPE}");
                let client = http::local_client(key)?;
                Source::Metadata { url, client }
            }
            Some(path) => {
                quota_project = quota_project.or(read(key, &path).await?.quota_project_id);
                Source::File(path)
            }
        };
        let key = key.to_string();
        Ok(Login {
            key,
            client,
            source,
            quota_project,
            clock: ambient.clock,
        })
    }

    /// Who pays, where that is not the key's project.
    pub fn quota_project(&self) -> Option<&str> {
        self.quota_project.as_deref()
    }

    /// What helps when Google does not accept the credentials.
    pub fn cure(&self) -> &'static str {
        match self.source {
            Source::Metadata { .. } => "check the service account of the workload or of the node",
            Source::File(_) => "check GOOGLE_APPLICATION_CREDENTIALS, and the clock of this machine",
        }
    }

    /// A new access token.
    pub async fn token(&self) -> Result<Bearer, SignError> {
        match &self.source {
            Source::Metadata { url, client } => {
                let request = client.get(url).header("Metadata-Flavor", "Google");
                self.asked(request).await.map_err(|error| match error {
                    SignError::Unavailable(text) | SignError::Slow(text) => SignError::NoCredentials(format!(
                        "{text}; outside of Google Cloud, set GOOGLE_APPLICATION_CREDENTIALS to a credentials file"
                    )),
                    other => other,
                })
            }
            Source::File(path) => match &read(&self.key, path).await?.credentials {
                Credentials::ImpersonatedServiceAccount {
                    service_account_impersonation_url: url,
                    source_credentials,
                } => {
                    let first = self.of_file(source_credentials).await?;
                    self.impersonate(url, &first.token).await
                }
                other => self.of_file(other).await,
            },
        }
    }

    async fn of_file(&self, credentials: &Credentials) -> Result<Bearer, SignError> {
        match credentials {
            Credentials::ServiceAccount {
                client_email,
                private_key,
                private_key_id,
                token_uri,
            } => {
                let uri = token_uri.as_deref().unwrap_or(TOKEN_URI);
                let assertion = self.assertion(client_email, private_key, private_key_id, uri)?;
                let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
                let form = [("grant_type", grant), ("assertion", assertion.expose_secret())];
                self.asked(http::form(self.client.post(uri), &form)).await
            }
            Credentials::AuthorizedUser {
                client_id,
                client_secret,
                refresh_token,
                token_uri,
            } => {
                let form = [
                    ("grant_type", "refresh_token"),
                    ("client_id", client_id),
                    ("client_secret", client_secret.expose_secret()),
                    ("refresh_token", refresh_token.expose_secret()),
                ];
                let uri = token_uri.as_deref().unwrap_or(TOKEN_URI);
                self.asked(http::form(self.client.post(uri), &form)).await
            }
            Credentials::ExternalAccount(account) => self.exchange(account).await,
            Credentials::ImpersonatedServiceAccount { .. } => Err(SignError::NoCredentials(format!(
                "key {}: the credentials file impersonates by way of an impersonation; give one of a single step",
                self.key
            ))),
        }
    }

    /// Another provider's token for one of Google's: <https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token>.
    async fn exchange(&self, account: &ExternalAccount) -> Result<Bearer, SignError> {
        let subject = self.subject_token(&account.credential_source).await?;
        let impersonation = account.service_account_impersonation_url.as_ref();
        let scope = impersonation.map_or(SCOPE, |_| "https://www.googleapis.com/auth/cloud-platform");
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("audience", &account.audience),
            ("scope", scope),
            ("subject_token_type", &account.subject_token_type),
            ("subject_token", subject.expose_secret()),
        ];
        let first = self
            .asked(http::form(self.client.post(&account.token_url), &form))
            .await?;
        match impersonation {
            Some(url) => self.impersonate(url, &first.token).await,
            None => Ok(first),
        }
    }

    /// A JWT for a token: <https://developers.google.com/identity/protocols/oauth2/service-account#httprest>.
    fn assertion(&self, email: &str, key: &SecretString, id: &str, uri: &str) -> Result<SecretString, SignError> {
        let unusable = |error: SignError| {
            SignError::NoCredentials(format!(
                "key {}: the private_key of the credentials file: {error}",
                self.key
            ))
        };
        let pem = PemKey::parse(key.expose_secret().as_bytes()).map_err(unusable)?;
        let now = (self.clock)().as_second();
        let head = json!({"alg": "RS256", "typ": "JWT", "kid": id});
        let claims = json!({"iss": email, "scope": SCOPE, "aud": uri, "iat": now, "exp": now + 3600});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(&head), part(&claims));
        let signature = pem.sign(input.as_bytes()).map_err(unusable)?;
        Ok(crate::domain::jwt::assemble(&input, &signature))
    }

    async fn subject_token(&self, source: &CredentialSource) -> Result<SecretString, SignError> {
        let wrong = |what: String| SignError::NoCredentials(format!("key {}: credential_source: {what}", self.key));
        let text = match (&source.file, &source.url) {
            (Some(path), _) => {
                let text = tokio::fs::read_to_string(path).await;
                text.map_err(|error| wrong(format!("{path} cannot be read: {error}; check what is mounted there")))?
            }
            (None, Some(url)) => {
                let mut request = self.client.get(url);
                for (name, value) in &source.headers {
                    request = request.header(name, value);
                }
                let answer = http::send(&format!("key {}: credential_source", self.key), request).await?;
                if !answer_is_good(answer.status) {
                    return Err(wrong(format!("its url answers HTTP {}", answer.status)));
                }
                answer.body()
            }
            (None, None) => return Err(wrong("only file and url are served".to_owned())),
        };
        let token = match &source.format.subject_token_field_name {
            None => Some(text.trim().to_owned()),
            Some(field) => serde_json::from_str::<Value>(&text)
                .ok()
                .and_then(|json| json.get(field)?.as_str().map(str::to_owned)),
        };
        token
            .filter(|token| !token.is_empty())
            .map(SecretString::from)
            .ok_or_else(|| wrong("it holds no token; check its format".to_owned()))
    }

    async fn impersonate(&self, url: &str, token: &SecretString) -> Result<Bearer, SignError> {
        const LIFETIME: Duration = Duration::from_secs(3600);
        let request = self.client.post(url).bearer_auth(token.expose_secret());
        let body = json!({"scope": [SCOPE], "lifetime": format!("{}s", LIFETIME.as_secs())});
        let answer = http::send(&self.who(), request.json(&body)).await?;
        let good = answer_is_good(answer.status)
            .then(|| answer.json::<ImpersonationAnswer>())
            .flatten();
        let Some(good) = good else {
            return Err(self.refused(&answer));
        };
        Ok(Bearer {
            token: good.access_token,
            lifetime: Some(LIFETIME),
        })
    }

    async fn asked(&self, request: RequestBuilder) -> Result<Bearer, SignError> {
        let answer = http::send(&self.who(), request).await?;
        let good = answer_is_good(answer.status)
            .then(|| answer.json::<TokenAnswer>())
            .flatten();
        let Some(good) = good else {
            return Err(self.refused(&answer));
        };
        Ok(Bearer {
            token: good.access_token,
            lifetime: (good.expires_in > 0).then(|| Duration::from_secs(good.expires_in)),
        })
    }

    fn who(&self) -> String {
        format!("key {}: the source of Google's access tokens", self.key)
    }

    fn refused(&self, answer: &http::Answer) -> SignError {
        let said = [
            answer.text("/error_description"),
            answer.text("/error/message"),
            answer.text("/error"),
        ];
        let said = said.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
        SignError::NoCredentials(format!(
            "key {}: Google gives no access token (HTTP {}): {said}; {}",
            self.key,
            answer.status,
            self.cure()
        ))
    }
}

/// Reads a credentials file. The parser's words may quote it, and it holds secrets.
async fn read(key: &impl fmt::Display, path: &str) -> Result<CredentialsFile, SignError> {
    let wrong = |what: String| SignError::NoCredentials(format!("key {key}: {path} {what}"));
    let text = tokio::fs::read_to_string(path).await.map(SecretString::from);
    let text = text.map_err(|error| {
        wrong(format!(
            "cannot be read: {error}; check GOOGLE_APPLICATION_CREDENTIALS and what is mounted there"
        ))
    })?;
    serde_json::from_str(text.expose_secret()).map_err(|_| {
        wrong(
            "holds no credentials that can be used: give a file of type service_account, external_account with a file or URL as \
             its source, impersonated_service_account or authorized_user"
                .to_owned(),
        )
    })
}

fn answer_is_good(status: u16) -> bool {
    status == 200
}
