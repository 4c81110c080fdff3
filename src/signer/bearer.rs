//! A service's access token, kept while it is good.

use std::future::Future;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::http::Answer;
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

impl From<Bearer> for Kept {
    fn from(Bearer { token, lifetime }: Bearer) -> Self {
        let now = Instant::now();
        Kept {
            token,
            // What ends after the end of time lasts for ever.
            times: lifetime.and_then(|lifetime| {
                let end = now.checked_add(lifetime)?;
                Some((now.checked_add(lifetime.mul_f64(0.75))?, end))
            }),
        }
    }
}

/// The access token in use.
#[derive(Default)]
pub(super) struct BearerCache(Mutex<Option<Kept>>);

struct Kept {
    token: SecretString,
    /// When a new one is to be had, and when this one ends.
    times: Option<(Instant, Instant)>,
}

/// How long a new token is waited for while the old one is still good, and until the next try after that.
const SHORT: Duration = Duration::from_secs(2);
const NEXT_TRY: Duration = Duration::from_secs(10);

impl BearerCache {
    /// The token in use while less than three quarters of its life are over, else a new one, of a login that is given the old
    /// one. However many ask at once, one login is made.
    pub async fn get<F>(&self, login: impl FnOnce(Option<SecretString>) -> F) -> Result<SecretString, SignError>
    where
        F: Future<Output = Result<Bearer, SignError>>,
    {
        let mut slot = self.0.lock().await;
        let now = Instant::now();
        match &mut *slot {
            Some(kept) if kept.times.is_none_or(|(renew, _)| now < renew) => return Ok(kept.token.clone()),
            // What is still good serves on while there is no new one.
            Some(Kept {
                token,
                times: Some((renew, end)),
            }) if now + SHORT < *end => {
                let Ok(Ok(new)) = timeout(SHORT, login(Some(token.clone()))).await else {
                    *renew = now + NEXT_TRY.min(*end - now);
                    return Ok(token.clone());
                };
                return Ok(slot.insert(new.into()).token.clone());
            }
            _ => {}
        }
        let old = slot.take().map(|kept| kept.token);
        let new = login(old).await?;
        Ok(slot.insert(new.into()).token.clone())
    }

    /// Asks once with the token, and once more with a new one if the service does not accept it any more (HTTP 401). `ask` takes
    /// its token from here.
    pub async fn ask<F>(&self, ask: impl Fn() -> F) -> Result<Answer, SignError>
    where
        F: Future<Output = Result<Answer, SignError>>,
    {
        let answer = ask().await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        self.forget().await;
        ask().await
    }

    /// Drops the token: the service does not accept it.
    pub async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use secrecy::ExposeSecret as _;

    use super::*;

    const LIFE: Duration = Duration::from_secs(3600);

    /// Logs in, or fails; the token is the number of the login.
    async fn get(cache: &BearerCache, logins: &AtomicU64, works: bool) -> Result<String, SignError> {
        let login = |_| async {
            let number = logins.fetch_add(1, Ordering::Relaxed) + 1;
            let token = number.to_string().into();
            let lifetime = Some(LIFE);
            let down = || SignError::Unavailable("down".into());
            works.then_some(Bearer { token, lifetime }).ok_or_else(down)
        };
        cache.get(login).await.map(|token| token.expose_secret().to_owned())
    }

    #[test]
    fn a_life_without_measure_is_no_end() {
        let lifetime = Some(Duration::from_secs(u64::MAX));
        let token = SecretString::from("t");
        assert_eq!(Kept::from(Bearer { token, lifetime }).times, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_serves_for_three_quarters_of_its_life_and_on_while_there_is_no_new_one() {
        let (cache, logins) = (BearerCache::default(), AtomicU64::new(0));
        for (elapsed, works, token, made) in [
            (0, true, Some("1"), 1),
            (2699, true, Some("1"), 1),
            (1, false, Some("1"), 2),
            (9, false, Some("1"), 2),
            (1, false, Some("1"), 3),
            (800, false, Some("1"), 4),
            (100, false, None, 5),
            (0, true, Some("6"), 6),
            (2700, true, Some("7"), 7),
        ] {
            tokio::time::advance(Duration::from_secs(elapsed)).await;
            assert_eq!(get(&cache, &logins, works).await.ok().as_deref(), token);
            assert_eq!(logins.load(Ordering::Relaxed), made);
        }
        cache.forget().await;
        assert_eq!(get(&cache, &logins, true).await.as_deref(), Ok("8"));
    }
}
