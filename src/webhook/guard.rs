//! What every request passes before it is looked at: bounds on its body, on time, on requests at once; and no request can end
//! the process.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::room::{BODY_LIMIT, Missing, Room};

/// Bytes of a body that takes long to look at: nearly every pod has a tenth of them.
const LONG: usize = 256 * 1024;
/// How long others with such a body wait at most for one: to look at it takes less.
const TURN: Duration = Duration::from_millis(100);

/// The bounds that all requests share.
#[derive(Clone)]
pub struct Guard {
    room: Room,
    /// Long bodies are looked at one after the other, so that there is always a thread for the others.
    long: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Guard {
    /// Until `stop`, connections are kept; from then on each answer ends its connection.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        let (room, long) = (Room::default(), Arc::new(Semaphore::new(1)));
        Guard { room, long, stop }
    }
}

/// The middleware.
pub async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let old = request.version() < Version::HTTP_2;
    let answered = AssertUnwindSafe(bounded(&guard, request, next)).catch_unwind().await;
    let mut response = answered.unwrap_or_else(|_| {
        tracing::error!("a request of the webhook panicked; the process goes on");
        (StatusCode::INTERNAL_SERVER_ERROR, "the request could not be handled\n").into_response()
    });
    // An HTTP/2 connection is told that it ends; of HTTP/1.1, the client is asked to use it no more.
    if old && guard.stop.is_cancelled() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

async fn bounded(guard: &Guard, request: Request, next: Next) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > BODY_LIMIT) {
        return too_long();
    }
    let (head, body) = request.into_parts();
    match guard.room.collect(body).await {
        Ok((body, _room)) => {
            let is_long = body.len() > LONG;
            let answer = next.run(Request::from_parts(head, Body::from(body)));
            if is_long {
                in_turn(&guard.long, answer).await
            } else {
                answer.await
            }
        }
        Err(Missing::TooLong) => too_long(),
        Err(Missing::Broken) => (StatusCode::BAD_REQUEST, "the body did not arrive whole\n").into_response(),
        Err(Missing::Late) => (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n").into_response(),
        Err(Missing::NoRoom) => {
            let text = "too many requests at once: try again\n";
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

/// One after the other; what waits for someone else's answer gives its turn up.
async fn in_turn<T>(turns: &Semaphore, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let turn = turns.acquire().await;
    let done = timeout(TURN, work.as_mut()).await;
    drop(turn);
    match done {
        Ok(done) => done,
        Err(_) => work.await,
    }
}

fn too_long() -> Response {
    let text = format!("the body is longer than {} MiB\n", BODY_LIMIT >> 20);
    (StatusCode::PAYLOAD_TOO_LARGE, text).into_response()
}
