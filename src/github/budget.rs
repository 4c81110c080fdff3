//! How many tokens an App may ask for now: what is left of our own limit, and of what GitHub says.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use reqwest::header::HeaderMap;
use tokio::time::Instant;

use super::answer;
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
    /// The same by a clock that nobody sets.
    over: Instant,
}

impl Quota {
    /// Reads `x-ratelimit-remaining` and `x-ratelimit-reset` of an answer that came `now`, at `at` by GitHub's clock.
    pub fn read(headers: &HeaderMap, at: Timestamp, now: Instant) -> Option<Self> {
        let remaining = headers.get("x-ratelimit-remaining")?.to_str().ok()?;
        let remaining = remaining.trim().parse().ok()?;
        Some(Quota::new(remaining, answer::resets_at(headers, at)?, at, now))
    }

    /// Nothing is left before `resets_at`, and it is `now`, `at` by GitHub's clock.
    pub fn used_up(resets_at: Timestamp, at: Timestamp, now: Instant) -> Self {
        Quota::new(0, resets_at, at, now)
    }

    fn new(remaining: u32, resets_at: Timestamp, at: Timestamp, now: Instant) -> Self {
        let wait = answer::bounded(resets_at.duration_since(at));
        Quota {
            remaining,
            resets_at,
            over: now + wait.unsigned_abs(),
        }
    }

    /// What is known after another answer. Answers may come in another order than GitHub counted: within one hour, what is left
    /// only shrinks.
    pub fn after(known: Option<Self>, answer: Self) -> Self {
        match known {
            Some(known) if known.resets_at > answer.resets_at => known,
            Some(known) if known.resets_at == answer.resets_at && known.remaining <= answer.remaining => known,
            _ => answer,
        }
    }

    /// What is left now.
    pub fn left(self, now: Instant) -> Budget {
        if now < self.over {
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
    /// Takes note of an answer to the App's JWT. Returns what was known before.
    fn learn(&self, answer: Quota) -> Option<Quota> {
        let mut known = self.quota.lock().unwrap_or_else(PoisonError::into_inner);
        let after = Quota::after(*known, answer);
        known.replace(after)
    }

    fn quota(&self) -> Option<Quota> {
        *self.quota.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn used_up(&self, now: Instant) -> Option<Quota> {
        self.quota().filter(|quota| quota.left(now) == Budget::NONE)
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

    fn prospect(&self, now: Instant) -> Budget {
        if self.fails.load(Ordering::Relaxed) {
            return Budget::NONE;
        }
        self.quota().map_or(Budget::Unlimited, |quota| quota.left(now))
    }
}

impl<S: Sign> Client<S> {
    /// The right to ask for one more token, if it can be had without waiting.
    pub fn mint_turn_now(&self) -> Option<Permit> {
        self.traffic().mints.acquire_now()
    }

    /// How many tokens may be asked for now: none while GitHub holds the App, or does not take its JWT.
    pub fn budget(&self) -> Budget {
        self.traffic().mints.left().min(self.prospect())
    }

    /// The same without our own limit of a minute: none if whoever waits for that would ask in vain.
    pub fn prospect(&self) -> Budget {
        self.standing.prospect(Instant::now())
    }

    /// Takes note of what GitHub says of the App's requests of the hour: when they are used up, nobody asks before there are new ones.
    /// A token's own call says nothing of it, since GitHub counts the calls with an installation's tokens for themselves.
    pub(super) fn learn(&self, answer: Quota) {
        let now = Instant::now();
        let before = self.standing.learn(answer);
        let held = self.keep_to_quota();
        if held && before.is_none_or(|before| before.left(now) > Budget::NONE) {
            self.observe.held();
        }
    }

    /// Knows of the App's requests of the hour what `former`, a client of the same App, does.
    pub(super) fn inherit_quota(&self, former: &Client<S>) {
        if let Some(known) = former.standing.quota() {
            self.standing.learn(known);
            self.keep_to_quota();
        }
    }

    /// Holds the mints while nothing is left of the hour; whether that is so.
    fn keep_to_quota(&self) -> bool {
        let now = Instant::now();
        let used_up = self.standing.used_up(now);
        if let Some(quota) = used_up {
            self.traffic().mints.hold_for(quota.over - now);
        }
        used_up.is_some()
    }

    /// When GitHub has new requests for the App, by its clock, if those of the hour are used up.
    pub(super) fn used_up_until(&self) -> Option<Timestamp> {
        self.standing.used_up(Instant::now()).map(|quota| quota.resets_at)
    }

    /// How many tokens were asked for since the start.
    pub fn mints_granted(&self) -> u64 {
        self.traffic().mints.granted()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn told(at: i64, now: Instant, remaining: u32, resets_at: i64) -> Option<Quota> {
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-remaining", remaining.into());
        headers.insert("x-ratelimit-reset", resets_at.into());
        Quota::read(&headers, Timestamp::from_second(at).unwrap(), now)
    }

    #[test]
    fn no_hour_is_longer_than_one() {
        let now = Instant::now();
        let longest = told(1_000, now, 0, 1_000 + 3_600);
        assert!(longest.is_some());
        assert_eq!(told(1_000, now, 0, i64::from(u32::MAX)), longest);
    }

    #[test]
    fn the_smallest_word_of_the_newest_hour_counts_until_it_is_over() {
        let now = Instant::now();
        let quota = |remaining, resets_at| told(1_000, now, remaining, resets_at).unwrap();
        let first = Quota::after(None, quota(10, 3600));
        let second = Quota::after(Some(first), quota(9, 3600));
        assert_eq!(Quota::after(Some(second), quota(10, 3600)), second);
        assert_eq!(Quota::after(Some(second), quota(5000, 4200)), quota(5000, 4200));
        assert_eq!(Quota::after(Some(quota(5000, 4200)), second), quota(5000, 4200));
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(second.left(after(2_600)), Budget::Left(9));
        // A second later than it says, since it is rounded.
        assert_eq!(second.left(after(2_601)), Budget::Unlimited);
        assert!(Budget::NONE < Budget::Left(9) && Budget::Left(u32::MAX) < Budget::Unlimited);
    }

    #[test]
    fn headers_that_are_no_numbers_say_nothing() {
        let mut headers = HeaderMap::new();
        let read = |headers: &HeaderMap| Quota::read(headers, Timestamp::UNIX_EPOCH, Instant::now());
        assert_eq!(read(&headers), None);
        headers.insert("x-ratelimit-remaining", "-1".parse().unwrap());
        headers.insert("x-ratelimit-reset", "99999999999999999999".parse().unwrap());
        assert_eq!(read(&headers), None);
    }

    #[test]
    fn an_hour_that_is_over_says_nothing() {
        for resets_at in [0, 999, 1_000] {
            assert_eq!(told(1_000, Instant::now(), 0, resets_at), None);
        }
    }
}
