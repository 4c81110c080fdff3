//! The revocation of one token: when it is its turn, and for how long it is tried.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::{Instant, timeout};

use crate::api::Reason;
use crate::cluster::Note;
use crate::domain::Sign;
use crate::github::{Client, Permit};

use super::app::{App, Unrevoked};
use super::job::Context;
use super::observer::Revocation;

/// How long one revocation may take, once it is its turn.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long the revocation of one token is tried in all, counted from its first turn, and its App waited for: then the Secret goes, and
/// the token is left to expire. So long is also waited for a turn at a GitHub that takes no revocation.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a Secret waits for its turn at a GitHub that takes revocations: its token is over by then.
const LONGEST_QUEUE: Duration = Duration::from_secs(60 * 60);
/// Between two attempts.
pub(super) const PAUSE: Duration = Duration::from_secs(3);

/// Revokes a token at this App's GitHub, when it is its turn. `first` is when that was tried first. An error says whether to try again.
pub async fn revoke<S: Sign>(
    app: Result<Arc<App<S>>, Unrevoked>,
    token: &SecretString,
    first: &mut Option<Instant>,
) -> Result<(), Unrevoked> {
    let revoked: Result<(), Unrevoked> = async {
        let app = app?;
        let turn = turn(&app.client).await?;
        first.get_or_insert_with(Instant::now);
        let revoked = app.client.revoke(token, DEADLINE, turn).await;
        revoked
            .map(drop)
            .map_err(|error| (error.retry().is_transient(), error.to_string()))
    }
    .await;
    let first = *first.get_or_insert_with(Instant::now);
    revoked.map_err(|(passes, why)| (passes && first.elapsed() < PATIENCE, why))
}

/// The right to revoke one token. Whoever waits for GitHub's minute goes on waiting as long as GitHub takes the revocations of others.
async fn turn<S: Sign>(client: &Client<S>) -> Result<Permit, Unrevoked> {
    let began = Instant::now();
    let mut turn = std::pin::pin!(client.revocation_turn());
    loop {
        if let Ok(turn) = timeout(PAUSE, &mut turn).await {
            return Ok(turn);
        }
        let untaken = client.takes_no_revocation_for();
        let vain = untaken.is_some_and(|untaken| untaken.min(began.elapsed()) >= PATIENCE);
        if vain {
            return Err((false, format!("GitHub has taken no revocation for {PATIENCE:?}")));
        }
        if began.elapsed() >= LONGEST_QUEUE {
            return Err((false, format!("GitHub's limits left no room for {LONGEST_QUEUE:?}")));
        }
    }
}

/// Counts a token that is left to expire, and says so: `which` one, and why.
pub(super) fn abandoned(context: &Context, which: &str, why: &str) -> Note {
    context.observer.revoked(Revocation::GivenUp);
    Note {
        reason: Reason::RevocationAbandoned,
        message: format!(
            "The token {which} could not be revoked and stays valid until it expires, within the hour: {why}"
        ),
        warning: true,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use jiff::Timestamp;

    use super::*;
    use crate::domain::SignError;
    use crate::github::{AppSettings, HttpOptions, Limits, Observation, Observe, http_client};

    struct Nobody;

    impl Sign for Nobody {
        async fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignError> {
            unreachable!("a revocation needs no key")
        }
    }

    impl Observe for Nobody {
        fn request(&self, _: Observation) {}
        fn signed(&self, _: bool) {}
        fn held(&self) {}
    }

    /// Of a GitHub that does not answer, which lets this many revocations through in a minute.
    fn client(per_minute: u32) -> Client<Nobody> {
        let settings = AppSettings {
            app_id: 1,
            client_id: None,
            base_url: "http://127.0.0.1:1/api/v3".parse().unwrap(),
            api_version: "2022-11-28".to_owned(),
            limits: Limits {
                concurrent: None,
                per_minute: NonZeroU32::new(per_minute),
            },
            quotes: true,
        };
        let http = http_client(&HttpOptions::default()).unwrap();
        Client::new(
            settings,
            Nobody,
            http,
            Arc::new(|| Timestamp::UNIX_EPOCH),
            Arc::new(Nobody),
        )
    }

    async fn fail(client: &Client<Nobody>) {
        let turn = client.revocation_turn().await;
        client.revoke(&"token".into(), DEADLINE, turn).await.unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_place_in_the_minute_waits_while_nothing_shows_that_it_is_in_vain() {
        let client = client(2);
        fail(&client).await;
        let start = Instant::now();
        let turns = futures::future::join_all((0..20).map(|_| turn(&client))).await;
        assert!(turns.iter().all(Result::is_ok));
        assert!(start.elapsed() >= Duration::from_secs(9 * 61));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_github_that_takes_none_waits_for_half_a_minute() {
        let client = client(3);
        for _ in 0..3 {
            fail(&client).await;
        }
        let start = Instant::now();
        let (_, why) = turn(&client).await.unwrap_err();
        assert_eq!(why, "GitHub has taken no revocation for 30s");
        assert!(start.elapsed() < PATIENCE + 2 * PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn no_token_is_waited_for_that_is_over() {
        let client = client(1);
        drop(client.revocation_turn().await);
        let start = Instant::now();
        let turns = futures::future::join_all((0..100).map(|_| turn(&client))).await;
        let done = turns.iter().filter(|turn| turn.is_ok()).count();
        assert!((58..=60).contains(&done), "{done} in an hour of 61 s each");
        assert!(start.elapsed() < LONGEST_QUEUE + 2 * PAUSE);
    }
}
