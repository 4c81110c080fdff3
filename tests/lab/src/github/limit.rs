//! Rate limits: requests at once, points in a sliding window, requests in a fixed one.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::fault::Route;
use super::settings::{Limits, PrimaryLimit, SecondaryLimit};

/// Who the limits are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    /// The App, by its JWT.
    App,
    /// All tokens of an installation together.
    Installation(u64),
}

/// What was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exceeded {
    /// A secondary limit; seconds to wait, and the status to answer with.
    Secondary { retry_after: u64, status: u16 },
    /// The primary limit; the status to answer with.
    Primary { status: u16 },
}

/// What the `x-ratelimit-*` headers say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    pub limit: u32,
    pub used: u32,
    pub reset_in: Duration,
}

#[derive(Debug, Default)]
struct Meter {
    in_flight: u32,
    /// Of each endpoint: when a request came and what it cost, and the sum.
    windows: HashMap<Route, (VecDeque<(Instant, u32)>, u32)>,
    blocked_until: Option<Instant>,
    primary: Option<(Instant, u32)>,
}

/// The meters of all callers.
#[derive(Debug, Default)]
pub(super) struct Meters(HashMap<Caller, Meter>);

impl Meters {
    /// Lets a request in, or says what it exceeds. Who is let in must `leave`.
    pub fn enter(
        &mut self,
        limits: &Limits,
        caller: Caller,
        route: Route,
        cost: u32,
        now: Instant,
    ) -> Result<(), Exceeded> {
        let meter = self.0.entry(caller).or_default();
        if let Some(limit) = &limits.primary {
            meter.count_primary(limit, now)?;
        }
        if let Some(limit) = &limits.secondary {
            meter.count_secondary(limit, route, cost, now)?;
        }
        meter.in_flight += 1;
        Ok(())
    }

    pub fn leave(&mut self, caller: Caller) {
        if let Some(meter) = self.0.get_mut(&caller) {
            meter.in_flight = meter.in_flight.saturating_sub(1);
        }
    }

    pub fn in_flight(&self, caller: Caller) -> u32 {
        self.0.get(&caller).map_or(0, |meter| meter.in_flight)
    }

    /// Whether a request would be let in now.
    pub fn would_enter(&mut self, limits: &Limits, caller: Caller, route: Route, cost: u32, now: Instant) -> bool {
        let Some(meter) = self.0.get_mut(&caller) else {
            return true;
        };
        let primary = limits
            .primary
            .as_ref()
            .is_none_or(|limit| meter.primary_left(limit, now) > 0);
        primary
            && limits
                .secondary
                .as_ref()
                .is_none_or(|limit| meter.exceeds(limit, route, cost, now).is_none())
    }

    pub fn quota(&mut self, limits: &Limits, caller: Caller, now: Instant) -> Option<Quota> {
        let limit = limits.primary.as_ref()?;
        let meter = self.0.entry(caller).or_default();
        let left = meter.primary_left(limit, now);
        let since = meter.primary.map_or(now, |(since, _)| since);
        let reset_in = limit.window.saturating_sub(now.duration_since(since));
        Some(Quota {
            limit: limit.requests,
            used: limit.requests - left,
            reset_in,
        })
    }

    /// Forgets what was counted; requests under way stay counted.
    pub fn reset(&mut self) {
        for meter in self.0.values_mut() {
            *meter = Meter {
                in_flight: meter.in_flight,
                ..Meter::default()
            };
        }
    }
}

impl Meter {
    fn primary_left(&mut self, limit: &PrimaryLimit, now: Instant) -> u32 {
        match &mut self.primary {
            Some((since, used)) if now.duration_since(*since) < limit.window => limit.requests.saturating_sub(*used),
            expired => {
                *expired = None;
                limit.requests
            }
        }
    }

    fn count_primary(&mut self, limit: &PrimaryLimit, now: Instant) -> Result<(), Exceeded> {
        if self.primary_left(limit, now) == 0 {
            return Err(Exceeded::Primary { status: limit.status });
        }
        self.primary.get_or_insert((now, 0)).1 += 1;
        Ok(())
    }

    fn count_secondary(
        &mut self,
        limit: &SecondaryLimit,
        route: Route,
        cost: u32,
        now: Instant,
    ) -> Result<(), Exceeded> {
        if let Some(wait) = self.exceeds(limit, route, cost, now) {
            // Who comes too early waits for the end of the first block, not for ever.
            self.blocked_until.get_or_insert(now + wait);
            let retry_after = wait.as_secs_f64().ceil() as u64;
            return Err(Exceeded::Secondary {
                retry_after,
                status: limit.status,
            });
        }
        let (entries, sum) = self.windows.entry(route).or_default();
        entries.push_back((now, cost));
        *sum += cost;
        Ok(())
    }

    /// How long to wait before another request of that cost, if it would be too much now.
    fn exceeds(&mut self, limit: &SecondaryLimit, route: Route, cost: u32, now: Instant) -> Option<Duration> {
        match self.blocked_until {
            Some(until) if until > now => return Some(until - now),
            _ => self.blocked_until = None,
        }
        let (entries, sum) = self.windows.entry(route).or_default();
        while let Some(&(at, cost)) = entries.front()
            && now.duration_since(at) >= limit.window
        {
            entries.pop_front();
            *sum -= cost;
        }
        let too_much = *sum + cost > limit.points || self.in_flight >= limit.concurrent;
        too_much.then_some(limit.retry_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> Limits {
        let secondary = SecondaryLimit {
            points: 10,
            retry_after: 5 * SECOND,
            ..SecondaryLimit::default()
        };
        Limits {
            secondary: Some(secondary),
            primary: None,
        }
    }

    #[test]
    fn the_window_slides() {
        let (mut meters, limits, start) = (Meters::default(), limits(), Instant::now());
        let mut at = |seconds, route| meters.enter(&limits, Caller::App, route, 5, start + seconds * SECOND);
        assert_eq!(at(0, Route::Mint), Ok(()));
        assert_eq!(at(30, Route::Mint), Ok(()));
        assert_eq!(at(60, Route::Mint), Ok(()), "the first is a minute ago");
        assert_eq!(at(61, Route::App), Ok(()), "another endpoint has its own points");
        assert_eq!(
            at(89, Route::Mint),
            Err(Exceeded::Secondary {
                retry_after: 5,
                status: 403
            })
        );
        assert_eq!(
            at(91, Route::Mint),
            Err(Exceeded::Secondary {
                retry_after: 3,
                status: 403
            })
        );
        assert_eq!(
            at(91, Route::App),
            Err(Exceeded::Secondary {
                retry_after: 3,
                status: 403
            }),
            "the whole App waits"
        );
        assert_eq!(
            at(94, Route::Mint),
            Ok(()),
            "violations do not count, and do not lengthen the wait"
        );
    }

    #[test]
    fn each_caller_has_its_own_meter() {
        let (mut meters, limits, now) = (Meters::default(), limits(), Instant::now());
        for caller in [Caller::App, Caller::Installation(1), Caller::Installation(2)] {
            assert_eq!(meters.enter(&limits, caller, Route::Mint, 10, now), Ok(()));
            assert!(!meters.would_enter(&limits, caller, Route::Mint, 1, now));
        }
    }

    #[test]
    fn the_primary_window_is_fixed() {
        let primary = PrimaryLimit {
            requests: 2,
            window: 60 * SECOND,
            status: 429,
        };
        let limits = Limits {
            secondary: None,
            primary: Some(primary),
        };
        let (mut meters, start) = (Meters::default(), Instant::now());
        let mut at = |seconds| meters.enter(&limits, Caller::App, Route::App, 1, start + seconds * SECOND);
        assert_eq!((at(0), at(50)), (Ok(()), Ok(())));
        assert_eq!(at(59), Err(Exceeded::Primary { status: 429 }));
        assert_eq!((at(60), at(61)), (Ok(()), Ok(())));
        assert_eq!(at(62), Err(Exceeded::Primary { status: 429 }));
    }
}
