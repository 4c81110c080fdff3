//! Awaiting conditions: every wait has a deadline and tells what it last saw.

use std::{fmt::Display, panic::Location, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use crate::error::Error;

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// Tries `condition` until it is `Ok`, at most for `within`, and returns what it found.
/// The `Err` of a try is the state that it saw; a try that hangs is cut off at the deadline.
///
/// # Errors
/// [`Error::Timeout`] with the last state seen.
pub async fn wait_for<T, E: Display>(
    within: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, Error> {
    let deadline = Instant::now() + within;
    let mut last = None;
    loop {
        match timeout_at(deadline, condition()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(state)) => last = Some(state.to_string()),
            Err(_) => last = last.or_else(|| Some("nothing: the first try hung".into())),
        }
        if Instant::now() + PAUSE >= deadline {
            return Err(Error::Timeout {
                what: what.into(),
                within,
                last: last.unwrap_or_default(),
            });
        }
        sleep(PAUSE).await;
    }
}

/// [`wait_for`] for tests.
///
/// # Panics
/// When the deadline passes; the message holds the caller's place, the condition and the last state seen.
#[track_caller]
pub fn eventually<T, E: Display>(
    within: Duration,
    what: &str,
    condition: impl AsyncFnMut() -> Result<T, E>,
) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        match wait_for(within, what, condition).await {
            Ok(found) => found,
            Err(error) => panic!("{caller}: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_comes_true_yields_its_value() {
        let mut tries = 0;
        let found = eventually(Duration::from_secs(10), "third try", async || {
            tries += 1;
            if tries == 3 {
                Ok("here")
            } else {
                Err(format!("try {tries}"))
            }
        })
        .await;
        assert_eq!((found, tries), ("here", 3));
    }

    #[tokio::test]
    async fn a_deadline_reports_the_last_state() {
        let within = Duration::from_millis(120);
        let error = wait_for(within, "the moon", async || Err::<(), _>("clouds"))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "not within 120ms: the moon; last seen: clouds");
    }

    #[tokio::test]
    async fn a_try_that_hangs_is_cut_off() {
        let within = Duration::from_millis(80);
        let error = wait_for(within, "an answer", async || {
            std::future::pending::<Result<(), &str>>().await
        })
        .await
        .unwrap_err();
        assert!(error.to_string().contains("hung"), "{error}");
    }
}
