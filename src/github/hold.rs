//! How long a whole App waits after a secondary rate limit.

use std::time::Duration;

use tokio::time::Instant;

/// GitHub asks for at least a minute where it does not say how long:
/// <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit>.
const FIRST: Duration = Duration::from_secs(60);
/// The doubling ends here: as long before its end as a token is refreshed.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// Secondary limits that were hit one after another.
#[derive(Debug, Default)]
pub(super) struct Hold {
    consecutive: u32,
    until: Option<Instant>,
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

    /// Whether a request of that time was sent before the last hit was known, or in spite of it.
    fn held_at(&self, sent: Instant) -> bool {
        self.until.is_some_and(|until| sent < until)
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
