//! The transit engine of HashiCorp Vault or OpenBao, by its HTTP API: <https://developer.hashicorp.com/vault/api-docs/secret/transit>.
//!
//! `VAULT_ADDR`, `VAULT_NAMESPACE` and `VAULT_CACERT` say where it is; OpenBao's names (`BAO_ADDR`, ...) win. How the operator logs in
//! is in [`super::vault_login`].

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method, RequestBuilder};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::bearer::BearerCache;
use super::http::{self, Answer};
use super::remote::{Service, Version};
use super::vault_login::Login;
use super::{Ambient, PublicKey, ServiceKey};
use crate::domain::SignError;

/// The address that Vault's own client has by default.
const DEFAULT_ADDRESS: &str = "https://127.0.0.1:8200";

/// A key in a transit engine.
pub struct Vault {
    server: Server,
    login: Login,
    token: BearerCache,
    key: String,
    mount: String,
    name: String,
    pinned: Option<u64>,
}

/// Where Vault is.
pub(super) struct Server {
    client: Client,
    address: Url,
    namespace: Option<String>,
}

#[derive(Deserialize)]
struct KeyAnswer {
    data: KeyData,
}

#[derive(Deserialize)]
struct KeyData {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    keys: BTreeMap<String, Value>,
    latest_version: u64,
    #[serde(default)]
    min_encryption_version: u64,
}

#[derive(Deserialize)]
struct SignAnswer {
    data: SignData,
}

#[derive(Deserialize)]
struct SignData {
    signature: String,
}

/// The variable as OpenBao or as Vault calls it.
pub(super) fn variable<'a>(ambient: &'a Ambient, name: &str) -> Option<&'a str> {
    let by = |vendor: &str| ambient.get(&format!("{vendor}_{name}"));
    by("BAO").or_else(|| by("VAULT"))
}

impl Server {
    async fn new(key: &ServiceKey, ambient: &Ambient) -> Result<Self, SignError> {
        let wrong = |text: String| SignError::Unavailable(format!("key {key}: {text}"));
        let text = variable(ambient, "ADDR").unwrap_or(DEFAULT_ADDRESS);
        let address: Option<Url> = text.parse().ok();
        let address = address.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let address = address.ok_or_else(|| {
            wrong("VAULT_ADDR is no URL: give https://HOST:PORT, such as https://vault.example.com:8200".to_owned())
        })?;
        let ca = match (variable(ambient, "CACERT_BYTES"), variable(ambient, "CACERT")) {
            (Some(pem), _) => Some(pem.as_bytes().to_vec()),
            (None, Some(path)) => Some(tokio::fs::read(path).await.map_err(|error| {
                wrong(format!(
                    "VAULT_CACERT {path} cannot be read: {error}; give a PEM file of certificates"
                ))
            })?),
            (None, None) => None,
        };
        Ok(Server {
            client: http::client(key, ca.as_deref())?,
            address,
            namespace: variable(ambient, "NAMESPACE").map(str::to_owned),
        })
    }

    /// `Vault at ADDRESS`, for errors; an address may hold a password.
    pub fn name(&self) -> String {
        let host = self.address.host_str().unwrap_or_default();
        let port = self.address.port_or_known_default().unwrap_or_default();
        format!("Vault at {host}:{port}")
    }

    /// A request to the API's `path`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let base = self.address.as_str().trim_end_matches('/');
        let request = self.client.request(method, format!("{base}/v1/{path}"));
        // What guards against requests that a web page makes; Vault's agent and proxy can demand it.
        let request = request.header("X-Vault-Request", "true");
        match &self.namespace {
            Some(namespace) => request.header("X-Vault-Namespace", namespace),
            None => request,
        }
    }
}

/// A standby sends on to the active server; more often than this, they send each other around.
const MOST_HOPS: usize = 2;

/// Where a standby sends a request to, if it may go there with its token: the same request, by the same scheme, and so under the
/// same certificates, to another server.
fn sent_on(from: &Url, status: u16, location: Option<&str>) -> Option<Url> {
    let to = from.join(location.filter(|_| status == 307)?).ok()?;
    let same = to.scheme() == from.scheme() && to.path() == from.path() && to.query() == from.query();
    let plain = to.username().is_empty() && to.password().is_none() && to.fragment().is_none();
    (same && plain).then_some(to)
}

impl Server {
    /// Sends a request, and on to the active server where a standby answers so
    /// (<https://developer.hashicorp.com/vault/docs/concepts/ha#client-redirection>).
    pub async fn send(&self, who: &str, request: RequestBuilder) -> Result<Answer, SignError> {
        let (client, request) = request.build_split();
        let unsendable = |_| SignError::Unavailable(format!("{who} cannot be asked: the request cannot be built"));
        let mut request = request.map_err(unsendable)?;
        for _ in 0..MOST_HOPS {
            let Some(copy) = request.try_clone() else { break };
            let answer = http::send(who, RequestBuilder::from_parts(client.clone(), copy)).await?;
            match sent_on(request.url(), answer.status, answer.location.as_deref()) {
                Some(active) => *request.url_mut() = active,
                None => return Ok(answer),
            }
        }
        http::send(who, RequestBuilder::from_parts(client, request)).await
    }
}

impl Vault {
    /// Reads where Vault is and how to log in; it is not asked yet.
    pub(super) async fn new(key: &ServiceKey, ambient: &Ambient) -> Result<Self, SignError> {
        let ServiceKey::Vault { mount, name, version } = key else {
            return Err(SignError::InvalidKey(format!("key {key} is not of Vault")));
        };
        Ok(Vault {
            server: Server::new(key, ambient).await?,
            login: Login::new(key, ambient)?,
            token: BearerCache::default(),
            key: key.to_string(),
            mount: mount.clone(),
            name: name.clone(),
            pinned: *version,
        })
    }

    /// Asks with a token. One that Vault does not know any more (it was restarted, or someone revoked it) is replaced once.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, SignError> {
        let answer = self.ask_once(method.clone(), path, body).await?;
        if answer.status != 403 || self.login.knows(&self.server, &self.token).await? {
            return Ok(answer);
        }
        self.token.forget().await;
        self.ask_once(method, path, body).await
    }

    async fn ask_once(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, SignError> {
        let token = self.login.token(&self.server, &self.token).await?;
        let mut request = self
            .server
            .request(method, path)
            .header("X-Vault-Token", token.expose_secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        let who = format!("key {}: {}", self.key, self.server.name());
        self.server.send(&who, request).await
    }

    /// What an answer that is not 200 means. `right` is what a policy has to grant, and on which path.
    fn refused(&self, answer: &Answer, (right, path): (&str, &str)) -> SignError {
        let (key, server, said) = (&self.key, self.server.name(), answer.text("/errors/0"));
        match answer.status {
            403 => match self.login.cure().filter(|_| said.contains("invalid token")) {
                Some(cure) => SignError::NoCredentials(format!(
                    "key {key}: {server} does not know the operator's token: {said}; it has expired or was revoked: {cure}"
                )),
                None => SignError::Denied(format!(
                    "key {key}: {server} does not allow {right} on {path}: {said}; give the operator's policy path \"{path}\" \
                     {{ capabilities = [\"{right}\"] }}, and its token a longer life if it had one"
                )),
            },
            404 => SignError::NotFound(format!(
                "key {key}: {server} has no key {} in an engine at {}: {said}; check name, mount and VAULT_NAMESPACE",
                self.name, self.mount
            )),
            307 => SignError::Unavailable(format!(
                "key {key}: {server} sends on to another server in a way that is not followed; set VAULT_ADDR to the active one's \
                 address"
            )),
            status => SignError::Unavailable(format!("key {key}: {server} answers HTTP {status}: {said}")),
        }
    }

    fn garbage(&self) -> SignError {
        let (key, server) = (&self.key, self.server.name());
        SignError::Unavailable(format!(
            "key {key}: the answer of {server} is not Vault's; check VAULT_ADDR and proxies"
        ))
    }

    /// A version, or the newest, as far as it can sign.
    async fn version(&self, number: Option<u64>) -> Result<Version, SignError> {
        let path = format!("{}/keys/{}", self.mount, self.name);
        let answer = self.ask(Method::GET, &path, None).await?;
        if answer.status != 200 {
            return Err(self.refused(&answer, ("read", &path)));
        }
        let answer: KeyAnswer = answer.json().ok_or_else(|| self.garbage())?;
        self.checked(&answer.data, number.unwrap_or(answer.data.latest_version))
    }

    fn checked(&self, data: &KeyData, number: u64) -> Result<Version, SignError> {
        let key = &self.key;
        let wrong = |what: &str| {
            SignError::InvalidKey(format!(
                "key {key} {what}; a GitHub App's key is imported into Vault as type rsa-2048"
            ))
        };
        match data.kind.as_str() {
            "rsa-2048" | "rsa-3072" | "rsa-4096" => {}
            "aes128-gcm96" | "aes256-gcm96" | "chacha20-poly1305" | "xchacha20-poly1305" | "hmac" | "aes128-cmac"
            | "aes192-cmac" | "aes256-cmac" => {
                return Err(SignError::WrongUsage(format!(
                    "key {key} is of type {}, which does not sign; import the App's key as type rsa-2048",
                    data.kind
                )));
            }
            other => return Err(wrong(&format!("is of type {}", crate::domain::quote(other)))),
        }
        let version = data.keys.get(&number.to_string()).ok_or_else(|| {
            SignError::Deleted(format!(
                "key {key} has no version {number}: its versions are {} to {}; pin another one with @N",
                data.keys.keys().next().map_or("none", String::as_str),
                data.latest_version
            ))
        })?;
        if number < data.min_encryption_version {
            let least = data.min_encryption_version;
            return Err(SignError::Disabled(format!(
                "key {key}: version {number} is below min_encryption_version {least}: lower that, or pin another version with @N"
            )));
        }
        let pem = version
            .pointer("/public_key")
            .and_then(Value::as_str)
            .unwrap_or_default();
        Ok(Version {
            id: format!("{}@{number}", key.split('@').next().unwrap_or(key)),
            key: PublicKey::from_pem(pem).map_err(wrong)?,
        })
    }
}

impl Service for Vault {
    async fn newest(&self) -> Result<Version, SignError> {
        self.version(self.pinned).await
    }

    async fn sign(&self, version: &Version, digest: &[u8]) -> Result<Vec<u8>, SignError> {
        let path = format!("{}/sign/{}", self.mount, self.name);
        let number: Option<u64> = version.id.rsplit('@').next().and_then(|number| number.parse().ok());
        let body = json!({
            "input": STANDARD.encode(digest),
            "prehashed": true,
            "hash_algorithm": "sha2-256",
            "signature_algorithm": "pkcs1v15",
            "key_version": number,
        });
        let answer = match self.ask(Method::POST, &path, Some(&body)).await {
            Ok(answer) if answer.status == 200 => answer,
            other => {
                // Vault answers 500 where a version may not sign any more, and 400 where there is no key: the key says more.
                let refused = other.map_or_else(|error| error, |answer| self.refused(&answer, ("update", &path)));
                let unclear = matches!(refused, SignError::NotFound(_) | SignError::Unavailable(_));
                let looked = if unclear {
                    self.version(number).await.err()
                } else {
                    None
                };
                return Err(looked.unwrap_or(refused));
            }
        };
        let answer: SignAnswer = answer.json().ok_or_else(|| self.garbage())?;
        // `vault:vN:` and base64.
        let encoded = answer.data.signature.rsplit(':').next().unwrap_or_default();
        STANDARD.decode(encoded).map_err(|_| self.garbage())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_on_as_it_is_to_another_server_alone() {
        let from: Url = "https://standby:8200/v1/transit/sign/k?x=1".parse().unwrap();
        let to = |status, location: &str| sent_on(&from, status, Some(location)).map(|to| to.to_string());
        let active = "https://active:8200/v1/transit/sign/k?x=1";
        assert_eq!(to(307, active).as_deref(), Some(active));
        assert_eq!(
            to(307, "//10.0.0.7:8200/v1/transit/sign/k?x=1").as_deref(),
            Some("https://10.0.0.7:8200/v1/transit/sign/k?x=1")
        );
        for (status, location) in [
            (302, active),
            (200, active),
            (307, ""),
            (307, "http://active:8200/v1/transit/sign/k?x=1"),
            (307, "https://active:8200/v1/sys/seal"),
            (307, "https://active:8200/v1/transit/sign/k?x=2"),
            (307, "https://user:word@active:8200/v1/transit/sign/k?x=1"),
            (307, "https://active:8200/v1/transit/sign/k?x=1#there"),
            (307, "ftp://active/v1/transit/sign/k?x=1"),
        ] {
            assert_eq!(
                to(status, location).filter(|to| *to != from.to_string()),
                None,
                "{status} {location}"
            );
        }
    }
}
