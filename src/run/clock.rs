//! The clocks of this machine: the one place that reads them.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// The wall clock without its steps back: after one, time goes on as it did. How far GitHub's clock is from ours is known as of its last
/// answer, and a step back since then would make every token look younger than it is.
pub fn steady() -> Timestamp {
    static STEADY: Mutex<Steady> = Mutex::new(Steady(None));
    let mut steady = STEADY.lock().unwrap_or_else(PoisonError::into_inner);
    steady.read(now(), Instant::now())
}

/// The last time that was read, and when.
struct Steady(Option<(Timestamp, Instant)>);

impl Steady {
    fn read(&mut self, wall: Timestamp, at: Instant) -> Timestamp {
        let passed = self.0.and_then(|(last, read)| {
            let since = SignedDuration::try_from(at.saturating_duration_since(read)).ok()?;
            last.checked_add(since).ok()
        });
        let now = passed.map_or(wall, |passed| passed.max(wall));
        self.0 = Some((now, at));
        now
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_step_ahead_is_followed_and_a_step_back_is_not() {
        let (mut steady, start) = (Steady(None), Instant::now());
        let mut read = |wall, passed| {
            let wall = Timestamp::from_second(wall).unwrap();
            steady.read(wall, start + Duration::from_secs(passed)).as_second()
        };
        assert_eq!(read(1_000, 0), 1_000);
        assert_eq!(read(1_010, 10), 1_010);
        assert_eq!(read(1_010 - 3_600, 11), 1_011, "an hour back");
        assert_eq!(read(1_070 - 3_600, 71), 1_071);
        assert_eq!(read(2_000, 72), 2_000, "ahead, as after a machine that slept");
        assert_eq!(read(1_099, 100), 2_028);
    }
}
