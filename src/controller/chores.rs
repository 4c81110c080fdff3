//! Jobs that do not ask GitHub: so many at once, and none is made before there is room for it. Of thousands of Tokens that come
//! to be known at once, what waits is a name each.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::domain::Sign;
use crate::domain::intent::Key;

use super::engine::{Back, Engine};
use super::job::{Context, Done, Task};

impl<S: Sign + 'static> Engine<S> {
    /// Starts a job of a Token, if there is room. Otherwise the Token is looked at again when there is.
    pub(super) fn spawn<F, Fut>(&mut self, key: &Arc<Key>, task: Task, run: F)
    where
        F: FnOnce(Arc<Context>, Task) -> Fut + Send + 'static,
        Fut: Future<Output = Done> + Send,
    {
        if let Ok(place) = self.chores.clone().try_acquire_owned() {
            self.start(place, key, task, run);
        } else if let Some(state) = self.states.get_mut(key).filter(|state| !state.put_off) {
            state.put_off = true;
            self.put_off.push_back(key.clone());
        }
    }

    /// Looks again at those for which there was no room, as long as there is some.
    pub(super) fn catch_up(&mut self) {
        while self.chores.available_permits() > 0 {
            let Some(key) = self.put_off.pop_front() else {
                // Thousands may have been in it for a moment.
                return self.put_off.shrink_to_fit();
            };
            if let Some(state) = self.states.get_mut(&key) {
                state.put_off = false;
            }
            self.touch(&key);
        }
    }

    /// Starts a job of a Token, which has its place.
    pub(super) fn start<F, Fut>(&mut self, place: OwnedSemaphorePermit, key: &Arc<Key>, task: Task, run: F)
    where
        F: FnOnce(Arc<Context>, Task) -> Fut + Send + 'static,
        Fut: Future<Output = Done> + Send,
    {
        let Some(state) = self.states.get_mut(key) else { return };
        state.busy = true;
        let (context, key) = (self.context.clone(), key.clone());
        self.jobs.spawn(async move {
            let _place = place;
            let uid = task.uid.clone();
            let done = Box::pin(run(context, task)).await;
            Back::Token(key, uid, Box::new(done))
        });
    }
}
