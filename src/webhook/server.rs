//! HTTPS for the API server: an accept loop of our own, since whoever can reach the port may hang, and an honest request must
//! not wait for that.
//!
//! Every stage has a time and a number: a handshake [`HANDSHAKE_TIMEOUT`], a request's head [`HEAD_TIMEOUT`]. Where a stage is
//! full, the oldest one makes room, so that those who hang push out each other.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// How long a TLS handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// Handshakes at once.
pub const HANDSHAKES: usize = 2048;
/// How long a client may take to send the head of its first request, and over HTTP/1.1 of each; an idle HTTP/1.1 connection is
/// closed after it, too.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at once: an API server has a few.
pub const CONNECTIONS: usize = 512;
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 128;
/// Bytes of a connection that are held before anyone reads them, by HTTP/2 and by HTTP/1.1.
const WINDOW: u32 = 256 * 1024;
const BUFFER: usize = 64 * 1024;
/// After this, an HTTP/2 connection that says nothing is asked whether it lives; it has as long to answer.
const PING: Duration = Duration::from_secs(20);
/// How long new connections are still taken after the end was asked for: until no Service leads here any more.
pub const LINGER: Duration = Duration::from_secs(3);
/// How long a connection that came last may take to ask something: hyper hangs up on one of HTTP/1.1 of which it has read nothing
/// yet, also where its request is on the way.
const FIRST_WORDS: Duration = Duration::from_millis(500);
/// How long a connection that is asked to leave may finish what it is at.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Connections that the kernel takes before we do.
const BACKLOG: usize = 1024;
/// How long to wait after the kernel refused a connection, as it does when files run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The certificate that is served: none yet, or the newest.
pub type Certificate = watch::Receiver<Option<Arc<CertifiedKey>>>;

#[derive(Debug)]
struct Newest(Certificate);

impl ResolvesServerCert for Newest {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.borrow().clone()
    }
}

/// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, and always the newest certificate: a new one takes effect with the next handshake.
///
/// # Errors
/// When the provider lacks a protocol version, which it does not.
pub fn tls(certificate: Certificate) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder =
        ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions()?;
    let mut config = builder
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Newest(certificate)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Serves until `stop` is cancelled, [`LINGER`] longer, and then until what is under way is answered.
pub async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, routes: Router, stop: CancellationToken) {
    let mut server = Server {
        acceptor: TlsAcceptor::from(tls),
        routes,
        handshakes: JoinSet::new(),
        connections: JoinSet::new(),
        greeting: Crowd::new(HANDSHAKES),
        served: Crowd::new(CONNECTIONS),
    };
    let mut closing = std::pin::pin!(async {
        stop.cancelled().await;
        tokio::time::sleep(LINGER).await;
    });
    loop {
        tokio::select! {
            () = &mut closing => break,
            accepted = listener.accept() => server.accepted(accepted).await,
            Some(done) = server.handshakes.join_next() => server.greeted(done),
            Some(_) = server.connections.join_next() => {}
        }
    }
    server.leave(listener).await;
}

/// What became of a handshake.
type Greeted = Result<Option<Box<TlsStream<TcpStream>>>, tokio::task::JoinError>;

struct Server {
    acceptor: TlsAcceptor,
    routes: Router,
    handshakes: JoinSet<Option<Box<TlsStream<TcpStream>>>>,
    connections: JoinSet<()>,
    greeting: Crowd,
    served: Crowd,
}

impl Server {
    async fn accepted(&mut self, accepted: std::io::Result<(TcpStream, std::net::SocketAddr)>) {
        match accepted {
            Ok((stream, _)) => {
                let task = self.handshakes.spawn(greet(self.acceptor.clone(), stream));
                if let Some(oldest) = self.greeting.admit(Member::new(task)) {
                    oldest.task.abort();
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    fn greeted(&mut self, done: Greeted) {
        let Ok(Some(stream)) = done else { return };
        let leave = CancellationToken::new();
        let task = self
            .connections
            .spawn(converse(*stream, self.routes.clone(), leave.clone()));
        if let Some(oldest) = self.served.admit(Member { task, leave }) {
            oldest.leave.cancel();
        }
    }

    /// Takes what the kernel has taken already, and lets everything come to its end.
    async fn leave(mut self, listener: TcpListener) {
        for _ in 0..BACKLOG {
            let Ok(accepted) = timeout(Duration::ZERO, listener.accept()).await else {
                break;
            };
            self.accepted(accepted).await;
        }
        drop(listener);
        let greet = async {
            while let Some(done) = self.handshakes.join_next().await {
                self.greeted(done);
            }
        };
        // Whoever has not said anything by now has no request under way.
        let _ = timeout(LAST_WORDS / 2, greet).await;
        let silent = async { while self.connections.join_next().await.is_some() {} };
        let _ = timeout(FIRST_WORDS, silent).await;
        self.served.members.iter().for_each(|member| member.leave.cancel());
        while self.connections.join_next().await.is_some() {}
    }
}

/// Those in one stage, in the order in which they came.
struct Crowd {
    most: usize,
    members: VecDeque<Member>,
}

struct Member {
    task: AbortHandle,
    leave: CancellationToken,
}

impl Member {
    fn new(task: AbortHandle) -> Self {
        let leave = CancellationToken::new();
        Member { task, leave }
    }
}

impl Crowd {
    fn new(most: usize) -> Self {
        let members = VecDeque::new();
        Crowd { most, members }
    }

    /// Takes one in; the oldest, if it has to make room.
    fn admit(&mut self, member: Member) -> Option<Member> {
        self.members.push_back(member);
        if self.members.len() > self.most {
            self.members.retain(|member| !member.task.is_finished());
        }
        (self.members.len() > self.most)
            .then(|| self.members.pop_front())
            .flatten()
    }
}

async fn greet(acceptor: TlsAcceptor, stream: TcpStream) -> Option<Box<TlsStream<TcpStream>>> {
    // An answer is one small packet: it must not wait for another.
    let _ = stream.set_nodelay(true);
    let handshake = async {
        // Whoever says nothing costs no more than a socket.
        stream.readable().await?;
        acceptor.accept(stream).await
    };
    match timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

async fn converse(stream: TlsStream<TcpStream>, routes: Router, leave: CancellationToken) {
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let (stream, service) = (TokioIo::new(stream), TowerToHyperService::new(routes));
    if is_http2 {
        let heard = AtomicBool::new(false);
        let service = service_fn(|request| {
            heard.store(true, Ordering::Relaxed);
            service.call(request)
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .serve_connection(stream, service);
        // The pings begin when the client has greeted: who does not even do that is nobody's ping to find.
        let silence = async {
            tokio::time::sleep(HEAD_TIMEOUT).await;
            if heard.load(Ordering::Relaxed) {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = until_asked(connection, http2::Connection::graceful_shutdown, leave) => {}
            () = silence => {}
        }
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(BUFFER)
            .serve_connection(stream, service);
        until_asked(connection, http1::Connection::graceful_shutdown, leave).await;
    }
}

/// Lets a connection live until it ends, or is asked to leave.
async fn until_asked<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    shut_down: impl FnOnce(Pin<&mut C>),
    leave: CancellationToken,
) {
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = leave.cancelled() => {
            shut_down(connection.as_mut());
            timeout(LAST_WORDS, connection).await.ok()
        }
    };
    if let Some(Err(error)) = ended {
        tracing::debug!(%error, "a connection to the webhook ended early");
    }
}
