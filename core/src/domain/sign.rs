//! What the domain asks of a signer.

use std::future::Future;
use std::time::Duration;

use super::schedule::Retry;
use crate::api::Reason;

/// What is wrong with the key itself: a change of it shows itself by a new look, but the configuration tells of that, too.
const TEN_MINUTES: Duration = Duration::from_secs(10 * 60);
/// What someone can set right at the key service, of which nobody tells us.
const MINUTE: Duration = Duration::from_secs(60);

/// Signs with a GitHub App's private key: RSASSA-PKCS1-v1_5 with SHA-256 over `message`.
pub trait Sign: Send + Sync {
    /// The raw signature (256 bytes for RSA-2048).
    ///
    /// # Errors
    /// [`SignError`], which owns its reason; its text never holds key material.
    fn sign(&self, message: &[u8]) -> impl Future<Output = Result<Vec<u8>, SignError>> + Send;
}

/// Why a signature could not be had. Each variant's text names the key or its service, and the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The key is of a wrong type or size, or damaged; or its name is none.
    #[error("{0}")]
    InvalidKey(String),
    /// The key of a service is meant for something other than signing.
    #[error("{0}")]
    WrongUsage(String),
    /// The key, or this version of it, is switched off.
    #[error("{0}")]
    Disabled(String),
    /// The key, or this version of it, is destroyed or about to be.
    #[error("{0}")]
    Deleted(String),
    /// The key's material has not been imported or generated yet.
    #[error("{0}")]
    PendingImport(String),
    /// The service knows no such key.
    #[error("{0}")]
    NotFound(String),
    /// The key is in another region than the service that was asked.
    #[error("{0}")]
    WrongRegion(String),
    /// The service does not let these credentials use the key.
    #[error("{0}")]
    Denied(String),
    /// There are no credentials for the service, or it does not accept them.
    #[error("{0}")]
    NoCredentials(String),
    /// The service wants fewer requests.
    #[error("{message}")]
    Throttled {
        /// What the service said.
        message: String,
        /// When to ask again.
        wait: Duration,
    },
    /// The key or its service cannot be reached at the moment.
    #[error("{0}")]
    Unavailable(String),
    /// The service did not answer in time.
    #[error("{0}")]
    Slow(String),
    /// The service's signature is not one of its public key.
    #[error("{0}")]
    BadSignature(String),
    /// This program was built without the provider.
    #[error("{0}")]
    NotBuilt(String),
}

impl SignError {
    /// The reason for conditions, events and metrics.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            SignError::InvalidKey(_) => Reason::InvalidKey,
            SignError::WrongUsage(_) => Reason::KeyWrongUsage,
            SignError::Disabled(_) => Reason::KeyDisabled,
            SignError::Deleted(_) => Reason::KeyDeleted,
            SignError::PendingImport(_) => Reason::KeyPendingImport,
            SignError::NotFound(_) => Reason::KeyNotFound,
            SignError::WrongRegion(_) => Reason::KeyWrongRegion,
            SignError::Denied(_) => Reason::KeyAccessDenied,
            SignError::NoCredentials(_) => Reason::KeyCredentialsMissing,
            SignError::Throttled { .. } => Reason::KeyServiceThrottled,
            SignError::Unavailable(_) => Reason::KeyUnavailable,
            SignError::Slow(_) => Reason::KeyServiceSlow,
            SignError::BadSignature(_) => Reason::BadSignature,
            SignError::NotBuilt(_) => Reason::ProviderNotBuilt,
        }
    }

    /// When asking again makes sense.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            SignError::InvalidKey(_) | SignError::WrongUsage(_) | SignError::NotBuilt(_) => Retry::Every(TEN_MINUTES),
            SignError::Disabled(_)
            | SignError::Deleted(_)
            | SignError::PendingImport(_)
            | SignError::NotFound(_)
            | SignError::WrongRegion(_)
            | SignError::Denied(_)
            | SignError::NoCredentials(_) => Retry::Every(MINUTE),
            SignError::Throttled { wait, .. } => Retry::After(*wait),
            SignError::Unavailable(_) | SignError::Slow(_) | SignError::BadSignature(_) => Retry::Backoff,
        }
    }

    /// Whether another version of the key may serve where this one does not.
    #[must_use]
    pub const fn is_about_the_version(&self) -> bool {
        matches!(
            self,
            SignError::Disabled(_) | SignError::Deleted(_) | SignError::PendingImport(_) | SignError::NotFound(_)
        )
    }
}
