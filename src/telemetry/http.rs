//! `/healthz`, `/readyz` and `/metrics` over plain HTTP, on one address or two.
//!
//! A client that hangs holds nothing for long: a request's head must arrive within [`HEAD_TIMEOUT`], a connection lives at
//! most [`CONNECTION_LIFETIME`], and there are at most [`CONNECTIONS`] of them for each address.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::metrics::{CONTENT_TYPE, Metrics};

/// How long a client may take to send the head of a request; an idle connection is closed after it, too.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may live, whatever happens on it.
pub const CONNECTION_LIFETIME: Duration = Duration::from_secs(120);

/// How many connections an address serves at once; more wait in the kernel's queue.
pub const CONNECTIONS: usize = 64;

/// How long a shutdown waits for answers that are under way.
const DRAIN: Duration = Duration::from_secs(2);

/// How long to wait after the kernel refused a connection, as it does when files run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindAddress {
    /// Nowhere: written `0`.
    Off,
    /// This port of every address, IPv6 and IPv4: written `:8080`.
    Every(u16),
    /// One address: written `127.0.0.1:8080` or `[::1]:8080`.
    One(SocketAddr),
}

impl FromStr for BindAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no address: give IP:PORT such as 127.0.0.1:8080, :PORT for every address, or 0 to turn it off"
            )
        };
        match text.strip_prefix(':') {
            _ if text == "0" => Ok(BindAddress::Off),
            Some(port) => port.parse().map(BindAddress::Every).map_err(|_| wrong()),
            None => text.parse().map(BindAddress::One).map_err(|_| wrong()),
        }
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindAddress::Off => f.write_str("0"),
            BindAddress::Every(port) => write!(f, ":{port}"),
            BindAddress::One(address) => address.fmt(f),
        }
    }
}

impl BindAddress {
    async fn listen(self) -> io::Result<Option<TcpListener>> {
        match self {
            BindAddress::Off => Ok(None),
            BindAddress::One(address) => TcpListener::bind(address).await.map(Some),
            BindAddress::Every(port) => {
                let any = |ip: IpAddr| TcpListener::bind(SocketAddr::new(ip, port));
                match any(Ipv6Addr::UNSPECIFIED.into()).await {
                    Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                        // A machine without IPv6.
                        any(Ipv4Addr::UNSPECIFIED.into()).await.map(Some)
                    }
                    listener => listener.map(Some),
                }
            }
        }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{flag} {address}: {error}: give an address that is free and ours, or 0 to turn it off")]
pub struct BindError {
    flag: &'static str,
    address: BindAddress,
    error: io::Error,
}

/// Listens on an address that `flag` gave; `None`: it is off.
///
/// # Errors
/// [`BindError`], which names the flag.
pub async fn listen(flag: &'static str, address: BindAddress) -> Result<Option<TcpListener>, BindError> {
    let wrong = |error| BindError { flag, address, error };
    address.listen().await.map_err(wrong)
}

/// Whether this process can do its work, as `/readyz` says. A clone is a handle on the same answer, which begins as no.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says so from now on.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// What is said now.
    #[must_use]
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// How long the work may stand still before `/healthz` says so: a turn comes every 15 s at least.
const STANDSTILL: Duration = Duration::from_secs(60);

/// Whether the work goes on, as `/healthz` says. A clone is a handle on the same; nothing is expected before the first beat.
///
/// The clock is the monotonic one, which stands still while the machine sleeps.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Arc<Mutex<Option<Instant>>>);

impl Heartbeat {
    /// The work goes on, and the next beat is expected.
    pub fn beat(&self) {
        self.set(Some(Instant::now()));
    }

    /// There is no work: nothing is expected until the next beat.
    pub fn rest(&self) {
        self.set(None);
    }

    fn set(&self, last: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }

    fn stands_still(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() > STANDSTILL)
    }
}

/// What the probes are answered by.
#[derive(Clone, Debug, Default)]
pub struct Probes {
    /// For `/readyz`.
    pub readiness: Readiness,
    /// For `/healthz`.
    pub heartbeat: Heartbeat,
}

/// Listening, not serving yet: what is wrong with an address is known before anything else starts.
#[derive(Debug)]
pub struct Server {
    sites: Vec<(TcpListener, Router)>,
    metrics: Option<SocketAddr>,
    health: Option<SocketAddr>,
}

impl Server {
    /// Listens. The same address twice is one listener for everything.
    ///
    /// # Errors
    /// When an address cannot be listened on; the error names the flag that gave it.
    pub async fn bind(
        metrics_address: BindAddress,
        health_address: BindAddress,
        metrics: Metrics,
        probes: Probes,
    ) -> Result<Self, BindError> {
        let metrics_routes = Router::new().route("/metrics", get(serve_metrics)).with_state(metrics);
        let health_routes = Router::new()
            .route("/healthz", get(serve_health))
            .route("/readyz", get(serve_readiness))
            .with_state(probes);
        let mut server = Server {
            sites: Vec::new(),
            metrics: None,
            health: None,
        };
        if metrics_address == health_address {
            let routes = metrics_routes.merge(health_routes);
            server.metrics = server.listen("--metrics-bind-address", metrics_address, routes).await?;
            server.health = server.metrics;
        } else {
            server.metrics = server
                .listen("--metrics-bind-address", metrics_address, metrics_routes)
                .await?;
            server.health = server
                .listen("--health-probe-bind-address", health_address, health_routes)
                .await?;
        }
        Ok(server)
    }

    async fn listen(
        &mut self,
        flag: &'static str,
        address: BindAddress,
        routes: Router,
    ) -> Result<Option<SocketAddr>, BindError> {
        let wrong = |error| BindError { flag, address, error };
        let Some(listener) = listen(flag, address).await? else {
            return Ok(None);
        };
        let local = listener.local_addr().map_err(wrong)?;
        self.sites.push((listener, routes));
        Ok(Some(local))
    }

    /// Where metrics are served: the real port where 0 was asked for.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Where probes are answered.
    #[must_use]
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.health
    }

    /// Serves until `stop` is cancelled, and then until answers under way are sent, at most two seconds.
    pub async fn serve(self, stop: CancellationToken) {
        let mut sites: JoinSet<()> = self
            .sites
            .into_iter()
            .map(|(listener, routes)| serve_site(listener, routes, stop.clone()))
            .collect();
        while sites.join_next().await.is_some() {}
        // With both addresses off there is nothing to wait for: the caller still waits for us.
        stop.cancelled().await;
    }
}

async fn serve_metrics(State(metrics): State<Metrics>) -> Response {
    match metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn serve_health(State(probes): State<Probes>) -> (StatusCode, &'static str) {
    if probes.heartbeat.stands_still() {
        (StatusCode::SERVICE_UNAVAILABLE, "the work stands still\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn serve_readiness(State(probes): State<Probes>) -> (StatusCode, &'static str) {
    if probes.readiness.get() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

/// Serves these routes until `stop` is cancelled, and then until answers under way are sent, at most two seconds.
pub async fn serve_site(listener: TcpListener, routes: Router, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, Arc::clone(&permits)) => {
                if let Some((stream, permit)) = accepted {
                    connections.spawn(serve_connection(stream, routes.clone(), stop.clone(), permit));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    // What is left after the drain is dropped with the set.
    let _ = tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
}

async fn accept(listener: &TcpListener, permits: Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = permits.acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::debug!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn serve_connection(stream: TcpStream, routes: Router, stop: CancellationToken, _permit: OwnedSemaphorePermit) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut connection = std::pin::pin!(connection);
    let served = async {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    };
    match tokio::time::timeout(CONNECTION_LIFETIME, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to metrics or probes ended early"),
        Err(_) => tracing::debug!("a connection to metrics or probes outlived its time"),
    }
}

#[cfg(test)]
mod tests;
