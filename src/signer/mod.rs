//! Holders of a GitHub App's private key: one variant, and one file, for each provider.
//!
//! A [`Signer`] signs with one version of one key: the newest that there was when it was connected. [`Signer::has_newer`] tells whether
//! there is a newer one, which is had by connecting again, so that whoever uses the signer can try the new version before the old
//! one is given up. Only where its version can no longer be used does a signer go to the newest by itself.

#![cfg_attr(
    not(all(feature = "aws", feature = "azure", feature = "gcp", feature = "vault")),
    allow(
        dead_code,
        unused_imports,
        unused_variables,
        reason = "what the providers share is used in part by each"
    )
)]

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "azure")]
mod azure_login;
#[cfg(any(feature = "azure", feature = "gcp", feature = "vault"))]
mod bearer;
#[cfg(feature = "gcp")]
mod gcp;
#[cfg(feature = "gcp")]
mod gcp_login;
#[cfg(any(feature = "azure", feature = "gcp", feature = "vault"))]
mod http;
mod pem;
mod public_key;
mod remote;
mod service_key;
#[cfg(feature = "vault")]
mod vault;
#[cfg(feature = "vault")]
mod vault_login;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

pub use pem::PemKey;
pub use public_key::PublicKey;
pub use remote::TOTAL_TIMEOUT;
pub use service_key::{Provider, ServiceKey};

use crate::domain::{Sign, SignError};
use remote::Remote;

/// Where a private key is.
#[derive(Clone)]
pub enum KeySpec {
    /// Here: its PEM text.
    Pem(SecretString),
    /// In a key service.
    Service(ServiceKey),
}

impl PartialEq for KeySpec {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (KeySpec::Pem(one), KeySpec::Pem(other)) => one.expose_secret() == other.expose_secret(),
            (KeySpec::Service(one), KeySpec::Service(other)) => one == other,
            _ => false,
        }
    }
}

impl fmt::Debug for KeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySpec::Pem(_) => f.write_str("Pem(..)"),
            KeySpec::Service(key) => write!(f, "Service({key})"),
        }
    }
}

/// What a process is surrounded by: the environment variables in which credentials for key services and their addresses are
/// looked for, and the clock. It holds secrets: there is no `Debug`.
#[derive(Clone)]
pub struct Ambient {
    variables: BTreeMap<String, String>,
    clock: fn() -> Timestamp,
}

impl Ambient {
    /// Takes variables by name, and the local wall clock.
    #[must_use]
    pub fn new(variables: BTreeMap<String, String>, clock: fn() -> Timestamp) -> Self {
        Ambient { variables, clock }
    }

    /// The variable, unless it is absent or empty.
    fn get(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(name).map(|value| value.trim());
        value.filter(|value| !value.is_empty())
    }
}

/// Signs with the App's private key, wherever that is.
#[derive(Debug)]
pub enum Signer {
    /// The key itself, in memory.
    Pem(PemKey),
    /// AWS KMS.
    #[cfg(feature = "aws")]
    Aws(Box<Remote<aws::Aws>>),
    /// Azure Key Vault.
    #[cfg(feature = "azure")]
    Azure(Box<Remote<azure::Azure>>),
    /// Google Cloud KMS.
    #[cfg(feature = "gcp")]
    Gcp(Box<Remote<gcp::Gcp>>),
    /// Vault or OpenBao.
    #[cfg(feature = "vault")]
    Vault(Box<Remote<vault::Vault>>),
}

/// Does the same with each holder of a key.
macro_rules! each {
    ($signer:expr, $pem:pat => $local:expr, $remote:pat => $distant:expr) => {
        match $signer {
            Signer::Pem($pem) => $local,
            #[cfg(feature = "aws")]
            Signer::Aws($remote) => $distant,
            #[cfg(feature = "azure")]
            Signer::Azure($remote) => $distant,
            #[cfg(feature = "gcp")]
            Signer::Gcp($remote) => $distant,
            #[cfg(feature = "vault")]
            Signer::Vault($remote) => $distant,
        }
    };
}

impl Signer {
    /// A signer for the key. A key service is asked for the newest version that can sign and for its public key, and nothing
    /// is signed; that takes [`TOTAL_TIMEOUT`] at most.
    ///
    /// # Errors
    /// [`SignError`]; [`SignError::NotBuilt`] for a provider that this program lacks.
    pub async fn connect(spec: &KeySpec, ambient: &Ambient) -> Result<Self, SignError> {
        let key = match spec {
            KeySpec::Pem(pem) => return Self::from_pem(pem.expose_secret().as_bytes()),
            KeySpec::Service(key) => key,
        };
        match key {
            #[cfg(feature = "aws")]
            ServiceKey::Aws { id, region } => {
                let remote = Remote::connect(key, aws::Aws::new(id, region.as_deref())).await?;
                Ok(Signer::Aws(Box::new(remote)))
            }
            #[cfg(feature = "azure")]
            ServiceKey::Azure { .. } => {
                let remote = Remote::connect(key, azure::Azure::new(key, ambient)).await?;
                Ok(Signer::Azure(Box::new(remote)))
            }
            #[cfg(feature = "gcp")]
            ServiceKey::Gcp { .. } => {
                let remote = Remote::connect(key, gcp::Gcp::new(key, ambient)).await?;
                Ok(Signer::Gcp(Box::new(remote)))
            }
            #[cfg(feature = "vault")]
            ServiceKey::Vault { .. } => {
                let remote = Remote::connect(key, vault::Vault::new(key, ambient)).await?;
                Ok(Signer::Vault(Box::new(remote)))
            }
            #[cfg(not(all(feature = "aws", feature = "azure", feature = "gcp", feature = "vault")))]
            key => Err(not_built(key.provider())),
        }
    }

    /// A signer with the RSA private key of a PEM text: PKCS#1 as downloaded from GitHub, or PKCS#8. Text before the key,
    /// Windows line endings and `\n` written as two characters (as environment variables have them) are fine.
    ///
    /// # Errors
    /// [`SignError::InvalidKey`] with what is wrong and the cure, never with a part of the key.
    pub fn from_pem(pem: &[u8]) -> Result<Self, SignError> {
        PemKey::parse(pem).map(Signer::Pem)
    }

    /// The public key of the version in use.
    ///
    /// # Errors
    /// [`SignError`], when it cannot be had.
    pub fn public_key(&self) -> Result<PublicKey, SignError> {
        each!(self, key => key.public_key(), remote => Ok(remote.version().key))
    }

    /// The public key's fingerprint, as GitHub's settings page of the App shows it: `SHA256:` and the base64 of the SHA-256
    /// of the key's SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`SignError`], when the public key cannot be had.
    pub fn fingerprint(&self) -> Result<String, SignError> {
        self.public_key().map(|key| key.fingerprint())
    }

    /// The version in use, as the service names it; a key in memory has none.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        each!(self, _ => None, remote => Some(remote.version().id))
    }

    /// Whether both sign with one version of one key.
    #[must_use]
    pub fn same_key(&self, other: &Self) -> bool {
        self.version() == other.version() && self.public_key() == other.public_key()
    }

    /// Whether the key service has a newer version by now. That takes [`TOTAL_TIMEOUT`] at most.
    ///
    /// # Errors
    /// [`SignError`]
    pub async fn has_newer(&self) -> Result<bool, SignError> {
        each!(self, _ => Ok(false), remote => remote.has_newer().await)
    }

    /// Whether the last signature could not be had: a signer that is connected anew may do better, with new credentials.
    #[must_use]
    pub fn fails(&self) -> bool {
        each!(self, _ => false, remote => remote.fails())
    }

    /// Signs something, and verifies the signature with the public key.
    ///
    /// # Errors
    /// [`SignError`]
    pub async fn check(&self) -> Result<(), SignError> {
        const PROBE: &[u8] = b"github-token-manager checks its key";
        let signature = self.sign(PROBE).await?;
        if self.public_key()?.verifies(PROBE, &signature) {
            Ok(())
        } else {
            Err(SignError::BadSignature(
                "the key's signature does not verify".to_owned(),
            ))
        }
    }
}

impl Sign for Signer {
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        each!(self, key => key.sign(message), remote => remote.sign(message).await)
    }
}

#[cfg_attr(
    all(not(test), feature = "aws", feature = "azure", feature = "gcp", feature = "vault"),
    expect(dead_code, reason = "this program lacks none")
)]
fn not_built(provider: Provider) -> SignError {
    SignError::NotBuilt(format!(
        "provider {provider} is not in this program: it was built without the cargo feature {provider}; use a build with it, \
         or another provider"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ambient() -> Ambient {
        Ambient::new(BTreeMap::new(), || Timestamp::UNIX_EPOCH)
    }

    #[tokio::test]
    async fn what_this_program_lacks_is_named_with_its_feature() {
        let gcp = "projects/p/locations/l/keyRings/r/cryptoKeys/k";
        for (provider, key, built) in [
            (Provider::Aws, "alias/k", cfg!(feature = "aws")),
            (
                Provider::Azure,
                "https://v.vault.azure.net/keys/k",
                cfg!(feature = "azure"),
            ),
            (Provider::Gcp, gcp, cfg!(feature = "gcp")),
            (Provider::Vault, "k", cfg!(feature = "vault")),
        ] {
            let error = if built {
                not_built(provider)
            } else {
                let spec = KeySpec::Service(ServiceKey::parse(provider, key).unwrap());
                Signer::connect(&spec, &ambient()).await.unwrap_err()
            };
            assert_eq!(error.reason().as_str(), "ProviderNotBuilt");
            for part in [format!("provider {provider}"), format!("feature {provider}")] {
                assert!(error.to_string().contains(&part), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn a_key_in_memory_is_connected_and_checked_without_a_service() {
        let spec = KeySpec::Pem(include_str!("testdata/app.pem").into());
        let signer = Signer::connect(&spec, &ambient()).await.unwrap();
        signer.check().await.unwrap();
        assert_eq!(signer.version(), None);
        assert!(signer.same_key(&Signer::connect(&spec, &ambient()).await.unwrap()));
        assert_eq!(format!("{spec:?}"), "Pem(..)");
    }
}
