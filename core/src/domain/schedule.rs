//! When: due times, jitter and back-off. Every time is by GitHub's clock.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::digest::fraction;

/// The longest part of a token's life that is kept in reserve for outages.
pub const RESERVE: Duration = Duration::from_secs(15 * 60);
/// A token is never replaced sooner than this after it was issued, whatever its expiry says: no hot loop.
pub const FLOOR: Duration = Duration::from_secs(1);
/// The first wait of [`Retry::Backoff`].
pub const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest wait of [`Retry::Backoff`].
pub const BACKOFF_LONGEST: Duration = Duration::from_secs(5 * 60);
/// The least pause before it is found that someone has mended what does not heal by itself.
pub const HEALED: Duration = Duration::from_secs(60);
/// The share of the interval by which a token may be early.
const JITTER: f64 = 0.1;

/// When a failed attempt may be repeated. The error owns it; the schedule turns it into a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// An outage: 1 s doubling to 5 min with full jitter, capped by `spec.retryInterval`.
    Backoff,
    /// Will pass by itself, but not at once: this much later.
    After(Duration),
    /// Does not heal by itself: look again at this period, or when the object changes.
    Every(Duration),
    /// Not before this time, by GitHub's clock; nothing else of the App is held up.
    At(Timestamp),
    /// The whole App waits until this time, by GitHub's clock.
    HoldApp(Timestamp),
}

impl Retry {
    /// Whether the trouble may pass by itself.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        match self {
            Retry::Backoff | Retry::After(_) | Retry::At(_) | Retry::HoldApp(_) => true,
            Retry::Every(_) => false,
        }
    }

    /// The time, by GitHub's clock, that GitHub has named for it.
    #[must_use]
    pub const fn not_before(self) -> Option<Timestamp> {
        match self {
            Retry::At(time) | Retry::HoldApp(time) => Some(time),
            Retry::Backoff | Retry::After(_) | Retry::Every(_) => None,
        }
    }
}

/// When a token is to be replaced: `min(issued + refresh, expires - reserve)`, less up to a tenth of that interval, which is
/// always the same for one `uid`. The reserve is 15 min, or a quarter of the life of a token that lives shorter than an hour.
#[must_use]
pub fn due(issued: Timestamp, expires: Timestamp, refresh: Duration, uid: &str) -> Timestamp {
    let life = Duration::try_from(expires.duration_since(issued)).unwrap_or_default();
    let longest = life.saturating_sub(RESERVE.min(life / 4));
    let interval = refresh.min(longest);
    later(issued, interval.mul_f64(1.0 - JITTER * fraction(uid)).max(FLOOR))
}

/// When to try again. `failures` counts the attempts that failed in a row, this one included; `dice` is 0.0 to 1.0.
#[must_use]
pub fn next_attempt(now: Timestamp, retry: Retry, failures: u32, cap: Duration, dice: f64) -> Timestamp {
    match retry {
        Retry::Backoff => {
            let doubled = BACKOFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
            let longest = doubled.min(BACKOFF_LONGEST).min(cap.max(BACKOFF_FIRST));
            later(now, longest.mul_f64(dice.clamp(0.0, 1.0)).max(BACKOFF_FIRST / 4))
        }
        Retry::After(period) | Retry::Every(period) => {
            later(now, period.mul_f64(1.0 - JITTER * dice.clamp(0.0, 1.0)).max(FLOOR))
        }
        Retry::At(time) | Retry::HoldApp(time) => time.max(later(now, FLOOR)),
    }
}

/// The next attempt for a token that is still good until `expires`: after the wait, at least half of what was left of its life is
/// still left. So what ends some seconds before the token does is always found in time, whatever the back-off has grown to. What does
/// not heal by itself may be healed by someone: it is looked at as often, but not more than once in [`HEALED`].
#[must_use]
pub fn in_time(next: Timestamp, retry: Retry, now: Timestamp, expires: Option<Timestamp>) -> Timestamp {
    let left = expires.and_then(|expires| Duration::try_from(expires.duration_since(now)).ok());
    let least = match retry {
        Retry::Backoff | Retry::After(_) => BACKOFF_FIRST,
        Retry::Every(_) => HEALED,
        Retry::At(_) | Retry::HoldApp(_) => return next,
    };
    match left {
        Some(left) if !left.is_zero() => next.min(later(now, (left / 2).max(least))),
        _ => next,
    }
}

/// What a clock that is this far ahead shows at `time`.
#[must_use]
pub fn by_clock(time: Timestamp, ahead: SignedDuration) -> Timestamp {
    time.checked_add(ahead).unwrap_or(time)
}

/// `time + by`, or the end of time.
#[must_use]
pub fn later(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| time.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}

/// How often a Secret may be repaired or changed out of turn: someone else who keeps writing to it must not turn into a stream
/// of new tokens. Ten at once, then one every 20 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// When all of it is there again; a time in the past: all of it is there.
    full_at: Timestamp,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            full_at: Timestamp::MIN,
        }
    }
}

impl Budget {
    const BURST: u32 = 10;
    const REFILL: Duration = Duration::from_secs(20);

    /// Whether there is some left; if not, when there will be.
    ///
    /// # Errors
    /// The time of the next one.
    pub fn check(&self, now: Timestamp) -> Result<(), Timestamp> {
        let lowest = later(now, Self::REFILL * Self::BURST);
        if later(self.full_at.max(now), Self::REFILL) <= lowest {
            return Ok(());
        }
        let wait = self
            .full_at
            .duration_since(later(now, Self::REFILL * (Self::BURST - 1)));
        Err(later(now, Duration::try_from(wait).unwrap_or_default()))
    }

    /// When all of it is there again; `None`: it is.
    #[must_use]
    pub fn full_after(&self, now: Timestamp) -> Option<Timestamp> {
        (self.full_at > now).then_some(self.full_at)
    }

    /// Spends one.
    pub fn spend(&mut self, now: Timestamp) {
        self.full_at = later(self.full_at.max(now), Self::REFILL);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: u64 = 60;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn a_token_of_an_hour_is_due_after_its_interval_less_jitter() {
        let due = due(at(0), at(3600), Duration::from_secs(30 * MINUTE), "uid");
        assert!(due > at(27 * 60) && due <= at(30 * 60), "{due}");
    }

    #[test]
    fn the_reserve_wins_over_a_long_interval() {
        let due = due(at(0), at(3600), Duration::from_secs(55 * MINUTE), "uid");
        assert!(due > at(40 * 60) && due <= at(45 * 60), "{due}");
    }

    #[test]
    fn a_token_that_expired_on_arrival_does_not_loop() {
        assert_eq!(due(at(0), at(-100), Duration::from_secs(60), "uid"), at(1));
    }

    #[test]
    fn a_permanent_error_is_looked_at_at_its_period() {
        let next = next_attempt(
            at(0),
            Retry::Every(Duration::from_secs(600)),
            9,
            Duration::from_secs(1),
            0.0,
        );
        assert_eq!(next, at(600));
    }

    #[test]
    fn a_rate_limit_that_ended_in_the_past_is_not_a_hot_loop() {
        assert_eq!(next_attempt(at(0), Retry::At(at(-5)), 1, Duration::MAX, 0.5), at(1));
    }

    #[test]
    fn a_budget_lets_ten_through_at_once_and_then_one_every_20_seconds() {
        let mut budget = Budget::default();
        for _ in 0..10 {
            assert_eq!(budget.check(at(0)), Ok(()));
            budget.spend(at(0));
        }
        assert_eq!(budget.check(at(0)), Err(at(20)));
        assert_eq!(budget.check(at(20)), Ok(()));
        budget.spend(at(20));
        assert_eq!(budget.check(at(21)), Err(at(40)));
        assert_eq!(budget.check(at(10_000)), Ok(()));
    }

    proptest! {
        #[test]
        fn a_token_is_due_within_its_life_and_with_a_reserve(life in 60u64..7200, refresh in 1u64..7200, uid in "[a-z0-9-]{1,36}") {
            let expires = later(at(0), Duration::from_secs(life));
            let due = due(at(0), expires, Duration::from_secs(refresh), &uid);
            let reserve = RESERVE.min(Duration::from_secs(life) / 4);
            prop_assert!(due >= at(1));
            prop_assert!(later(due, reserve) <= later(expires, Duration::from_secs(1)));
            prop_assert!(due <= later(at(0), Duration::from_secs(refresh.max(1))));
        }

        #[test]
        fn a_back_off_is_between_a_quarter_second_and_its_cap(failures in 0u32..100, cap in 1u64..4000, dice in 0.0f64..=1.0) {
            let cap = Duration::from_secs(cap);
            let next = next_attempt(at(0), Retry::Backoff, failures, cap, dice);
            prop_assert!(next > at(0));
            prop_assert!(next <= later(at(0), cap.min(BACKOFF_LONGEST)));
        }

        #[test]
        fn an_outage_that_ends_before_the_token_does_is_found_in_time(
            life in 5i64..900, share in 0i64..=100, cap in 1u64..3600, dice in 0.0f64..=1.0,
        ) {
            let (expires, end) = (at(life), at((life - 2) * share / 100));
            let (mut now, mut failures) = (at(0), 0);
            while now <= end {
                failures += 1;
                let next = next_attempt(now, Retry::Backoff, failures, Duration::from_secs(cap), dice);
                now = in_time(next, Retry::Backoff, now, Some(expires));
            }
            prop_assert!(now < expires, "{now}, and the token expired at {expires}");
            prop_assert!(failures < 4_000);
        }

        #[test]
        fn jitter_is_stable_for_one_object(uid in "[a-z0-9-]{1,36}") {
            let refresh = Duration::from_secs(1800);
            prop_assert_eq!(due(at(0), at(3600), refresh, &uid), due(at(0), at(3600), refresh, &uid));
        }
    }
}
