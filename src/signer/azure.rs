//! Azure Key Vault and its managed HSM, by their REST API: <https://learn.microsoft.com/en-us/rest/api/keyvault/keys>.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use reqwest::{Client, Method};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::azure_login::Login;
use super::bearer::BearerCache;
use super::http::{self, Answer};
use super::remote::{Service, Version};
use super::{Ambient, PublicKey, ServiceKey};
use crate::domain::{SignError, quote};

/// A version that every cloud of Azure's has.
const API: &str = "api-version=7.4";
/// The domains of Azure's own vaults. A token that opens one's vault is given to these alone; any other host has to say which tokens
/// it takes, and gets none that is good elsewhere.
const DOMAINS: [&str; 7] = [
    "vault.azure.net",
    "vault.azure.cn",
    "vault.usgovcloudapi.net",
    "vault.microsoftazure.de",
    "managedhsm.azure.net",
    "managedhsm.azure.cn",
    "managedhsm.usgovcloudapi.net",
];

/// A key in Azure Key Vault.
pub struct Azure {
    client: Client,
    login: Login,
    token: BearerCache,
    vault: String,
    key: String,
    name: String,
    pinned: Option<String>,
    clock: fn() -> Timestamp,
}

#[derive(Deserialize)]
struct KeyAnswer {
    key: JsonWebKey,
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Deserialize)]
struct JsonWebKey {
    #[serde(default)]
    kid: String,
    #[serde(default)]
    kty: String,
    key_ops: Option<Vec<String>>,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

/// Times are seconds since 1970.
#[derive(Default, Deserialize)]
struct Attributes {
    enabled: Option<bool>,
    nbf: Option<i64>,
    exp: Option<i64>,
    created: Option<i64>,
}

#[derive(Deserialize)]
struct Versions {
    #[serde(default)]
    value: Vec<VersionItem>,
}

#[derive(Deserialize)]
struct VersionItem {
    kid: String,
    #[serde(default)]
    attributes: Attributes,
}

impl Attributes {
    /// Why a version may not sign at `now`, and what helps.
    fn problem(&self, now: i64) -> Option<(&'static str, &'static str)> {
        if self.enabled == Some(false) {
            Some((
                "is disabled",
                "enable it (az keyvault key set-attributes --enabled true)",
            ))
        } else if self.exp.is_some_and(|exp| exp <= now) {
            Some(("has expired", "move its expiry date, or make a new version"))
        } else if self.nbf.is_some_and(|nbf| nbf > now) {
            Some((
                "is not active yet",
                "move its activation date, and check the clock of this machine",
            ))
        } else {
            None
        }
    }
}

#[derive(Deserialize)]
struct SignAnswer {
    #[serde(default)]
    value: String,
}

impl Azure {
    /// Finds credentials; a vault of a domain that is not Azure's own is asked which tokens it takes.
    pub(super) async fn new(key: &ServiceKey, ambient: &Ambient) -> Result<Self, SignError> {
        let ServiceKey::Azure { vault, name, version } = key else {
            return Err(SignError::InvalidKey(format!("key {key} is not of Azure")));
        };
        let client = http::client(key, None)?;
        let resource = match own_resource(vault) {
            Some(resource) => resource,
            None => told_resource(&client, key, vault, name).await?,
        };
        Ok(Azure {
            login: Login::new(key, ambient, client.clone(), &resource)?,
            client,
            token: BearerCache::default(),
            vault: vault.clone(),
            key: key.to_string(),
            name: name.clone(),
            pinned: version.clone(),
            clock: ambient.clock,
        })
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, SignError> {
        let ask = || self.ask_once(method.clone(), path, body);
        self.token.ask(ask).await
    }

    async fn ask_once(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, SignError> {
        let token = self.token.get(|_| self.login.token()).await?;
        let mut request = self.client.request(method, format!("{}/{path}?{API}", self.vault));
        request = request.bearer_auth(token.expose_secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        http::send(&format!("key {}: Azure Key Vault", self.key), request).await
    }

    /// What an answer that is not 200 means.
    async fn refused(&self, answer: &Answer, operation: &str) -> SignError {
        let (key, said) = (&self.key, answer.text("/error/message"));
        match answer.status {
            401 => SignError::NoCredentials(format!(
                "key {key}: the vault does not accept the operator's token: {said}; check AZURE_TENANT_ID: it must be the vault's"
            )),
            403 => SignError::Denied(format!(
                "Azure does not allow {operation} on key {key}: {said}; give the operator's identity the role \"Key Vault Crypto \
                 User\" on the key or the vault, and let the vault's firewall pass this address"
            )),
            404 => self.missing(&said).await,
            status => SignError::Unavailable(format!("key {key}: Azure Key Vault answers HTTP {status}: {said}")),
        }
    }

    /// A deleted key is kept for a while, and its vault then has it elsewhere.
    async fn missing(&self, said: &str) -> SignError {
        let (key, name) = (&self.key, &self.name);
        let deleted = self.ask(Method::GET, &format!("deletedkeys/{name}"), None).await;
        if deleted.is_ok_and(|answer| answer.status == 200) {
            return SignError::Deleted(format!(
                "key {key} is deleted: recover it (az keyvault key recover), or give another one"
            ));
        }
        SignError::NotFound(format!(
            "the vault has no key {key}: {said}; check vault, name and version"
        ))
    }

    async fn version(&self, version: Option<&str>) -> Result<Version, SignError> {
        let path = match version {
            Some(version) => format!("keys/{}/{version}", self.name),
            None => format!("keys/{}", self.name),
        };
        let answer = self.ask(Method::GET, &path, None).await?;
        if answer.status != 200 {
            return Err(self.refused(&answer, "keys/get").await);
        }
        let answer: KeyAnswer = answer.json().ok_or_else(|| self.garbage())?;
        self.checked(&answer)
    }

    /// The version that a key's identifier ends with.
    fn version_of<'a>(&self, kid: &'a str) -> Option<&'a str> {
        let (_, version) = kid.split_once(&format!("/keys/{}/", self.name))?;
        let plain = !version.is_empty() && version.chars().all(|c| c.is_ascii_alphanumeric());
        plain.then_some(version)
    }

    /// The newest version that is on, where the newest of all is not.
    async fn newest_enabled(&self) -> Result<Option<String>, SignError> {
        let answer = self
            .ask(Method::GET, &format!("keys/{}/versions", self.name), None)
            .await?;
        let listed: Option<Versions> = (answer.status == 200).then(|| answer.json()).flatten();
        let now = (self.clock)().as_second();
        let listed = listed.map(|listed| listed.value).unwrap_or_default();
        let usable = listed
            .iter()
            .filter(|version| version.attributes.problem(now).is_none());
        let newest = usable.max_by_key(|version| version.attributes.created);
        Ok(newest
            .and_then(|version| self.version_of(&version.kid))
            .map(str::to_owned))
    }

    fn checked(&self, answer: &KeyAnswer) -> Result<Version, SignError> {
        let (key, now) = (&self.key, (self.clock)().as_second());
        let jwk = &answer.key;
        let version = self.version_of(&jwk.kid).ok_or_else(|| self.garbage())?;
        if let Some((what, cure)) = answer.attributes.problem(now) {
            return Err(SignError::Disabled(format!(
                "key {key}: version {version} {what}; {cure}"
            )));
        }
        let wrong = |what: &str| {
            SignError::InvalidKey(format!(
                "key {key} {what}; a GitHub App's key is imported into the vault as RSA of 2048 bits"
            ))
        };
        if !matches!(jwk.kty.as_str(), "RSA" | "RSA-HSM") {
            return Err(wrong(&format!("is of type {}", quote(&jwk.kty))));
        }
        if jwk
            .key_ops
            .as_ref()
            .is_some_and(|ops| !ops.iter().any(|op| op == "sign"))
        {
            return Err(SignError::WrongUsage(format!(
                "key {key} may not sign: add sign to its permitted operations (az keyvault key set-attributes --ops sign verify)"
            )));
        }
        let number = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).unwrap_or_default();
        Ok(Version {
            id: format!("{}/keys/{}/{version}", self.vault, self.name),
            key: PublicKey::from_components(&number(&jwk.n), &number(&jwk.e)).map_err(wrong)?,
        })
    }

    fn garbage(&self) -> SignError {
        SignError::Unavailable(format!(
            "key {}: the answer of {} is not Azure Key Vault's; check the key's host, and proxies",
            self.key, self.vault
        ))
    }
}

impl Service for Azure {
    async fn newest(&self) -> Result<Version, SignError> {
        match self.version(self.pinned.as_deref()).await {
            Err(off @ SignError::Disabled(_)) if self.pinned.is_none() => match self.newest_enabled().await? {
                Some(version) => self.version(Some(&version)).await,
                None => Err(off),
            },
            found => found,
        }
    }

    async fn sign(&self, version: &Version, digest: &[u8]) -> Result<Vec<u8>, SignError> {
        let id = version.id.rsplit('/').next().unwrap_or_default();
        let path = format!("keys/{}/{id}/sign", self.name);
        let body = json!({"alg": "RS256", "value": URL_SAFE_NO_PAD.encode(digest)});
        let answer = self.ask(Method::POST, &path, Some(&body)).await?;
        if answer.status != 200 {
            let refused = self.refused(&answer, "keys/sign").await;
            // The vault answers 403 for a disabled key as for a missing role; the key itself says which.
            return match self.version(Some(id)).await {
                Err(error) if matches!(refused, SignError::Denied(_)) => Err(error),
                _ => Err(refused),
            };
        }
        let answer: SignAnswer = answer.json().ok_or_else(|| self.garbage())?;
        URL_SAFE_NO_PAD
            .decode(answer.value.trim_end_matches('='))
            .map_err(|_| self.garbage())
    }
}

/// The resource of Azure's own vaults: their domain.
fn own_resource(vault: &str) -> Option<String> {
    let url: Url = vault.parse().ok()?;
    let (_, domain) = url.host_str()?.split_once('.')?;
    let own = DOMAINS.contains(&domain) && url.port().is_none();
    own.then(|| format!("https://{domain}"))
}

/// The resource that a vault names when it is asked without a token: <https://learn.microsoft.com/en-us/azure/key-vault/general/authentication-requests-and-responses>.
/// It must be the vault's own domain: else whoever runs a host could have tokens for vaults of others.
async fn told_resource(client: &Client, key: &ServiceKey, vault: &str, name: &str) -> Result<String, SignError> {
    let request = client.get(format!("{vault}/keys/{name}?{API}"));
    let answer = http::send(&format!("key {key}: {vault}"), request).await?;
    let challenge = answer.challenge.unwrap_or_default();
    let resource = ["resource", "scope"]
        .iter()
        .find_map(|name| parameter(&challenge, name));
    let resource = resource.map(|resource| resource.trim_end_matches("/.default").to_owned());
    let fits = |resource: &String| {
        let host = |text: &str| {
            text.parse::<Url>()
                .ok()
                .and_then(|url| url.host_str().map(str::to_owned))
        };
        let (resource, vault) = (host(resource), host(vault));
        resource.zip(vault).is_some_and(|(resource, vault)| {
            vault == resource || (resource.contains('.') && vault.ends_with(&format!(".{resource}")))
        })
    };
    resource.filter(fits).ok_or_else(|| {
        SignError::InvalidKey(format!(
            "key {key}: {vault} is no vault of Azure's: it does not ask for tokens of its own domain; give \
             https://VAULT.vault.azure.net/keys/KEY"
        ))
    })
}

/// A parameter of `Bearer name="value", ...`.
fn parameter<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    let parts = challenge.trim_start_matches("Bearer").split([',', ' ']);
    let values = parts.filter_map(|part| part.trim().split_once('='));
    let mut values = values.filter(|(found, _)| *found == name);
    values.next().map(|(_, value)| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_azures_own_domains_are_known_by_themselves() {
        let own = |vault| own_resource(vault);
        assert_eq!(
            own("https://v.vault.azure.net").as_deref(),
            Some("https://vault.azure.net")
        );
        assert_eq!(
            own("https://h.managedhsm.azure.net").as_deref(),
            Some("https://managedhsm.azure.net")
        );
        for other in [
            "https://vault.azure.net",
            "https://v.evil.example",
            "https://v.vault.azure.net.evil.example",
            "https://v.vault.azure.net:8443",
        ] {
            assert_eq!(own(other), None, "{other}");
        }
    }

    #[test]
    fn a_challenge_is_read() {
        let challenge = "Bearer authorization=\"https://login.example/tenant\", resource=\"https://vault.example\"";
        assert_eq!(parameter(challenge, "resource"), Some("https://vault.example"));
        assert_eq!(parameter(challenge, "scope"), None);
        assert_eq!(parameter("", "resource"), None);
    }
}
