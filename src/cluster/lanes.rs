//! Connections that carry watches and nothing else.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http_body_util::Either;
use hyper::body::{Body, Frame, SizeHint};
use hyper::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{BoxError, Service, ServiceExt};

/// The most watches on one connection: an API server allows 100 requests at once on each, and a request beyond that waits, for ever
/// where the others are watches.
pub(super) const ABREAST: usize = 50;

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
        let body = Held { body, _place: place };
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
    _place: OwnedSemaphorePermit,
}

impl<B: Body + Unpin> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::Empty;
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
}
