//! What every request passes before it is looked at: bounds on its body, on time, on requests at once; and no request can end
//! the process.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The longest body: the API server's own limit for an object is 3 MiB, and a review of an update holds two.
pub const BODY_LIMIT: usize = 8 * 1024 * 1024;
/// How long a body may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request waits for its turn; the API server itself waits 5 s for the answer.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(3);
/// Memory for bodies at once, in units.
const UNITS: usize = 256;
/// Bytes in a unit, and the least that a request counts for: 256 requests at once, or 8 of the longest.
const UNIT: usize = 256 * 1024;

/// The bounds that all requests share.
#[derive(Clone)]
pub struct Guard {
    room: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Guard {
    /// Until `stop`, connections are kept; from then on each answer ends its connection.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        let room = Arc::new(Semaphore::new(UNITS));
        Guard { room, stop }
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
    // Without a length it may become the longest.
    let units = length.unwrap_or(BODY_LIMIT).div_ceil(UNIT).max(1);
    let room = guard.room.acquire_many(u32::try_from(units).unwrap_or(u32::MAX));
    let Ok(Ok(_room)) = timeout(QUEUE_TIMEOUT, room).await else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many requests at once: try again\n",
        )
            .into_response();
    };
    let (head, body) = request.into_parts();
    match timeout(BODY_TIMEOUT, Limited::new(body, BODY_LIMIT).collect()).await {
        Ok(Ok(body)) => {
            let body: Bytes = body.to_bytes();
            next.run(Request::from_parts(head, Body::from(body))).await
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => too_long(),
        Ok(Err(_)) => (StatusCode::BAD_REQUEST, "the body did not arrive whole\n").into_response(),
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n").into_response(),
    }
}

fn too_long() -> Response {
    let text = format!("the body is longer than {} MiB\n", BODY_LIMIT >> 20);
    (StatusCode::PAYLOAD_TOO_LARGE, text).into_response()
}
