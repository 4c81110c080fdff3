//! How far GitHub's clock is from ours, by the `Date` header of its answers.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// `Date` has whole seconds, and a request takes its time: less than this is no skew.
const NOISE: SignedDuration = SignedDuration::from_secs(2);

/// GitHub's clock minus ours, as the last answer showed it.
#[derive(Debug, Default)]
pub(super) struct Skew(Mutex<SignedDuration>);

impl Skew {
    /// GitHub minus ours; zero before the first answer.
    pub(super) fn get(&self) -> SignedDuration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns from an answer that was asked for and received at these times of our clock.
    pub(super) fn learn(&self, sent: Timestamp, received: Timestamp, date: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = explain(sent, received, date);
    }
}

/// The smallest skew that explains an answer: GitHub wrote `date` at some moment between `sent` and `received`, and some
/// moment of the second that begins with `date`.
pub(super) fn explain(sent: Timestamp, received: Timestamp, date: Timestamp) -> SignedDuration {
    let least = date.duration_since(received);
    let most = date.duration_since(sent).saturating_add(SignedDuration::from_secs(1));
    // Our clock may have been set back between the two.
    let (low, high) = (least.min(most), least.max(most));
    let skew = SignedDuration::ZERO.clamp(low, high);
    if skew.abs() <= NOISE {
        SignedDuration::ZERO
    } else {
        skew
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    #[test]
    fn clocks_that_agree_have_no_skew_however_slow_the_answer() {
        assert_eq!(explain(at(10_900), at(11_100), at(11_000)), SignedDuration::ZERO);
        assert_eq!(explain(at(10_900), at(40_900), at(25_000)), SignedDuration::ZERO);
    }

    #[test]
    fn two_seconds_are_noise_and_three_are_not() {
        assert_eq!(explain(at(0), at(0), at(2_000)), SignedDuration::ZERO);
        assert_eq!(explain(at(0), at(0), at(-3_000)), SignedDuration::ZERO);
        assert_eq!(explain(at(0), at(0), at(3_000)), SignedDuration::from_secs(3));
        assert_eq!(explain(at(0), at(0), at(-4_000)), SignedDuration::from_secs(-3));
    }

    #[test]
    fn a_clock_that_is_set_back_during_a_request_does_not_panic() {
        assert_eq!(explain(at(3_600_000), at(0), at(1_800_000)), SignedDuration::ZERO);
    }

    proptest! {
        #[test]
        fn the_skew_is_found_to_the_second_and_the_duration_of_the_request(
            truth in -86_400_000i64..86_400_000, took in 0i64..30_000, share in 0i64..=100, start in 0i64..1_000,
        ) {
            let github = start + took * share / 100 + truth;
            let found = explain(at(start), at(start + took), at(github.div_euclid(1_000) * 1_000)).as_millis() as i64;
            prop_assert!((found - truth).abs() <= took + 1_000 + 2_000, "{} for {}", found, truth);
            prop_assert!(found.abs() <= truth.abs() + 1_000);
        }
    }
}
