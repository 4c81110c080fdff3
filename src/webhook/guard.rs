//! What every request passes before it is looked at: bounds on its body, on time, on requests at once; and no request can end
//! the process.

use std::panic::AssertUnwindSafe;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use super::room::{BODY_LIMIT, Missing, Room};

/// The bounds that all requests share.
#[derive(Clone)]
pub struct Guard {
    room: Room,
    stop: CancellationToken,
}

impl Guard {
    /// Until `stop`, connections are kept; from then on each answer ends its connection.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        let room = Room::default();
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
    let (head, body) = request.into_parts();
    match guard.room.collect(body).await {
        Ok((body, _room)) => next.run(Request::from_parts(head, Body::from(body))).await,
        Err(Missing::TooLong) => too_long(),
        Err(Missing::Broken) => (StatusCode::BAD_REQUEST, "the body did not arrive whole\n").into_response(),
        Err(Missing::Late) => (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n").into_response(),
        Err(Missing::NoRoom) => {
            let text = "too many requests at once: try again\n";
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

fn too_long() -> Response {
    let text = format!("the body is longer than {} MiB\n", BODY_LIMIT >> 20);
    (StatusCode::PAYLOAD_TOO_LARGE, text).into_response()
}
