//! Holders of a GitHub App's private key: one variant, and one file, for each provider.

mod pem;

pub use pem::PemKey;

use crate::domain::{Sign, SignError};

/// Signs with the App's private key, wherever that is.
#[derive(Debug)]
pub enum Signer {
    /// The key itself, in memory.
    Pem(PemKey),
}

impl Signer {
    /// A signer with the RSA private key of a PEM text: PKCS#1 as downloaded from GitHub, or PKCS#8. Text before the key,
    /// Windows line endings and `\n` written as two characters (as environment variables have them) are fine.
    ///
    /// # Errors
    /// [`SignError::InvalidKey`] with what is wrong and the cure, never with a part of the key.
    pub fn from_pem(pem: &[u8]) -> Result<Self, SignError> {
        PemKey::parse(pem).map(Signer::Pem)
    }

    /// The public key's fingerprint, as GitHub's settings page of the App shows it: `SHA256:` and the base64 of the SHA-256
    /// of the key's SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`SignError`], when the public key cannot be had.
    pub fn fingerprint(&self) -> Result<String, SignError> {
        match self {
            Signer::Pem(key) => key.fingerprint(),
        }
    }
}

impl Sign for Signer {
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match self {
            Signer::Pem(key) => key.sign(message),
        }
    }
}
