//! Google Cloud KMS, by its REST API: <https://cloud.google.com/kms/docs/reference/rest>. Google's client neither sends nor checks the CRC32C
//! that guards against damage on the way; three requests are all that is needed of it.
//!
//! `CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS` is another endpoint, such as a regional or a private one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::bearer::BearerCache;
use super::gcp_login::Login;
use super::http::{self, Answer};
use super::remote::{Service, Version};
use super::{Ambient, PublicKey, ServiceKey};
use crate::domain::{SignError, quote};

const ENDPOINT: &str = "https://cloudkms.googleapis.com/";
const OVERRIDE: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS";
/// How many pages of versions are read at most: 100 versions each.
const PAGES: usize = 10;

/// A key in Google Cloud KMS.
pub struct Gcp {
    client: Client,
    endpoint: String,
    login: Login,
    token: BearerCache,
    name: String,
    pinned: Option<String>,
}

#[derive(Deserialize)]
struct PublicKeyAnswer {
    #[serde(default)]
    pem: String,
    #[serde(default)]
    algorithm: String,
    #[serde(rename = "pemCrc32c")]
    crc: Option<Crc>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignAnswer {
    #[serde(default)]
    signature: String,
    signature_crc32c: Option<Crc>,
    #[serde(default)]
    verified_digest_crc32c: bool,
    #[serde(default)]
    name: String,
}

/// A 64 bit number, which JSON of Google's carries as a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Crc {
    Text(String),
    Number(u64),
}

impl Crc {
    fn is_of(&self, bytes: &[u8]) -> bool {
        let crc = u64::from(crc32c(bytes));
        match self {
            Crc::Text(text) => text.parse() == Ok(crc),
            Crc::Number(number) => *number == crc,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    #[serde(default)]
    crypto_key_versions: Vec<VersionAnswer>,
    #[serde(default)]
    next_page_token: String,
}

#[derive(Deserialize)]
struct VersionAnswer {
    name: String,
    #[serde(default)]
    state: String,
}

impl Gcp {
    /// Reads the endpoint and where credentials are; Google is not asked yet.
    pub(super) async fn new(key: &ServiceKey, ambient: &Ambient) -> Result<Self, SignError> {
        let ServiceKey::Gcp { name, version } = key else {
            return Err(SignError::InvalidKey(format!("key {key} is not of Google")));
        };
        let endpoint = ambient
            .get(OVERRIDE)
            .unwrap_or(ENDPOINT)
            .trim_end_matches('/')
            .to_owned();
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(SignError::Unavailable(format!(
                "key {key}: {OVERRIDE} is no URL: give https://HOST/, such as {ENDPOINT}"
            )));
        }
        let client = http::client(key, None)?;
        Ok(Gcp {
            login: Login::new(key, ambient, client.clone()).await?,
            client,
            endpoint,
            token: BearerCache::default(),
            name: name.clone(),
            pinned: version
                .as_ref()
                .map(|version| format!("{name}/cryptoKeyVersions/{version}")),
        })
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, SignError> {
        let ask = || self.ask_once(method.clone(), path, body);
        self.token.ask(ask).await
    }

    async fn ask_once(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, SignError> {
        let token = self.token.get(|_| self.login.token()).await?;
        let mut request = self.client.request(method, format!("{}/v1/{path}", self.endpoint));
        request = request.bearer_auth(token.expose_secret());
        if let Some(project) = self.login.quota_project() {
            request = request.header("x-goog-user-project", project);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        http::send(&format!("key {}: Google Cloud KMS", self.name), request).await
    }

    /// What an answer that is not 200 means. See <https://cloud.google.com/apis/design/errors>.
    async fn refused(&self, answer: &Answer, version: &str, permission: &str) -> SignError {
        let said = answer.text("/error/message");
        match answer.text("/error/status").as_str() {
            "FAILED_PRECONDITION" => self.state(version, &said).await,
            "PERMISSION_DENIED" => SignError::Denied(format!(
                "Google Cloud KMS does not allow {permission} on key {version}: {said}; give the operator's account the role \
                 roles/cloudkms.signerVerifier on the key, and roles/cloudkms.viewer where the key is named without a version"
            )),
            "UNAUTHENTICATED" => SignError::NoCredentials(format!(
                "key {version}: Google does not accept the credentials: {said}; {}",
                self.login.cure()
            )),
            "NOT_FOUND" => SignError::NotFound(format!(
                "Google Cloud KMS has no key {version}: {said}; check project, location, key ring, key and version"
            )),
            "INVALID_ARGUMENT" => SignError::WrongUsage(format!(
                "key {version} cannot sign: {said}; make a key of purpose ASYMMETRIC_SIGN and algorithm \
                 RSA_SIGN_PKCS1_2048_SHA256"
            )),
            _ => SignError::Unavailable(format!(
                "key {version}: Google Cloud KMS answers HTTP {}: {said}; it is asked again by itself",
                answer.status
            )),
        }
    }

    /// What a version is that cannot sign: the error says it in a sentence alone.
    async fn state(&self, version: &str, said: &str) -> SignError {
        let answer = self.ask(Method::GET, version, None).await;
        let state = answer.ok().and_then(|answer| answer.json::<VersionAnswer>());
        state_error(version, state.as_ref().map_or("", |version| &version.state), said)
    }

    async fn newest_enabled(&self) -> Result<String, SignError> {
        let (mut page, mut versions) = (String::new(), Vec::new());
        for _ in 0..PAGES {
            let path = format!("{}/cryptoKeyVersions?pageSize=100&pageToken={page}", self.name);
            let answer = self.ask(Method::GET, &path, None).await?;
            if answer.status != 200 {
                let permission = "cloudkms.cryptoKeyVersions.list";
                return Err(self.refused(&answer, &self.name, permission).await);
            }
            let answer: Versions = answer.json().ok_or_else(|| self.garbage())?;
            versions.extend(answer.crypto_key_versions);
            page = url::form_urlencoded::byte_serialize(answer.next_page_token.as_bytes()).collect();
            if page.is_empty() {
                break;
            }
        }
        let newest = |enabled: bool| {
            let fits = versions.iter().filter(|version| !enabled || version.state == "ENABLED");
            fits.filter_map(|version| Some((self.number(version)?, version)))
                .max_by_key(|(number, _)| *number)
        };
        match (newest(true), newest(false)) {
            (Some((number, _)), _) => Ok(self.named(number)),
            (None, Some((number, version))) => Err(state_error(
                &self.named(number),
                &version.state,
                "no version is enabled",
            )),
            (None, None) => Err(SignError::PendingImport(format!(
                "key {} has no version: import the App's private key (gcloud kms keys versions import)",
                self.name
            ))),
        }
    }

    /// The number of a version of this key.
    fn number(&self, version: &VersionAnswer) -> Option<u64> {
        let rest = version.name.strip_prefix(&self.name)?;
        rest.strip_prefix("/cryptoKeyVersions/")?.parse().ok()
    }

    fn named(&self, number: u64) -> String {
        format!("{}/cryptoKeyVersions/{number}", self.name)
    }

    fn garbage(&self) -> SignError {
        SignError::Unavailable(format!(
            "key {}: the answer of {} is not Google Cloud KMS's, or was damaged on the way; check proxies and {OVERRIDE}",
            self.name, self.endpoint
        ))
    }
}

fn state_error(version: &str, state: &str, said: &str) -> SignError {
    match state {
        "DESTROYED" | "DESTROY_SCHEDULED" => SignError::Deleted(format!(
            "key {version} is destroyed or about to be ({state}): restore it (gcloud kms keys versions restore), or give another one"
        )),
        "PENDING_IMPORT" | "PENDING_GENERATION" | "IMPORT_FAILED" | "GENERATION_FAILED" => {
            SignError::PendingImport(format!(
                "key {version} has no key material ({state}): import the App's private key (gcloud kms keys versions import)"
            ))
        }
        _ => SignError::Disabled(format!(
            "key {version} is not enabled: {said}; enable it (gcloud kms keys versions enable)"
        )),
    }
}

impl Service for Gcp {
    async fn newest(&self) -> Result<Version, SignError> {
        let version = match &self.pinned {
            Some(version) => version.clone(),
            None => self.newest_enabled().await?,
        };
        let answer = self.ask(Method::GET, &format!("{version}/publicKey"), None).await?;
        if answer.status != 200 {
            let permission = "cloudkms.cryptoKeyVersions.viewPublicKey";
            return Err(self.refused(&answer, &version, permission).await);
        }
        let answer: PublicKeyAnswer = answer.json().ok_or_else(|| self.garbage())?;
        let wrong = |what: &str| {
            SignError::InvalidKey(format!(
                "key {version} {what}; a GitHub App's key is one of purpose ASYMMETRIC_SIGN and algorithm RSA_SIGN_PKCS1_2048_SHA256"
            ))
        };
        match answer.algorithm.as_str() {
            "RSA_SIGN_PKCS1_2048_SHA256" | "RSA_SIGN_PKCS1_3072_SHA256" | "RSA_SIGN_PKCS1_4096_SHA256" => {}
            usage if usage.contains("DECRYPT") => {
                return Err(SignError::WrongUsage(format!(
                    "key {version} is for decryption ({}): make one of purpose ASYMMETRIC_SIGN",
                    quote(usage)
                )));
            }
            other => return Err(wrong(&format!("is of algorithm {}", quote(other)))),
        }
        if answer.crc.is_some_and(|crc| !crc.is_of(answer.pem.as_bytes())) {
            return Err(self.garbage());
        }
        let key = PublicKey::from_pem(&answer.pem).map_err(wrong)?;
        Ok(Version { id: version, key })
    }

    async fn sign(&self, version: &Version, digest: &[u8]) -> Result<Vec<u8>, SignError> {
        let body = json!({
            "digest": {"sha256": STANDARD.encode(digest)},
            "digestCrc32c": crc32c(digest).to_string(),
        });
        let path = format!("{}:asymmetricSign", version.id);
        let answer = self.ask(Method::POST, &path, Some(&body)).await?;
        if answer.status != 200 {
            let permission = "cloudkms.cryptoKeyVersions.useToSign";
            return Err(self.refused(&answer, &version.id, permission).await);
        }
        let answer: SignAnswer = answer.json().ok_or_else(|| self.garbage())?;
        let signature = STANDARD.decode(&answer.signature).map_err(|_| self.garbage())?;
        let whole = answer.signature_crc32c.is_some_and(|crc| crc.is_of(&signature));
        if !whole || !answer.verified_digest_crc32c || answer.name != version.id {
            return Err(self.garbage());
        }
        Ok(signature)
    }
}

/// CRC-32C (Castagnoli), as Google's integrity checks have it: <https://cloud.google.com/kms/docs/data-integrity-guidelines>.
fn crc32c(bytes: &[u8]) -> u32 {
    const REVERSED: u32 = 0x82f6_3b78;
    let step = |crc: u32, _| (crc >> 1) ^ (REVERSED & (crc & 1).wrapping_neg());
    !bytes
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // The check value of the catalogue of CRC algorithms, and RFC 3720, B.4.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(b""), 0);
    }
}
