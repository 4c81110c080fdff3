//! Connections: accepted, served, and reset when a fault says so.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::serve::serve;
use super::shared::Shared;

/// Loopback, or 198.18.0.0/15, which is for tests alone (RFC 2544): the lab's node is there.
pub(super) fn of_this_machine_alone(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || matches!(address.octets(), [198, 18 | 19, ..]),
        IpAddr::V6(address) => address.is_loopback(),
    }
}

/// Serves until it is dropped, and then drops all connections.
pub(super) async fn listen(listener: TcpListener, shared: Arc<Shared>, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, Arc::clone(&shared), tls.clone()));
            }
            // Out of file descriptors, usually: it passes when a connection ends.
            Err(error) => {
                tracing::warn!(%error, "the GitHub stand-in cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, tls: Option<TlsAcceptor>) {
    // Answers are small: waiting for more to send with them would only delay them.
    let _ = stream.set_nodelay(true);
    match tls {
        None => {
            if let Some(stream) = requests(stream, shared).await {
                reset(&stream);
            }
        }
        Some(acceptor) => {
            // A client that does not trust the CA is its own problem.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            if let Some(stream) = requests(stream, shared).await {
                reset(stream.get_ref().0);
            }
        }
    }
}

/// Closes with RST instead of FIN once the stream is dropped.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// Serves the requests of a connection; gives it back when it is to be reset.
async fn requests<S>(stream: S, shared: Arc<Shared>) -> Option<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        // Boxed, so that the connection can be taken apart afterwards.
        Box::pin(serve(Arc::clone(&shared), request))
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new());
    let mut connection = builder.serve_connection(TokioIo::new(stream), service);
    match (&mut connection).await {
        Ok(()) => None,
        Err(_) => Some(connection.into_parts().io.into_inner()),
    }
}
