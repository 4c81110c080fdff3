//! The HTTP server before a key service: it records, and fails when it is told to.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::error::{During, Error};
use crate::github::tls;

/// A request's body is read up to here, in bytes.
const LARGEST: usize = 1 << 20;

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// No answer at all.
    Hang,
    /// The answer comes this late.
    Slow(Duration),
    /// An answer that is not the service's.
    Garbage,
    /// This status and body, with a `Retry-After` of so many seconds if one is given.
    Status(u16, Value, Option<u64>),
    /// The first byte of the signature is another one.
    BadSignature,
}

/// What answers.
pub(super) type Handler = Arc<dyn Fn(Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync>;

/// A server on loopback. It stops when it is dropped.
pub struct Front {
    address: SocketAddr,
    ca_pem: Option<String>,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    seen: Vec<String>,
    fault: Option<(String, Fault)>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Front {
    /// Serves `handler`; over HTTPS for `hosts`, if there are any.
    pub(super) async fn start(handler: Handler, hosts: &[&str]) -> Result<Self, Error> {
        let (acceptor, ca_pem) = match hosts {
            [] => (None, None),
            hosts => {
                let made = tls::acceptor(hosts).map_err(|error| Error::Usage(error.to_string()))?;
                (Some(made.0), Some(made.1))
            }
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.during(|| "listen on 127.0.0.1".into())?;
        let address = listener.local_addr().during(|| "name the socket".into())?;
        let state = Arc::new(Mutex::new(State::default()));
        let task = tokio::spawn(listen(listener, Arc::clone(&state), handler, acceptor));
        Ok(Self {
            address,
            ca_pem,
            state,
            task,
        })
    }

    /// Passes everything on to the server at `upstream`, such as `http://127.0.0.1:1234`.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn before(upstream: &str) -> Result<Self, Error> {
        Self::before_as(upstream, &[]).await
    }

    /// The same, over HTTPS for these hosts.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn before_as(upstream: &str, hosts: &[&str]) -> Result<Self, Error> {
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
        let upstream = upstream.to_owned();
        let handler: Handler = Arc::new(move |request| Box::pin(forward(client.clone(), upstream.clone(), request)));
        Self::start(handler, hosts).await
    }

    /// Sends every request on, as a standby does: to what `target` makes of its path and query.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn sending_on(target: impl Fn(&str) -> String + Send + Sync + 'static) -> Result<Self, Error> {
        let handler: Handler = Arc::new(move |request: Request<Bytes>| {
            let asked = request.uri().path_and_query().map_or("/", |asked| asked.as_str());
            let mut answer = Response::new(Bytes::new());
            *answer.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            if let Ok(target) = target(asked).parse() {
                answer.headers_mut().insert(header::LOCATION, target);
            }
            Box::pin(std::future::ready(answer))
        });
        Self::start(handler, &[]).await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, or with https.
    pub fn url(&self) -> String {
        let scheme = if self.ca_pem.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The CA of its certificate, in PEM; none over plain HTTP.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// From now on, every request whose method, path, `X-Amz-Target` or `X-Vault-Namespace` contains `part` fails; an empty part means all.
    pub fn fail(&self, part: &str, fault: Fault) {
        lock(&self.state).fault = Some((part.to_owned(), fault));
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        lock(&self.state).fault = None;
    }

    /// How many requests have come whose method, path, `X-Amz-Target` or `X-Vault-Namespace` contains `part`.
    pub fn count(&self, part: &str) -> usize {
        lock(&self.state).seen.iter().filter(|line| line.contains(part)).count()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen(listener: TcpListener, state: Arc<Mutex<State>>, handler: Handler, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(
            stream,
            Arc::clone(&state),
            Arc::clone(&handler),
            tls.clone(),
        ));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, state: Arc<Mutex<State>>, handler: Handler, tls: Option<TlsAcceptor>) {
    match tls {
        None => requests(stream, state, handler).await,
        Some(acceptor) => {
            // A client that does not trust the CA is its own problem.
            if let Ok(stream) = acceptor.accept(stream).await {
                requests(stream, state, handler).await;
            }
        }
    }
}

async fn requests<S>(stream: S, state: Arc<Mutex<State>>, handler: Handler)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (state, handler) = (Arc::clone(&state), Arc::clone(&handler));
        Box::pin(async move { Ok::<_, Infallible>(answer(state, handler, request).await.map(Body::from)) })
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new());
    // A client that goes away in the middle is no trouble of ours.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(state: Arc<Mutex<State>>, handler: Handler, request: Request<Incoming>) -> Response<Bytes> {
    let (head, body) = request.into_parts();
    let body = to_bytes(Body::new(body), LARGEST).await.unwrap_or_default();
    let text = |name: &str| {
        head.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let told = ["x-amz-target", "x-vault-namespace"].map(text).concat();
    let line = format!("{} {} {told}", head.method, head.uri);
    let fault = {
        let mut state = lock(&state);
        let fault = state.fault.clone().filter(|(part, _)| line.contains(part.as_str()));
        state.seen.push(line);
        fault.map(|(_, fault)| fault)
    };
    let request = Request::from_parts(head, body);
    match fault {
        None => handler(request).await,
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Slow(time)) => {
            tokio::time::sleep(time).await;
            handler(request).await
        }
        Some(Fault::Garbage) => response(200, Bytes::from_static(b"<html>welcome to nginx</html>")),
        Some(Fault::Status(status, body, retry_after)) => {
            let mut answer = json(status, &body);
            if let Some(seconds) = retry_after {
                answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            answer
        }
        Some(Fault::BadSignature) => spoilt(handler(request).await),
    }
}

/// An answer of JSON.
pub(super) fn json(status: u16, body: &Value) -> Response<Bytes> {
    response(status, body.to_string().into())
}

fn response(status: u16, body: Bytes) -> Response<Bytes> {
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT);
    let kind = header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

/// The same answer with another signature, under each name that a service has for it.
fn spoilt(answer: Response<Bytes>) -> Response<Bytes> {
    let (mut head, body) = answer.into_parts();
    let Ok(mut value) = serde_json::from_slice::<Value>(&body) else {
        return Response::from_parts(head, body);
    };
    for pointer in ["/Signature", "/signature", "/value", "/data/signature"] {
        if let Some(Value::String(text)) = value.pointer_mut(pointer) {
            let start = text.rfind(':').map_or(0, |colon| colon + 1);
            let other = if text[start..].starts_with('A') { "B" } else { "A" };
            text.replace_range(start..=start, other);
        }
    }
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, value.to_string().into())
}

async fn forward(client: reqwest::Client, upstream: String, request: Request<Bytes>) -> Response<Bytes> {
    let (head, body) = request.into_parts();
    let mut headers = head.headers;
    for name in [header::HOST, header::CONTENT_LENGTH, header::CONNECTION] {
        headers.remove(name);
    }
    let sent = client
        .request(head.method, format!("{upstream}{}", head.uri))
        .headers(headers)
        .body(body);
    let answer = async {
        let answer = sent.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        Ok::<_, reqwest::Error>((status, headers, answer.bytes().await?))
    };
    match answer.await {
        Ok((status, headers, body)) => {
            let mut answer = Response::new(body);
            *answer.status_mut() = status;
            *answer.headers_mut() = headers;
            for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION] {
                answer.headers_mut().remove(name);
            }
            answer
        }
        Err(error) => json(502, &serde_json::json!({"message": error.to_string()})),
    }
}
