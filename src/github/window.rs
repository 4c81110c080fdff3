//! At most N grants in any period of a given length: a sliding window.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

/// The period of GitHub's limits of points: <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits>.
const MINUTE: Duration = Duration::from_secs(60);
/// GitHub counts a request when it arrives. If each arrives between 0 and this much after its grant, then all that arrive
/// within one minute were granted within one minute and this much. It costs 1 / 61 of the rate.
const SLACK: Duration = Duration::from_secs(1);

/// Remembers the grants of the last period, where something limits them.
#[derive(Debug)]
pub struct Window {
    limit: Option<usize>,
    period: Duration,
    /// When each grant leaves the window, in order.
    leaving: VecDeque<Instant>,
}

impl Window {
    /// At most `limit` grants in any half-open interval of length `period`; `None` is no limit.
    #[must_use]
    pub fn new(limit: Option<NonZeroU32>, period: Duration) -> Self {
        let mut window = Window {
            limit: None,
            period,
            leaving: VecDeque::new(),
        };
        window.limit(limit);
        window
    }

    /// A window such that GitHub sees at most `limit` requests in any minute, if each reaches it within a second.
    #[must_use]
    pub fn per_minute(limit: Option<NonZeroU32>) -> Self {
        Window::new(limit, MINUTE + SLACK)
    }

    /// At most so many from now on. Without a limit nothing is remembered: any number may come in a minute.
    pub fn limit(&mut self, limit: Option<NonZeroU32>) {
        self.limit = limit.map(|limit| usize::try_from(limit.get()).unwrap_or(usize::MAX));
        if self.limit.is_none() {
            self.leaving = VecDeque::new();
        }
    }

    /// Grants now, or says when to ask again.
    ///
    /// # Errors
    /// The earliest time at which a grant is possible.
    pub fn grant(&mut self, now: Instant) -> Result<(), Instant> {
        let Some(limit) = self.limit else { return Ok(()) };
        while self.leaving.front().is_some_and(|leaves| *leaves <= now) {
            self.leaving.pop_front();
        }
        // The window may hold more than the limit, when it was seeded with the past, or had another one.
        let over = self.leaving.len().checked_sub(limit);
        match over.and_then(|over| self.leaving.get(over)) {
            Some(free) => Err(*free),
            None => {
                self.leaving.push_back(now + self.period);
                Ok(())
            }
        }
    }

    /// A grant is used now, which was made at `granted`: it counts from now on.
    pub fn used(&mut self, granted: Instant, now: Instant) {
        let leaves = granted + self.period;
        let place = self.leaving.partition_point(|other| *other < leaves);
        if self.leaving.get(place) == Some(&leaves) {
            self.leaving.remove(place);
            let at = now + self.period;
            let place = self.leaving.partition_point(|other| *other <= at);
            self.leaving.insert(place, at);
        }
    }

    /// How many grants are left now; `None` is no limit.
    #[must_use]
    pub fn left(&self, now: Instant) -> Option<usize> {
        let gone = self.leaving.partition_point(|leaves| *leaves <= now);
        Some(self.limit?.saturating_sub(self.leaving.len() - gone))
    }

    /// Counts the grants of another window.
    pub fn absorb(&mut self, other: Window) {
        self.remember(other.leaving);
    }

    /// Counts grants that were made this long before `now`, for example before a restart.
    pub fn record_past(&mut self, now: Instant, ages: impl IntoIterator<Item = Duration>) {
        let period = self.period;
        let remaining = ages.into_iter().filter_map(|age| period.checked_sub(age));
        self.remember(remaining.map(|left| now + left));
    }

    fn remember(&mut self, leaving: impl IntoIterator<Item = Instant>) {
        if self.limit.is_some() {
            self.leaving.extend(leaving);
            self.leaving.make_contiguous().sort_unstable();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limit(n: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(n)
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn without_a_limit_nothing_is_remembered() {
        let (t0, mut window) = (Instant::now(), Window::new(None, secs(10)));
        window.record_past(t0, [secs(1)]);
        for _ in 0..1_000 {
            window.grant(t0).unwrap();
        }
        assert!(window.leaving.is_empty() && window.left(t0).is_none());
        window.limit(limit(1));
        window.grant(t0).unwrap();
        window.limit(None);
        assert!(window.leaving.is_empty());
    }

    #[test]
    fn a_free_window_allows_a_burst_and_then_says_when() {
        let (t0, mut window) = (Instant::now(), Window::new(limit(3), secs(10)));
        for second in 0..3 {
            window.grant(t0 + secs(second)).unwrap();
        }
        assert_eq!(window.left(t0 + secs(3)), Some(0));
        assert_eq!(window.grant(t0 + secs(3)), Err(t0 + secs(10)));
        assert_eq!([10, 60].map(|at| window.left(t0 + secs(at))), [Some(1), Some(3)]);
        assert_eq!(window.grant(t0 + secs(10)), Ok(()));
        assert_eq!(window.grant(t0 + secs(10)), Err(t0 + secs(11)));
    }

    #[test]
    fn a_grant_that_is_used_late_counts_from_then_on() {
        let (t0, mut window) = (Instant::now(), Window::new(limit(2), secs(10)));
        window.grant(t0).unwrap();
        window.grant(t0 + secs(1)).unwrap();
        window.used(t0, t0 + secs(9));
        assert_eq!(window.grant(t0 + secs(10)), Err(t0 + secs(11)));
        assert_eq!(window.grant(t0 + secs(11)), Ok(()));
        assert_eq!(window.grant(t0 + secs(11)), Err(t0 + secs(19)));
        // It has left already, or another window has made it.
        window.used(t0 + secs(5), t0 + secs(30));
        assert_eq!(window.left(t0 + secs(30)), Some(2));
    }

    #[test]
    fn the_past_counts_even_when_it_was_more_than_the_limit() {
        let (t0, mut window) = (Instant::now(), Window::new(limit(2), secs(10)));
        window.record_past(t0, [secs(1), secs(9), secs(4), secs(10), secs(500)]);
        assert_eq!(window.grant(t0), Err(t0 + secs(6)));
        assert_eq!(window.grant(t0 + secs(6)), Ok(()));
        assert_eq!(window.grant(t0 + secs(6)), Err(t0 + secs(9)));
    }

    /// Callers come at the given gaps (ms), and each request takes the given time (ms) to GitHub: the arrivals there.
    fn arrivals(rate: u32, requests: &[(u64, u64)]) -> Vec<Duration> {
        let (t0, mut window) = (Instant::now(), Window::per_minute(limit(rate)));
        let (mut caller, mut free) = (t0, t0);
        let mut arrivals: Vec<_> = requests
            .iter()
            .map(|(gap, latency)| {
                caller += Duration::from_millis(*gap);
                let mut now = caller.max(free);
                while let Err(later) = window.grant(now) {
                    assert!(later > now);
                    now = later;
                }
                free = now;
                now + Duration::from_millis(*latency) - t0
            })
            .collect();
        arrivals.sort_unstable();
        arrivals
    }

    /// The most that a server sees in any 60 s.
    fn most_in_a_minute(arrivals: &[Duration]) -> usize {
        (0..arrivals.len())
            .map(|first| arrivals[first..].partition_point(|at| *at <= arrivals[first] + MINUTE))
            .max()
            .unwrap_or(0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn github_never_sees_more_than_the_rate_in_any_minute(
            rate in 1u32..=180,
            requests in prop::collection::vec((prop_oneof![4 => Just(0u64), 2 => 0u64..400, 1 => 0u64..90_000], 0u64..1_000), 1..1_000),
        ) {
            prop_assert!(most_in_a_minute(&arrivals(rate, &requests)) <= rate as usize);
        }

        #[test]
        fn a_saturated_gate_uses_96_percent_of_180_a_minute_and_no_more(jitter in prop::collection::vec(0u64..=300, 2_000)) {
            let requests: Vec<_> = jitter.into_iter().map(|latency| (0, latency)).collect();
            let arrivals = arrivals(180, &requests);
            prop_assert!(most_in_a_minute(&arrivals) <= 180);
            // Bursts come at 0 s, 61 s, ...: eleven full ones and a rest of 20.
            let used = arrivals.len() as f64 - 20.0;
            let minutes = arrivals.last().unwrap().as_secs_f64() / 60.0;
            prop_assert!(used / (minutes * 180.0) >= 0.96, "{} in {} min", used, minutes);
        }
    }

    #[test]
    fn callers_that_come_evenly_wait_little_for_the_whole_rate() {
        // 177 a minute for ten minutes: what 61 s instead of 60 s leave of 180.
        let requests: Vec<_> = (0..1_770).map(|_| (60_000 / 177 + 1, 0)).collect();
        let last = arrivals(180, &requests).pop().unwrap();
        let asked = Duration::from_millis(1_770 * (60_000 / 177 + 1));
        assert!(last <= asked + secs(1), "{last:?} instead of {asked:?}");
    }
}
