//! One JWT for many calls: N tokens must not cost N signatures, since a signature of a key service costs money and a
//! round trip.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jiff::Timestamp;
use secrecy::SecretString;
use tokio::sync::Mutex;

use crate::domain::jwt::{Claims, Issuer, assemble};
use crate::domain::{Sign, SignError};

/// A signed JWT.
#[derive(Debug)]
pub(super) struct Jwt {
    claims: Claims,
    bearer: SecretString,
    refused: AtomicBool,
}

impl Jwt {
    /// The text behind `Authorization: Bearer`.
    pub(super) fn bearer(&self) -> &SecretString {
        &self.bearer
    }

    /// GitHub did not accept it: it is not used again.
    pub(super) fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    fn good_at(&self, now: Timestamp) -> bool {
        !self.refused.load(Ordering::Relaxed) && self.claims.good_at(now)
    }
}

/// The App's current JWT.
#[derive(Debug, Default)]
pub(super) struct JwtCache {
    last: Mutex<Last>,
    failures: AtomicU64,
}

#[derive(Debug, Default)]
struct Last {
    jwt: Option<Arc<Jwt>>,
    failure: Option<SignError>,
}

impl JwtCache {
    /// The current JWT, or a new one if there is none that is good now. However many ask at once, one signature is made, and
    /// if it fails, it fails for all who waited for it.
    pub(super) async fn get<S: Sign>(
        &self,
        signer: &S,
        issuer: &Issuer,
        github_now: impl Fn() -> Timestamp,
    ) -> Result<Arc<Jwt>, SignError> {
        let failures_before = self.failures.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        let now = github_now();
        if let Some(jwt) = last.jwt.as_ref().filter(|jwt| jwt.good_at(now)) {
            return Ok(Arc::clone(jwt));
        }
        if self.failures.load(Ordering::Acquire) != failures_before
            && let Some(failure) = &last.failure
        {
            return Err(failure.clone());
        }
        let claims = Claims::new(issuer.clone(), now);
        let input = claims.signing_input();
        match signer.sign(input.as_bytes()).await {
            Ok(signature) => {
                let bearer = assemble(&input, &signature);
                let jwt = Arc::new(Jwt {
                    claims,
                    bearer,
                    refused: AtomicBool::new(false),
                });
                *last = Last {
                    jwt: Some(Arc::clone(&jwt)),
                    failure: None,
                };
                Ok(jwt)
            }
            Err(failure) => {
                last.failure = Some(failure.clone());
                self.failures.fetch_add(1, Ordering::Release);
                Err(failure)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;
    use secrecy::ExposeSecret;
    use std::sync::atomic::AtomicI64;

    /// Signs, or fails, after yielding often enough for every other task to arrive.
    struct Slow {
        works: bool,
        asked: AtomicU64,
    }

    impl Slow {
        fn new(works: bool) -> Self {
            Slow {
                works,
                asked: AtomicU64::new(0),
            }
        }

        fn signatures(&self) -> u64 {
            self.asked.load(Ordering::Relaxed)
        }
    }

    impl Sign for Slow {
        async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            if self.works {
                Ok(message.to_vec())
            } else {
                Err(SignError::Unavailable("the key service is down".into()))
            }
        }
    }

    async fn ask(cache: &JwtCache, signer: &Slow, second: i64) -> Result<Arc<Jwt>, SignError> {
        cache
            .get(signer, &Issuer::AppId(7), || Timestamp::from_second(second).unwrap())
            .await
    }

    #[tokio::test]
    async fn a_hundred_at_once_cost_one_signature() {
        let (cache, signer) = (JwtCache::default(), Slow::new(true));
        let jwts = join_all((0..100).map(|_| ask(&cache, &signer, 0))).await;
        assert_eq!(signer.signatures(), 1);
        let first = jwts[0].as_ref().unwrap();
        assert!(jwts.iter().all(|jwt| Arc::ptr_eq(jwt.as_ref().unwrap(), first)));
    }

    #[tokio::test]
    async fn a_hundred_at_once_cost_one_failure_and_the_next_tries_again() {
        let (cache, signer) = (JwtCache::default(), Slow::new(false));
        let jwts = join_all((0..100).map(|_| ask(&cache, &signer, 0))).await;
        assert!(jwts.iter().all(|jwt| matches!(jwt, Err(SignError::Unavailable(_)))));
        assert_eq!(signer.signatures(), 1);
        let healed = Slow::new(true);
        ask(&cache, &healed, 0).await.unwrap();
        assert_eq!(healed.signatures(), 1);
    }

    #[tokio::test]
    async fn a_jwt_serves_until_a_minute_before_its_end() {
        let (cache, signer, second) = (JwtCache::default(), Slow::new(true), AtomicI64::new(0));
        for (at, signatures) in [(0, 1), (239, 1), (240, 2), (479, 2), (480, 3), (0, 4)] {
            second.store(at, Ordering::Relaxed);
            ask(&cache, &signer, at).await.unwrap();
            assert_eq!(signer.signatures(), signatures, "at {at}");
        }
    }

    #[tokio::test]
    async fn a_refused_jwt_is_replaced_once_for_all_who_were_refused() {
        let (cache, signer) = (JwtCache::default(), Slow::new(true));
        let old = ask(&cache, &signer, 0).await.unwrap();
        old.refuse();
        let new = ask(&cache, &signer, 1).await.unwrap();
        old.refuse();
        assert!(Arc::ptr_eq(&new, &ask(&cache, &signer, 2).await.unwrap()));
        assert_ne!(old.bearer().expose_secret(), new.bearer().expose_secret());
        assert_eq!(signer.signatures(), 2);
    }

    #[tokio::test]
    async fn a_caller_who_leaves_does_not_take_the_signature_with_him() {
        let (cache, signer) = (JwtCache::default(), Slow::new(true));
        let left = async {
            let mut asked = Box::pin(ask(&cache, &signer, 0));
            assert!(futures::poll!(&mut asked).is_pending());
        };
        left.await;
        ask(&cache, &signer, 0).await.unwrap();
        assert_eq!(signer.signatures(), 2);
    }
}
