//! Connections that carry watches and nothing else.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::Either;
use hyper::body::{Body, Buf, Frame, SizeHint};
use hyper::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tower::{BoxError, Service, ServiceExt};

/// The most watches on one connection: an API server allows 100 requests at once on each, and a request beyond that waits, for ever
/// where the others are watches.
pub(super) const ABREAST: usize = 50;

/// A watch that ends so soon, and has told nothing, has failed: who takes a watch up again at its end does so without a pause.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Watches last, and their number grows with the cluster: every connection here takes a few, and as many are opened as that takes. So they
/// never hold up the Lease, a write or what the webhook asks, which go by a connection without watches.
pub(super) struct Lanes<H> {
    open: Box<dyn Fn() -> H + Send + Sync>,
    lanes: Mutex<Vec<Lane<H>>>,
}

/// A client with one connection, and its free places.
struct Lane<H> {
    http: H,
    free: Arc<Semaphore>,
}

impl<H: Clone> Lanes<H> {
    /// None is open yet; `open` makes a client with a connection of its own.
    pub(super) fn new(open: impl Fn() -> H + Send + Sync + 'static) -> Self {
        Lanes {
            open: Box::new(open),
            lanes: Mutex::default(),
        }
    }

    /// The answer to a watch that begins; it keeps its place until its body is dropped.
    ///
    /// # Errors
    /// That of the connection.
    pub(super) async fn watch<R, S, B>(&self, request: Request<R>) -> Result<Response<Either<Held<B>, S>>, BoxError>
    where
        H: Service<Request<R>, Response = Response<B>, Error: Into<BoxError>>,
    {
        let (http, place) = self.place()?;
        let (head, body) = http.oneshot(request).await.map_err(Into::into)?.into_parts();
        let body = Held {
            body,
            silent: head.status.is_success().then(Instant::now),
            _place: place,
        };
        Ok(Response::from_parts(head, Either::Left(body)))
    }

    /// A place on a connection that has one. A connection that nothing is left of is closed.
    fn place(&self) -> Result<(H, OwnedSemaphorePermit), BoxError> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|lane| lane.free.available_permits() < ABREAST);
        let free = |lane: &Lane<H>| Some((lane.http.clone(), lane.free.clone().try_acquire_owned().ok()?));
        if let Some(found) = lanes.iter().find_map(free) {
            return Ok(found);
        }
        let lane = Lane {
            http: (self.open)(),
            free: Arc::new(Semaphore::new(ABREAST)),
        };
        let taken = (lane.http.clone(), lane.free.clone().try_acquire_owned()?);
        lanes.push(lane);
        Ok(taken)
    }
}

/// What a watch tells, and its place on the connection.
pub(super) struct Held<B> {
    body: B,
    /// Since when, as long as it has told nothing.
    silent: Option<Instant>,
    _place: OwnedSemaphorePermit,
}

impl<B: Body<Error: Into<BoxError>> + Unpin> Body for Held<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) if frame.data_ref().is_some_and(Buf::has_remaining) => self.silent = None,
            None if self.silent.take().is_some_and(|since| since.elapsed() < AT_ONCE) => {
                let error = "a watch ended at once, and had told nothing; what is before the API server has to let watches through";
                return Poll::Ready(Some(Err(error.into())));
            }
            _ => {}
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::stream;
    use http_body_util::{BodyExt, Empty, StreamBody};
    use hyper::body::Bytes;
    use tower::service_fn;
    use tower::util::BoxCloneSyncService;

    use super::*;

    type Connection = BoxCloneSyncService<Request<()>, Response<Empty<Bytes>>, Infallible>;
    type Watch = Response<Either<Held<Empty<Bytes>>, Empty<Bytes>>>;

    /// Lanes whose connections answer at once, and how many were opened.
    fn lanes() -> (Lanes<Connection>, Arc<AtomicUsize>) {
        let opened = Arc::new(AtomicUsize::default());
        let count = opened.clone();
        let open = move || {
            count.fetch_add(1, Ordering::Relaxed);
            BoxCloneSyncService::new(service_fn(async |_| Ok(Response::new(Empty::new()))))
        };
        (Lanes::new(open), opened)
    }

    async fn begin(lanes: &Lanes<Connection>, count: usize) -> Vec<Watch> {
        let mut watches = Vec::new();
        for _ in 0..count {
            watches.push(lanes.watch(Request::new(())).await.expect("a watch begins"));
        }
        watches
    }

    #[tokio::test]
    async fn no_connection_has_more_watches_than_it_may_and_a_place_that_is_given_up_is_used_again() {
        let (lanes, opened) = lanes();
        let mut watches = begin(&lanes, 3 * ABREAST).await;
        assert_eq!(opened.load(Ordering::Relaxed), 3);
        watches.truncate(3 * ABREAST - 10);
        watches.extend(begin(&lanes, 10).await);
        assert_eq!(opened.load(Ordering::Relaxed), 3);
        watches.extend(begin(&lanes, 1).await);
        assert_eq!(opened.load(Ordering::Relaxed), 4);
    }

    #[tokio::test]
    async fn a_connection_without_watches_is_closed() {
        let (lanes, _) = lanes();
        let watches = begin(&lanes, 2 * ABREAST).await;
        drop(watches);
        let _one = begin(&lanes, 1).await;
        assert_eq!(lanes.lanes.lock().expect("it is whole").len(), 1);
    }

    /// A watch that was answered so, tells this and ends so long after it has begun: what whoever reads it is told.
    async fn read(code: u16, text: &'static str, after: Duration) -> Result<Bytes, BoxError> {
        let open = move || {
            service_fn(move |_: Request<()>| {
                let told = stream::once(async move {
                    tokio::time::sleep(after).await;
                    Ok::<_, BoxError>(Frame::data(Bytes::from(text)))
                });
                std::future::ready(Response::builder().status(code).body(StreamBody::new(Box::pin(told))))
            })
        };
        let watch = Lanes::new(open).watch::<_, Empty<Bytes>, _>(Request::new(())).await?;
        Ok(watch.into_body().collect().await?.to_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_ends_at_once_without_a_word_has_failed() {
        let soon = Duration::from_millis(10);
        let error = read(200, "", soon).await.unwrap_err();
        assert!(error.to_string().contains("ended at once"), "{error}");
        assert_eq!(read(200, "", AT_ONCE).await.unwrap(), "");
        assert_eq!(read(200, "told", soon).await.unwrap(), "told");
        // A refusal is told by its code.
        assert_eq!(read(502, "", soon).await.unwrap(), "");
    }
}
