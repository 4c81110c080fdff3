//! The connection to the API server.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Either, Full};
use hyper::body::Bytes;
use hyper::header::RETRY_AFTER;
use hyper::{Request, Response, Uri};
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::retry::{InvalidBackoff, RetryPolicy};
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};
use tokio::time::{Instant, Sleep, sleep_until};
use tower::limit::ConcurrencyLimitLayer;
use tower::retry::{Policy, RetryLayer};
use tower::timeout::TimeoutLayer;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};

use crate::domain::innermost;

use super::lanes::{ABREAST, Lanes};

/// How long the API server may take for its answer, or to begin a watch, which begins at once. It cuts its own work short after a minute.
const PATIENCE: Duration = Duration::from_secs(30);
/// A connection on which nothing came for so long is asked whether it still lives.
const PING_AFTER: Duration = Duration::from_secs(10);
/// How long the answer to that may take, before every call on the connection fails.
const PING_PATIENCE: Duration = Duration::from_secs(10);
/// An API server that is busy or starting (429, 503) is asked again so many times at once, so far apart at most where it does not say
/// when: whoever called has a schedule of its own, which knows how much time is left.
const RETRIES: (u32, Duration, Duration) = (3, Duration::from_millis(100), Duration::from_secs(1));

/// The most calls at once for work of which any amount may come up in a moment. An API server takes 100 on a connection.
const BULK: usize = 80;

/// How far a watch may be ahead of whoever reads it, in bytes: all of a connection's watches have as much, so that one that nobody reads
/// for a while holds up none of the others.
const AHEAD: u32 = 64 << 10;

/// A client of the API server. kube's own speaks HTTP/1.1 only, which takes a connection for each call under way; over HTTP/2
/// one does for all but watches, which have [`Lanes`], and a dead one is noticed although nothing is sent. It also repeats a refused
/// call for minutes.
///
/// # Errors
/// A text that says which part of the kubeconfig cannot be used.
pub fn connect(config: Config) -> Result<Client, String> {
    let wrong =
        |error: &dyn std::fmt::Display| format!("the API server's address or credentials cannot be used: {error}");
    if let Some(proxy) = &config.proxy_url {
        return Err(wrong(&format!(
            "proxy-url {} is not supported; remove it from the kubeconfig",
            proxy.host().unwrap_or_default()
        )));
    }
    let server = place(&config.cluster_url);
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(config.connect_timeout);
    let mut https = HttpsConnectorBuilder::new()
        .with_tls_config(config.rustls_client_config().map_err(|error| wrong(&error))?)
        .https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name
            .clone()
            .try_into()
            .map_err(|_| wrong(&format!("tls-server-name {name} is no name")))?;
        https = https.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let connector = https.enable_all_versions().wrap_connector(tcp);
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(PING_AFTER)
        .http2_keep_alive_timeout(PING_PATIENCE)
        .http2_keep_alive_while_idle(true);
    let http: legacy::Client<_, Body> = builder.build(connector.clone());
    let lanes = Arc::new(Lanes::new(move || {
        let mut builder = builder.clone();
        builder
            .http2_initial_stream_window_size(AHEAD)
            .http2_initial_connection_window_size(AHEAD * ABREAST as u32);
        builder.build::<_, Body>(connector.clone())
    }));
    let retry = Retry::new().map_err(|error| wrong(&error))?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(RetryLayer::new(retry))
        .option_layer(config.auth_layer().map_err(|error| wrong(&error))?)
        .layer(config.extra_headers_layer().map_err(|error| wrong(&error))?)
        .map_err(move |error: BoxError| BoxError::from(format!("{server}: {}", cause(&*error))))
        .layer(TimeoutLayer::new(PATIENCE))
        .service_fn(move |request| {
            let (http, lanes) = (http.clone(), lanes.clone());
            async move {
                if is_watch(&request) {
                    lanes.watch(request).await
                } else {
                    whole(http, request).await.map(|answer| answer.map(Either::Right))
                }
            }
        });
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

/// When the API server is asked again.
#[derive(Clone)]
struct Retry {
    policy: RetryPolicy,
    /// How long it may still ask to be left alone: all in all no longer than an answer may take.
    left: Duration,
}

impl Retry {
    fn new() -> Result<Self, InvalidBackoff> {
        let (times, first, longest) = RETRIES;
        Ok(Retry {
            policy: RetryPolicy::new(first, longest, times, false)?,
            left: PATIENCE,
        })
    }
}

impl<B> Policy<Request<Body>, Response<B>, BoxError> for Retry {
    type Future = Sleep;

    fn retry(&mut self, request: &mut Request<Body>, result: &mut Result<Response<B>, BoxError>) -> Option<Sleep> {
        let pause = self.policy.retry(request, result)?;
        let asked = result.as_ref().ok().map(asked_for).unwrap_or_default();
        if self.left.is_zero() && !asked.is_zero() {
            return None;
        }
        let granted = asked.min(self.left);
        self.left -= granted;
        Some(sleep_until(pause.deadline().max(Instant::now() + granted)))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        Policy::<_, Response<B>, _>::clone_request(&mut self.policy, request)
    }
}

/// How long the API server asks to be left alone.
fn asked_for<B>(answer: &Response<B>) -> Duration {
    let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    Duration::from_secs(seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or_default())
}

/// The same client for work of which any amount may come up in a moment, as when thousands of Tokens are deleted: what is too much waits
/// here and not on the connection, where the Lease and the webhook's questions would wait behind it.
#[must_use]
pub fn for_bulk(client: &Client) -> Client {
    let (namespace, client) = (client.default_namespace().to_owned(), client.clone());
    let service = ServiceBuilder::new()
        .layer(ConcurrencyLimitLayer::new(BULK))
        .service_fn(move |request| {
            let client = client.clone();
            async move { client.send(request).await }
        });
    Client::new(service, namespace)
}

/// Why there is no answer.
fn cause(error: &(dyn Error + 'static)) -> String {
    let text = innermost(error).to_string();
    if text.contains("certificate") {
        format!("{text}; the authority to trust is certificate-authority of the kubeconfig")
    } else {
        text
    }
}

/// Where an API server is: its URL, without a name and a password.
fn place(url: &Uri) -> String {
    let (scheme, host) = (url.scheme_str().unwrap_or("https"), url.host().unwrap_or_default());
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{host}{port}{}", url.path().trim_end_matches('/'))
}

fn is_watch(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|part| part == "watch=true")
}

/// The answer with all of its body: whoever waits for the answer has a limit to that, and none for a body that stops half way.
async fn whole<S, B>(http: S, request: Request<Body>) -> Result<Response<Full<Bytes>>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>>,
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>>,
{
    let (head, body) = http.oneshot(request).await.map_err(Into::into)?.into_parts();
    let body = body.collect().await.map_err(Into::into)?.to_bytes();
    Ok(Response::from_parts(head, Full::new(body)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tokio::time::timeout;
    use tower::service_fn;

    use super::*;

    /// Begins each answer, and ends none.
    async fn stuck(
        _: Request<Body>,
    ) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = BoxError>>, BoxError> {
        Ok(Response::new(StreamBody::new(stream::pending::<
            Result<Frame<Bytes>, BoxError>,
        >())))
    }

    fn request(query: &str) -> Request<Body> {
        let request = Request::get(format!("https://api/v1/secrets?{query}"));
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn an_api_server_is_named_without_a_password() {
        for (url, named) in [
            ("https://me:hidden@api.test:6443/", "https://api.test:6443"),
            ("https://api.test/k8s/clusters/c-1", "https://api.test/k8s/clusters/c-1"),
            ("http://[::1]:8001", "http://[::1]:8001"),
        ] {
            assert_eq!(place(&url.parse().unwrap()), named);
        }
    }

    /// How long a call takes until a 429 that asks for `seconds` each time is given up, and how many requests that is.
    async fn refused(seconds: &'static str) -> (Duration, usize) {
        let count = Arc::new(AtomicUsize::new(0));
        let asked = count.clone();
        let busy = service_fn(move |_: Request<Body>| {
            asked.fetch_add(1, Ordering::Relaxed);
            let answer = Response::builder().status(429).header(RETRY_AFTER, seconds);
            std::future::ready(answer.body(Body::empty()).map_err(BoxError::from))
        });
        let begun = Instant::now();
        let service = ServiceBuilder::new()
            .layer(RetryLayer::new(Retry::new().unwrap()))
            .service(busy);
        let answer = service.oneshot(request("limit=250")).await.unwrap();
        assert_eq!(answer.status(), 429);
        (begun.elapsed(), count.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_api_server_says_when_it_is_asked_again_within_bounds() {
        assert_eq!(refused("5").await, (Duration::from_secs(15), 4));
        assert_eq!(refused("20").await, (PATIENCE, 3));
        assert_eq!(refused("18446744073709551615").await, (PATIENCE, 2));
        for nothing in ["0", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            let (time, requests) = refused(nothing).await;
            assert!(time <= Duration::from_secs(3) && requests == 4, "{time:?}, {requests}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn however_much_bulk_work_there_is_another_call_waits_for_none_of_it() {
        let (most, under_way) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, peak) = (under_way.clone(), most.clone());
        let slow = service_fn(move |_: Request<Body>| {
            let now = count.fetch_add(1, Ordering::Relaxed) + 1;
            peak.fetch_max(now, Ordering::Relaxed);
            let count = count.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                count.fetch_sub(1, Ordering::Relaxed);
                Ok::<_, BoxError>(Response::new(Body::empty()))
            }
        });
        let client = Client::new(slow, "default");
        let bulk = for_bulk(&client);
        let calls = (0..5 * BULK).map(|_| {
            let bulk = bulk.clone();
            async move { bulk.send(request("")).await.unwrap() }
        });
        let calls = tokio::spawn(futures::future::join_all(calls));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(under_way.load(Ordering::Relaxed), BULK);
        let begun = Instant::now();
        client.send(request("")).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
        assert_eq!(calls.await.unwrap().len(), 5 * BULK);
        assert_eq!(most.load(Ordering::Relaxed), BULK + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_stops_half_way_is_given_up_and_a_watch_may_be_silent() {
        let listed = whole(service_fn(stuck), request("&limit=250"));
        assert!(timeout(PATIENCE, listed).await.is_err());
        let lanes = Lanes::new(|| service_fn(stuck));
        let watch = request("&watch=true&timeoutSeconds=290");
        assert!(is_watch(&watch) && !is_watch(&request("&limit=250")));
        let begun = Instant::now();
        let answer = lanes.watch::<_, Full<Bytes>, _>(watch);
        assert!(timeout(PATIENCE, answer).await.unwrap().is_ok());
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
