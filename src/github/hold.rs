//! How long a whole App waits after a rate limit.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::answer::{self, Asked};
use super::budget::Quota;
use super::client::Client;
use super::error::Error;
use crate::domain::Sign;

/// GitHub asks for at least a minute where it does not say how long:
/// <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit>.
const FIRST: Duration = Duration::from_secs(60);
/// The doubling ends here: as long before its end as a token is refreshed.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// How long revocations wait at most because of one token: less than the half minute for which each is tried.
const TOKENS_HOLD: Duration = Duration::from_secs(20);

/// Secondary limits that were hit one after another.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hold {
    consecutive: u32,
    until: Option<Instant>,
    /// The same by GitHub's clock, as whoever asked was told.
    told: Option<Timestamp>,
}

impl Hold {
    /// A request that was sent at `sent` hit the limit: how long everybody waits from `now` on. Requests that were under way
    /// together when the limit was hit count as one hit.
    pub(super) fn hit(&mut self, sent: Instant, now: Instant, announced: Option<Duration>) -> Duration {
        if !self.held_at(sent) {
            self.consecutive = self.consecutive.saturating_add(1);
        }
        let doubled = FIRST.saturating_mul(1 << (self.consecutive.clamp(1, 16) - 1));
        let wait = announced.unwrap_or(doubled.min(LONGEST));
        self.until = Some(self.until.map_or(now + wait, |until| until.max(now + wait)));
        wait
    }

    /// A request that was sent at `sent` succeeded: if nobody was held then, the next hit is again the first.
    pub(super) fn success(&mut self, sent: Instant) {
        if !self.held_at(sent) {
            *self = Hold::default();
        }
    }

    /// How much longer everybody waits.
    pub(super) fn left(self, now: Instant) -> Option<Duration> {
        self.until?.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Whether a request of that time was sent before the last hit was known, or in spite of it.
    fn held_at(&self, sent: Instant) -> bool {
        self.until.is_some_and(|until| sent < until)
    }
}

impl<S: Sign> Client<S> {
    pub(super) fn held(&self) -> MutexGuard<'_, Hold> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on where `former`, a client of the same App, is, and waiting where that was told to: a new key or another limit ends neither
    /// GitHub's minute nor its hold.
    pub fn inherit(&self, former: &Client<S>) {
        let hold = *former.held();
        if hold.left(Instant::now()).is_some() {
            *self.held() = hold;
        }
        self.inherit_quota(former);
        self.follow(former);
    }

    /// After a limit, holds whoever asks as the App; after a secondary one, says until when. A token's own call, as a revocation is, is limited
    /// by whatever its user did with it: that stops no mint of anyone, and the revocations of others for a moment.
    pub(super) fn slow_down(&self, asked: &Asked<'_>, error: Error, sent: Instant) -> Error {
        if let Error::PrimaryLimit { resets_at, .. } = &error
            && !asked.by_token()
        {
            self.learn(Quota::used_up(*resets_at, self.github_now(), Instant::now()));
        }
        let Error::SecondaryLimit { announced, said, .. } = error else {
            return error;
        };
        let ends = |wait: Duration| {
            let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
            answer::later(self.github_now(), wait)
        };
        let until = if asked.by_token() {
            let wait = announced.unwrap_or(TOKENS_HOLD).min(TOKENS_HOLD);
            self.traffic().revocations.hold_for(wait);
            ends(wait)
        } else {
            self.observe.held();
            let mut hold = self.held();
            let wait = hold.hit(sent, Instant::now(), announced);
            let until = ends(wait);
            hold.told = hold.told.max(Some(until));
            self.traffic().mints.hold_for(wait);
            until
        };
        Error::SecondaryLimit { announced, until, said }
    }

    /// What everybody is told who would ask as the App before GitHub wants to be asked again: nobody does.
    pub fn on_hold(&self) -> Option<Error> {
        let said = || "it has said so, and is not asked before then".to_owned();
        let hold = *self.held();
        let secondary = hold
            .left(Instant::now())
            .and(hold.told)
            .map(|until| Error::SecondaryLimit {
                announced: None,
                until,
                said: said(),
            });
        let primary = self.used_up_until().map(|resets_at| Error::PrimaryLimit {
            resets_at,
            said: said(),
        });
        let both = secondary.into_iter().chain(primary);
        both.max_by_key(|held| held.retry().not_before())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn consecutive_hits_double_from_a_minute_to_a_quarter_of_an_hour() {
        let (t0, mut hold) = (Instant::now(), Hold::default());
        let waits: Vec<_> = (1..=40)
            .map(|n| hold.hit(t0 + secs(1_000 * n), t0 + secs(1_000 * n + 1), None))
            .collect();
        assert_eq!(waits[..6], [60, 120, 240, 480, 900, 900].map(secs));
        assert_eq!(waits[39], secs(900));
    }

    #[test]
    fn requests_that_were_under_way_together_are_one_hit() {
        let (t0, mut hold) = (Instant::now(), Hold::default());
        for millis in 0..100 {
            assert_eq!(hold.hit(t0, t0 + Duration::from_millis(millis), None), secs(60));
        }
        assert_eq!(hold.hit(t0 + secs(61), t0 + secs(62), None), secs(120));
    }

    #[test]
    fn what_github_announces_is_kept() {
        let t0 = Instant::now();
        assert_eq!(Hold::default().hit(t0, t0, Some(secs(7))), secs(7));
    }

    #[test]
    fn a_success_after_the_hold_starts_over_and_one_from_before_its_end_does_not() {
        let (t0, mut hold) = (Instant::now(), Hold::default());
        hold.hit(t0, t0 + secs(1), None);
        hold.success(t0);
        hold.success(t0 + secs(60));
        assert_eq!(hold.hit(t0 + secs(61), t0 + secs(61), None), secs(120));
        hold.success(t0 + secs(181));
        assert_eq!(hold.hit(t0 + secs(182), t0 + secs(182), None), secs(60));
    }
}
