//! What is the same for every key service: the whole call's time, the proof of each signature, the pause after a failure.

use std::fmt;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::Instant;

use super::{PublicKey, ServiceKey};
use crate::domain::SignError;

/// How long a key service may take for one signature, or to be connected to, with all repetitions.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failure the service is not asked for this long, however many tokens wait for a signature.
const REST: Duration = Duration::from_secs(5);
/// A service that wants fewer requests is not waited for longer than this.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// A version of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// As the service names it.
    pub id: String,
    /// Its public half.
    pub key: PublicKey,
}

/// One key of a key service.
pub trait Service: Sized + Send + Sync {
    /// The newest version that can sign; the pinned one where the key's name pins one. The service is asked.
    fn newest(&self) -> impl Future<Output = Result<Version, SignError>> + Send;

    /// That version's RSASSA-PKCS1-v1_5 signature of a SHA-256 digest. Nobody relies on its being right.
    fn sign(&self, version: &Version, digest: &[u8]) -> impl Future<Output = Result<Vec<u8>, SignError>> + Send;
}

/// A key of a key service, with what is known of it.
pub struct Remote<S> {
    key: ServiceKey,
    service: S,
    state: Mutex<State>,
}

struct State {
    version: Version,
    rest: Option<(Instant, SignError)>,
}

impl<S> fmt::Debug for Remote<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.key)
    }
}

impl<S: Service> Remote<S> {
    /// Asks the service for the newest version.
    pub(super) async fn connect(
        key: &ServiceKey,
        service: impl Future<Output = Result<S, SignError>>,
    ) -> Result<Self, SignError> {
        let connected = async {
            let service = service.await?;
            let version = service.newest().await?;
            Ok((service, version))
        };
        let (service, version) = within(key, connected).await?;
        Ok(Remote {
            key: key.clone(),
            service,
            state: Mutex::new(State { version, rest: None }),
        })
    }

    /// The version in use.
    pub(super) fn version(&self) -> Version {
        self.state().version.clone()
    }

    /// Whether the service has another newest version by now.
    pub(super) async fn has_newer(&self) -> Result<bool, SignError> {
        let newest = within(&self.key, self.service.newest()).await?;
        Ok(newest != self.version())
    }

    /// Whether the last signature could not be had.
    pub(super) fn fails(&self) -> bool {
        self.state().rest.is_some()
    }

    /// A signature that has been verified.
    pub(super) async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        if let Some((until, error)) = &self.state().rest
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        let signed = within(&self.key, self.sign_with_a_good_version(message)).await;
        self.state().rest = signed.as_ref().err().map(|error| {
            let rest = match error {
                SignError::Throttled { wait, .. } => (*wait).clamp(REST, LONGEST_REST),
                _ => REST,
            };
            (Instant::now() + rest, error.clone())
        });
        signed
    }

    async fn sign_with_a_good_version(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let version = self.version();
        match self.sign_with(&version, message).await {
            Err(error) if error.is_about_the_version() => {
                let newest = self.service.newest().await?;
                if newest == version {
                    return Err(error);
                }
                let signature = self.sign_with(&newest, message).await?;
                tracing::info!(key = %self.key, version = newest.id, "the key's former version is gone: {error}");
                self.state().version = newest;
                Ok(signature)
            }
            signed => signed,
        }
    }

    async fn sign_with(&self, version: &Version, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let digest = digest(&SHA256, message);
        let signature = self.service.sign(version, digest.as_ref()).await?;
        if version.key.verifies(message, &signature) {
            return Ok(signature);
        }
        let (key, id) = (&self.key, &version.id);
        Err(SignError::BadSignature(format!(
            "key {key}: the service's signature is none of the public key that it gives for {id}, and is not used; is there a \
             proxy or another service at its address?"
        )))
    }

    /// Held for no longer than a look.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The outcome, or [`SignError::Slow`].
async fn within<T>(key: &ServiceKey, call: impl Future<Output = Result<T, SignError>>) -> Result<T, SignError> {
    tokio::time::timeout(TOTAL_TIMEOUT, call).await.unwrap_or_else(|_| {
        let (provider, seconds) = (key.provider(), TOTAL_TIMEOUT.as_secs());
        Err(SignError::Slow(format!(
            "key {key}: provider {provider} did not answer in time ({seconds} seconds); check that its address can be reached from \
             here, past proxies and firewalls"
        )))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::signer::{PemKey, Provider};

    const PEM: &str = include_str!("testdata/app.pem");

    /// Signs right for every version but those that it is told not to.
    struct Fake {
        newest: Mutex<&'static str>,
        failing: Mutex<Option<(&'static str, SignError)>>,
        hangs: bool,
        lies: bool,
        asked: AtomicU64,
    }

    impl Fake {
        fn new() -> Self {
            Fake {
                newest: Mutex::new("1"),
                failing: Mutex::new(None),
                hangs: false,
                lies: false,
                asked: AtomicU64::new(0),
            }
        }

        fn fail(&self, version: &'static str, error: SignError) {
            *self.failing.lock().unwrap() = Some((version, error));
        }
    }

    impl Service for Fake {
        async fn newest(&self) -> Result<Version, SignError> {
            Ok(Version {
                id: (*self.newest.lock().unwrap()).to_owned(),
                key: PemKey::parse(PEM.as_bytes()).unwrap().public_key().unwrap(),
            })
        }

        async fn sign(&self, version: &Version, digest: &[u8]) -> Result<Vec<u8>, SignError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            assert_eq!(digest.len(), 32);
            if self.hangs {
                std::future::pending::<()>().await;
            }
            match &*self.failing.lock().unwrap() {
                Some((failing, error)) if *failing == version.id => Err(error.clone()),
                _ if self.lies => PemKey::parse(PEM.as_bytes()).unwrap().sign(b"something else"),
                _ => PemKey::parse(PEM.as_bytes()).unwrap().sign(MESSAGE),
            }
        }
    }

    const MESSAGE: &[u8] = b"header.payload";

    async fn connect(fake: Fake) -> Remote<Fake> {
        let key = ServiceKey::parse(Provider::Vault, "github").unwrap();
        Remote::connect(&key, async { Ok(fake) }).await.unwrap()
    }

    fn asked(remote: &Remote<Fake>) -> u64 {
        remote.service.asked.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_signature_is_given_and_a_wrong_one_is_not() {
        let remote = connect(Fake::new()).await;
        assert!(
            remote
                .version()
                .key
                .verifies(MESSAGE, &remote.sign(MESSAGE).await.unwrap())
        );
        let lies = connect(Fake {
            lies: true,
            ..Fake::new()
        })
        .await;
        let error = lies.sign(MESSAGE).await.unwrap_err();
        assert!(matches!(error, SignError::BadSignature(_)), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_hangs_is_given_up_in_time() {
        let remote = connect(Fake {
            hangs: true,
            ..Fake::new()
        })
        .await;
        let start = Instant::now();
        let error = remote.sign(MESSAGE).await.unwrap_err();
        assert!(matches!(error, SignError::Slow(_)), "{error}");
        assert!(start.elapsed() < TOTAL_TIMEOUT + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_the_service_has_a_rest() {
        let remote = connect(Fake::new()).await;
        remote.service.fail("1", SignError::Unavailable("down".into()));
        for _ in 0..100 {
            remote.sign(MESSAGE).await.unwrap_err();
        }
        assert_eq!(asked(&remote), 1);
        *remote.service.failing.lock().unwrap() = None;
        tokio::time::advance(REST).await;
        assert!(remote.fails());
        remote.sign(MESSAGE).await.unwrap();
        remote.sign(MESSAGE).await.unwrap();
        assert_eq!(asked(&remote), 3);
        assert!(!remote.fails());
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_wants_fewer_requests_gets_fewer() {
        let remote = connect(Fake::new()).await;
        let (message, wait) = ("slow down".to_owned(), Duration::from_secs(3600));
        remote.service.fail("1", SignError::Throttled { message, wait });
        remote.sign(MESSAGE).await.unwrap_err();
        tokio::time::advance(LONGEST_REST - Duration::from_secs(1)).await;
        remote.sign(MESSAGE).await.unwrap_err();
        assert_eq!(asked(&remote), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        remote.sign(MESSAGE).await.unwrap_err();
        assert_eq!(asked(&remote), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_version_is_left_alone_until_the_old_one_is_gone() {
        let remote = connect(Fake::new()).await;
        assert_eq!(remote.has_newer().await, Ok(false));
        *remote.service.newest.lock().unwrap() = "2";
        assert_eq!(remote.has_newer().await, Ok(true));
        remote.sign(MESSAGE).await.unwrap();
        assert_eq!(remote.version().id, "1");
        remote.service.fail("1", SignError::Disabled("off".into()));
        remote.sign(MESSAGE).await.unwrap();
        assert_eq!(remote.version().id, "2");
    }

    #[tokio::test(start_paused = true)]
    async fn the_only_version_that_is_gone_keeps_its_own_error() {
        let remote = connect(Fake::new()).await;
        let gone = SignError::Deleted("gone".into());
        remote.service.fail("1", gone.clone());
        assert_eq!(remote.sign(MESSAGE).await, Err(gone));
        assert_eq!(asked(&remote), 1);
    }
}
