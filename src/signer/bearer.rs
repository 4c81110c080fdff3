//! A service's access token, kept while it is good.

use std::future::Future;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::domain::SignError;

/// An access token as a login gives it.
#[derive(Clone)]
pub(super) struct Bearer {
    pub token: SecretString,
    /// How long it is good from now on; `None`: for ever, as far as is known.
    pub lifetime: Option<Duration>,
}

impl Bearer {
    /// A token whose end is not known.
    pub fn lasting(token: SecretString) -> Self {
        Bearer { token, lifetime: None }
    }
}

/// The access token in use.
#[derive(Default)]
pub(super) struct BearerCache(Mutex<Option<Kept>>);

struct Kept {
    token: SecretString,
    good_until: Option<Instant>,
}

impl BearerCache {
    /// The token in use while less than three quarters of its life are over, else a new one, of a login that is given the old
    /// one. However many ask at once, one login is made.
    pub async fn get<F>(&self, login: impl FnOnce(Option<SecretString>) -> F) -> Result<SecretString, SignError>
    where
        F: Future<Output = Result<Bearer, SignError>>,
    {
        let mut kept = self.0.lock().await;
        if let Some(kept) = &*kept
            && kept.good_until.is_none_or(|until| Instant::now() < until)
        {
            return Ok(kept.token.clone());
        }
        let old = kept.as_ref().map(|kept| kept.token.clone());
        let Bearer { token, lifetime } = login(old).await?;
        *kept = Some(Kept {
            token: token.clone(),
            good_until: lifetime.map(|lifetime| Instant::now() + lifetime.mul_f64(0.75)),
        });
        Ok(token)
    }

    /// Drops the token: the service does not accept it.
    pub async fn forget(&self) {
        *self.0.lock().await = None;
    }
}
