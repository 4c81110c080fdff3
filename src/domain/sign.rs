//! What the domain asks of a signer.

use std::future::Future;

use crate::api::Reason;

/// Signs with a GitHub App's private key: RSASSA-PKCS1-v1_5 with SHA-256 over `message`.
pub trait Sign: Send + Sync {
    /// The raw signature (256 bytes for RSA-2048).
    ///
    /// # Errors
    /// [`SignError`], which owns its reason; its text never holds key material.
    fn sign(&self, message: &[u8]) -> impl Future<Output = Result<Vec<u8>, SignError>> + Send;
}

/// Why a signature could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The key itself is unusable: retrying does not help before it changes.
    #[error("{0}")]
    InvalidKey(String),
    /// The key or its service cannot be reached at the moment.
    #[error("{0}")]
    Unavailable(String),
}

impl SignError {
    /// The reason for conditions, events and metrics.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            SignError::InvalidKey(_) => Reason::InvalidKey,
            SignError::Unavailable(_) => Reason::KeyUnavailable,
        }
    }
}
