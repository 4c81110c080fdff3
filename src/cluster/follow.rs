//! One kind of object, listed and watched for ever.

use std::fmt::Debug;
use std::task::{Poll, ready};
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use kube::Resource;
use kube::api::Api;
use kube::core::Status;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

/// The first pause before a watch that failed is taken up again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// A watch that has not failed for so long after a pause works again: the next pause is the shortest.
const QUIET: Duration = Duration::from_secs(10);

/// What happens to the objects of one kind. kube's watcher lists anew for one way alone of being told that its version is gone; here,
/// whatever a watch may have missed is listed.
pub(super) fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + use<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let begin = move |paged: bool| -> BoxStream<'static, watcher::Result<Event<K>>> {
        let mut config = config.clone();
        config.page_size = config.page_size.filter(|_| paged);
        watcher(api.clone(), config).boxed()
    };
    let mut paged = true;
    let mut events = begin(paged);
    let told = stream::poll_fn(move |context| {
        let told = ready!(events.poll_next_unpin(context));
        if let Some(Err(error)) = &told
            && !goes_on(error)
        {
            // Once in one piece, since pages bound the memory that a list takes.
            paged = !(paged && lost_its_place(error));
            events = begin(paged);
        }
        Poll::Ready(told)
    });
    told.backoff(Pause::default())
}

/// Whether the watch may be taken up where it was.
fn goes_on(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) | watcher::Error::WatchError(status) => {
            !is_no_version(status)
        }
        watcher::Error::WatchStartFailed(_) | watcher::Error::WatchFailed(kube::Error::ReadEvents(_)) => true,
        // What was told and not understood is not told again.
        watcher::Error::WatchFailed(_) | watcher::Error::InitialListFailed(_) | watcher::Error::NoResourceVersion => {
            false
        }
    }
}

/// Whether the API server does not have the version to go on from: not any more, or, where its data came from a backup, not yet.
fn is_no_version(status: &Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 410 || causes.any(|cause| cause.reason == "ResourceVersionTooLarge")
}

/// Whether a list failed between two pages.
fn lost_its_place(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 410)
}

/// Between two attempts to take up a watch: short, since while nothing is seen nothing is mended, and one request costs little.
#[derive(Debug, Default)]
struct Pause {
    failures: u32,
    /// When the last one was over.
    over: Option<Instant>,
}

impl Iterator for Pause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if self.over.is_some_and(|over| now >= over + QUIET) {
            self.failures = 0;
        }
        let pause = SHORTEST_PAUSE
            .saturating_mul(1 << self.failures.min(8))
            .min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.over = Some(now + pause);
        Some(pause)
    }
}

impl Backoff for Pause {
    /// Called at everything that is no error, and so at the beginning of each list, before the API server was asked: it says nothing.
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests;
