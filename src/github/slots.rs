//! How many requests of an App are under way at once.

use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::sync::watch;

/// Places for requests that are under way. How many there are may change meanwhile: whoever has one keeps it.
#[derive(Debug)]
pub struct Slots(watch::Sender<Count>);

#[derive(Clone, Copy, Debug)]
struct Count {
    most: usize,
    taken: usize,
}

/// One of the places. Dropping it frees it.
#[derive(Debug)]
#[must_use]
pub struct Slot(Arc<Slots>);

fn most(of: Option<NonZeroU32>) -> usize {
    of.map_or(usize::MAX, |n| usize::try_from(n.get()).unwrap_or(usize::MAX))
}

impl Slots {
    /// So many places; `None` is no limit.
    pub fn new(of: Option<NonZeroU32>) -> Arc<Self> {
        let count = Count {
            most: most(of),
            taken: 0,
        };
        Arc::new(Slots(watch::Sender::new(count)))
    }

    /// So many from now on.
    pub fn resize(&self, of: Option<NonZeroU32>) {
        self.0.send_modify(|count| count.most = most(of));
    }

    /// Waits for a place.
    pub async fn take(self: &Arc<Self>) -> Slot {
        let mut counts = self.0.subscribe();
        while !self.0.send_if_modified(Count::take) {
            // The sender is not dropped meanwhile, so this does not fail.
            let _ = counts.wait_for(Count::has_room).await;
        }
        Slot(Arc::clone(self))
    }
}

impl Count {
    fn has_room(&self) -> bool {
        self.taken < self.most
    }

    fn take(&mut self) -> bool {
        let free = self.has_room();
        self.taken += usize::from(free);
        free
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| count.taken -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt as _;

    use super::*;

    fn n(n: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(n)
    }

    #[tokio::test]
    async fn places_that_are_taken_count_when_their_number_changes() {
        let slots = Slots::new(n(3));
        let (first, second) = (slots.take().await, slots.take().await);
        slots.resize(n(1));
        drop(first);
        assert!(slots.take().now_or_never().is_none(), "one of one is taken");
        drop(second);
        let _third = slots.take().now_or_never().expect("none is taken");
        let mut fourth = pin!(slots.take());
        assert!(futures::poll!(&mut fourth).is_pending());
        slots.resize(None);
        assert!(futures::poll!(&mut fourth).is_ready(), "who waits hears of it");
    }
}
