//! How many tokens an App may ask for now: what is left of our own limit, and of what GitHub says.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use reqwest::header::HeaderMap;

use super::answer::{HOUR, later};
use super::client::Client;
use super::error::Error;
use super::gate::Permit;
use crate::domain::Sign;

/// How many tokens an App may ask for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Budget {
    /// So many.
    Left(u32),
    /// Nothing that is known limits it, as on an Enterprise Server.
    Unlimited,
}

impl Budget {
    /// None at all.
    pub const NONE: Budget = Budget::Left(0);
}

/// What GitHub says of the App's requests of the hour
/// (<https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#checking-the-status-of-your-rate-limit>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    remaining: u32,
    resets_at: Timestamp,
}

impl Quota {
    /// Reads `x-ratelimit-remaining` and `x-ratelimit-reset` of an answer that came at `now` by GitHub's clock.
    pub fn read(headers: &HeaderMap, now: Timestamp) -> Option<Self> {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let resets_at = Timestamp::from_second(text("x-ratelimit-reset")?.trim().parse().ok()?).ok()?;
        Some(Quota {
            remaining: text("x-ratelimit-remaining")?.trim().parse().ok()?,
            resets_at: resets_at.min(later(now, HOUR)),
        })
    }

    /// What is known after another answer. Answers may come in another order than GitHub counted: within one hour, what is left
    /// only shrinks.
    pub fn after(known: Option<Self>, answer: Self) -> Self {
        match known {
            Some(known) if known.resets_at > answer.resets_at => known,
            Some(known) if known.resets_at == answer.resets_at && known.remaining < answer.remaining => known,
            _ => answer,
        }
    }

    /// What is left at `now`, by GitHub's clock.
    pub fn left(self, now: Timestamp) -> Budget {
        if now < self.resets_at {
            Budget::Left(self.remaining)
        } else {
            Budget::Unlimited
        }
    }
}

/// How the App stands with its key and with GitHub.
#[derive(Debug, Default)]
pub(super) struct Standing {
    quota: Mutex<Option<Quota>>,
    /// The last JWT could not be signed, or was refused.
    fails: AtomicBool,
}

impl Standing {
    /// Takes note of an answer to the App's JWT.
    pub fn learn(&self, headers: &HeaderMap, now: Timestamp) {
        if let Some(answer) = Quota::read(headers, now) {
            let mut known = self.quota.lock().unwrap_or_else(PoisonError::into_inner);
            *known = Some(Quota::after(*known, answer));
        }
    }

    /// The JWT could not be signed, or was refused.
    pub fn fail(&self) {
        self.fails.store(true, Ordering::Relaxed);
    }

    /// Takes note of how a request with the App's JWT ended.
    pub fn ended(&self, error: Option<&Error>) {
        match error {
            None => self.fails.store(false, Ordering::Relaxed),
            Some(Error::AppRefused { .. }) => self.fail(),
            Some(_) => {}
        }
    }

    fn prospect(&self, now: Timestamp) -> Budget {
        if self.fails.load(Ordering::Relaxed) {
            return Budget::NONE;
        }
        let quota = *self.quota.lock().unwrap_or_else(PoisonError::into_inner);
        quota.map_or(Budget::Unlimited, |quota| quota.left(now))
    }
}

impl<S: Sign> Client<S> {
    /// The right to ask for one more token, if it can be had without waiting.
    pub fn mint_turn_now(&self) -> Option<Permit> {
        self.mints.acquire_now()
    }

    /// How many tokens may be asked for now: none while GitHub holds the App, or does not take its JWT.
    pub fn budget(&self) -> Budget {
        self.mints.left().min(self.prospect())
    }

    /// The same without our own limit of a minute: none if whoever waits for that would ask in vain.
    pub fn prospect(&self) -> Budget {
        self.standing.prospect(self.github_now())
    }

    /// How many tokens were asked for since the start.
    pub fn mints_granted(&self) -> u64 {
        self.mints.granted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(at: i64, remaining: u32, resets_at: i64) -> Quota {
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-remaining", remaining.into());
        headers.insert("x-ratelimit-reset", resets_at.into());
        Quota::read(&headers, Timestamp::from_second(at).unwrap()).unwrap()
    }

    fn quota(remaining: u32, resets_at: i64) -> Quota {
        told(resets_at - 60, remaining, resets_at)
    }

    #[test]
    fn no_hour_is_longer_than_one() {
        assert_eq!(told(1_000, 0, i64::from(u32::MAX)), told(1_000, 0, 1_000 + 3_600));
    }

    #[test]
    fn the_smallest_word_of_the_newest_hour_counts_until_it_is_over() {
        let first = Quota::after(None, quota(10, 3600));
        let second = Quota::after(Some(first), quota(9, 3600));
        assert_eq!(Quota::after(Some(second), quota(10, 3600)), second);
        assert_eq!(Quota::after(Some(second), quota(5000, 7200)), quota(5000, 7200));
        assert_eq!(Quota::after(Some(quota(5000, 7200)), second), quota(5000, 7200));
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(second.left(at(3599)), Budget::Left(9));
        assert_eq!(second.left(at(3600)), Budget::Unlimited);
        assert!(Budget::NONE < Budget::Left(9) && Budget::Left(u32::MAX) < Budget::Unlimited);
    }

    #[test]
    fn headers_that_are_no_numbers_say_nothing() {
        let mut headers = HeaderMap::new();
        assert_eq!(Quota::read(&headers, Timestamp::UNIX_EPOCH), None);
        headers.insert("x-ratelimit-remaining", "-1".parse().unwrap());
        headers.insert("x-ratelimit-reset", "99999999999999999999".parse().unwrap());
        assert_eq!(Quota::read(&headers, Timestamp::UNIX_EPOCH), None);
    }
}
