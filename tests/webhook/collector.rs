//! Hosts that no token is for.

use std::sync::{Arc, Mutex};

use github_token_manager::domain::authority::{Life, Terms};
use github_token_manager::webhook::certificate::Signer;
use github_token_manager::webhook::server;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::rotation::now;

/// Two servers that ask everyone for a password, and write down all that they are told: one speaks TLS.
pub struct Collector {
    pub plain: u16,
    pub secure: u16,
    heard: Arc<Mutex<Vec<u8>>>,
    /// Whom to trust for the one that speaks TLS, PEM.
    pub authority: String,
}

impl Collector {
    pub async fn new() -> Collector {
        let terms = Terms::default();
        let life = Life::new(now(), terms.leaf, terms.backdate);
        let signer = Signer::generate(life).unwrap();
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let leaf = Arc::new(signer.leaf(life, &names).unwrap());
        let mut tls = Arc::unwrap_or_clone(server::tls(watch::channel(Some(leaf)).1).unwrap());
        tls.alpn_protocols.clear();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listeners = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let [plain, secure] = listeners
            .each_ref()
            .map(|listener| listener.local_addr().unwrap().port());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = heard.clone();
        let [plainly, securely] = listeners;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Ok((stream, _)) = plainly.accept() => ask(stream, &all).await,
                    Ok((stream, _)) = securely.accept() => match acceptor.accept(stream).await {
                        Ok(stream) => ask(stream, &all).await,
                        Err(error) => all.lock().unwrap().extend(format!("no handshake: {error}\n").bytes()),
                    },
                }
            }
        });
        Collector {
            plain,
            secure,
            heard,
            authority: signer.certificate,
        }
    }

    /// What was heard since it was last asked.
    pub fn heard(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut *self.heard.lock().unwrap())).into_owned()
    }
}

/// Reads a request, and answers that a password is needed.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, heard: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 16 * 1024];
    let read = stream.read(&mut buffer).await.unwrap_or(0);
    heard.lock().unwrap().extend_from_slice(&buffer[..read]);
    let answer = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic realm=\"x\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// The passwords that a server was sent.
pub fn authorizations(heard: &str) -> Vec<&str> {
    heard
        .lines()
        .filter_map(|line| line.strip_prefix("Authorization: "))
        .collect()
}
