//! Who may send a request now: GitHub's secondary limits of one App, kept before they are hit.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::Instant;

use super::budget::Budget;
use super::slots::{Slot, Slots};
use super::window::Window;

/// Lets requests through, first come, first served: so many at once, so many in a sliding window, and none while held.
#[derive(Debug)]
pub struct Gate {
    turn: tokio::sync::Mutex<()>,
    slots: Vec<Arc<Slots>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    window: Window,
    held_until: Option<Instant>,
    granted: u64,
}

/// The right to send one request. Dropping it frees its place among the requests at once, not the one in the window.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    _slots: Vec<Slot>,
    granted: Instant,
}

impl Gate {
    /// A gate for requests that `window` grants, and that have one of each of the `slots`, in this order.
    pub fn new(slots: Vec<Arc<Slots>>, window: Window) -> Self {
        Gate {
            turn: tokio::sync::Mutex::new(()),
            slots,
            state: Mutex::new(State::new(window)),
        }
    }

    /// Waits for the right to send one request. Whoever stops waiting loses nothing and keeps nobody up.
    pub async fn acquire(&self) -> Permit {
        let _turn = self.turn.lock().await;
        loop {
            let mut slots = Vec::with_capacity(self.slots.len());
            for kind in &self.slots {
                slots.push(kind.take().await);
            }
            let now = Instant::now();
            // No lock is held while anyone waits, and no place that another gate could use.
            let granted = self.state().grant(now);
            match granted {
                Ok(()) => {
                    return Permit {
                        _slots: slots,
                        granted: now,
                    };
                }
                Err(later) => {
                    drop(slots);
                    tokio::time::sleep_until(later).await;
                }
            }
        }
    }

    /// The request is sent now. Whoever had the right to it for a while, and something else to wait for first, takes the place in the window
    /// that GitHub will see.
    pub fn sends(&self, permit: &Permit) {
        self.state().window.used(permit.granted, Instant::now());
    }

    /// The right to send one request, if it can be had without waiting.
    pub fn acquire_now(&self) -> Option<Permit> {
        self.acquire().now_or_never()
    }

    /// What is left of the window now: nothing while held.
    #[must_use]
    pub fn left(&self) -> Budget {
        let (state, now) = (self.state(), Instant::now());
        match (state.window.left(now), state.held_until) {
            (_, Some(until)) if until > now => Budget::NONE,
            (None, _) => Budget::Unlimited,
            (Some(left), _) => Budget::Left(u32::try_from(left).unwrap_or(u32::MAX)),
        }
    }

    /// As many a minute from now on; what was let through counts.
    pub fn limit(&self, per_minute: Option<NonZeroU32>) {
        self.state().window.limit(per_minute);
    }

    /// Counts what `other` has let through, and waits where that does.
    pub fn absorb(&self, other: &Gate) {
        let other = std::mem::replace(&mut *other.state(), State::new(Window::per_minute(None)));
        let mut state = self.state();
        state.window.absorb(other.window);
        state.held_until = state.held_until.max(other.held_until);
        state.granted = state.granted.saturating_add(other.granted);
    }

    /// How many were let through since the start.
    #[must_use]
    pub fn granted(&self) -> u64 {
        self.state().granted
    }

    /// Lets nobody through for this long from now on; a hold that lasts longer already stays as it is.
    pub fn hold_for(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut state = self.state();
        state.held_until = Some(state.held_until.map_or(until, |held| held.max(until)));
    }

    /// Whether those who come may have to wait for long: for a place in the window, or for the end of a hold.
    #[must_use]
    pub fn may_be_long(&self) -> bool {
        let state = self.state();
        state.window.left(Instant::now()).is_some() || state.held_until.is_some_and(|until| until > Instant::now())
    }

    /// Counts requests that were sent this long ago, for example before a restart.
    pub fn record_past(&self, ages: impl IntoIterator<Item = Duration>) {
        self.state().window.record_past(Instant::now(), ages);
    }

    /// Counts so many more as sent just now, as far as there is room for them.
    pub fn presume(&self, most: usize) {
        let (mut state, now) = (self.state(), Instant::now());
        let count = state.window.left(now).map_or(0, |left| left.min(most));
        state
            .window
            .record_past(now, std::iter::repeat_n(Duration::ZERO, count));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(window: Window) -> Self {
        State {
            window,
            held_until: None,
            granted: 0,
        }
    }

    fn grant(&mut self, now: Instant) -> Result<(), Instant> {
        match self.held_until {
            Some(until) if until > now => return Err(until),
            _ => self.window.grant(now)?,
        }
        self.granted = self.granted.saturating_add(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    const PERIOD: Duration = Duration::from_millis(200);

    fn n(n: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(n)
    }

    fn window(limit: u32) -> Window {
        Window::new(n(limit), PERIOD)
    }

    fn free() -> Window {
        Window::new(None, PERIOD)
    }

    fn slots(most: u32) -> Vec<Arc<Slots>> {
        vec![Slots::new(n(most))]
    }

    /// Whether a permit can be had without waiting.
    fn open(gate: &Gate) -> Option<Permit> {
        gate.acquire_now()
    }

    #[tokio::test]
    async fn what_is_left_is_told_and_is_nothing_while_held() {
        let gate = Gate::new(Vec::new(), window(3));
        drop(gate.acquire().await);
        assert_eq!((gate.left(), gate.granted()), (Budget::Left(2), 1));
        assert_eq!(Gate::new(Vec::new(), free()).left(), Budget::Unlimited);
        gate.hold_for(PERIOD);
        assert_eq!(gate.left(), Budget::NONE);
        drop(gate.acquire().await);
        assert_eq!(gate.left(), Budget::Left(2));
    }

    #[tokio::test]
    async fn dropping_a_permit_frees_its_slot() {
        let gate = Gate::new(slots(2), free());
        let (first, _second) = (gate.acquire().await, gate.acquire().await);
        assert!(open(&gate).is_none());
        drop(first);
        assert!(open(&gate).is_some());
    }

    #[tokio::test]
    async fn without_limits_everybody_passes() {
        let gate = Gate::new(Vec::new(), free());
        let permits = futures::future::join_all((0..1_000).map(|_| gate.acquire())).await;
        assert_eq!(permits.len(), 1_000);
    }

    #[tokio::test]
    async fn the_window_makes_the_next_one_wait_for_a_period() {
        let gate = Gate::new(Vec::new(), window(3));
        let start = Instant::now();
        for _ in 0..3 {
            drop(open(&gate).expect("a burst passes"));
        }
        assert!(open(&gate).is_none());
        drop(gate.acquire().await);
        assert!(start.elapsed() >= PERIOD);
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_that_is_used_late_takes_its_place_then() {
        let gate = Gate::new(Vec::new(), window(1));
        let permit = gate.acquire().await;
        tokio::time::advance(PERIOD / 2).await;
        gate.sends(&permit);
        let start = Instant::now();
        drop(gate.acquire().await);
        assert!(start.elapsed() >= PERIOD);
    }

    #[tokio::test]
    async fn whoever_stops_waiting_does_not_block_the_next() {
        let gate = Gate::new(slots(1), window(1));
        drop(gate.acquire().await);
        {
            let mut gone = pin!(gate.acquire());
            assert!(futures::poll!(&mut gone).is_pending());
        }
        drop(gate.acquire().await);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_the_window_keeps_no_place_from_another_gate() {
        let shared = slots(1);
        let (full, free) = (Gate::new(shared.clone(), window(1)), Gate::new(shared, free()));
        drop(full.acquire().await);
        let mut waiting = pin!(full.acquire());
        assert!(futures::poll!(&mut waiting).is_pending());
        let place = open(&free).expect("the place is free");
        tokio::time::advance(PERIOD).await;
        assert!(futures::poll!(&mut waiting).is_pending(), "one at once, of both");
        drop(place);
        drop(waiting.await);
    }

    #[tokio::test]
    async fn a_hold_stops_everybody_and_a_shorter_one_does_not_shorten_it() {
        let gate = Gate::new(Vec::new(), free());
        let start = Instant::now();
        gate.hold_for(PERIOD);
        gate.hold_for(Duration::ZERO);
        assert!(open(&gate).is_none());
        drop(gate.acquire().await);
        assert!(start.elapsed() >= PERIOD);
    }

    #[tokio::test]
    async fn a_hold_that_begins_while_somebody_waits_keeps_him_waiting() {
        let gate = Gate::new(Vec::new(), window(1));
        let start = Instant::now();
        drop(gate.acquire().await);
        let mut waiting = pin!(gate.acquire());
        assert!(futures::poll!(&mut waiting).is_pending());
        gate.hold_for(3 * PERIOD);
        drop(waiting.await);
        assert!(start.elapsed() >= 3 * PERIOD);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_been_sent_counts_and_no_more_of_it_than_there_is_room_for() {
        let gate = Gate::new(Vec::new(), window(3));
        gate.record_past([PERIOD / 2]);
        gate.presume(1);
        assert_eq!(gate.left(), Budget::Left(1));
        gate.presume(100);
        let start = Instant::now();
        for _ in 0..3 {
            drop(gate.acquire().await);
        }
        assert_eq!(start.elapsed(), PERIOD);
    }

    #[tokio::test]
    async fn grants_before_a_restart_count() {
        let gate = Gate::new(Vec::new(), window(2));
        gate.record_past([Duration::ZERO, Duration::from_millis(1), PERIOD]);
        let start = Instant::now();
        assert!(open(&gate).is_none());
        drop(gate.acquire().await);
        assert!(start.elapsed() >= PERIOD - Duration::from_millis(5));
    }
}
