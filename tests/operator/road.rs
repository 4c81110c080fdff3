//! A way to the API server that can be cut.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::world::World;

/// Leads every connection to one server.
pub struct Road {
    address: SocketAddr,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    /// Every connection is dropped.
    Cut,
    /// Connections stay, and nothing comes through, as where a machine has stopped.
    Silent,
}

impl Road {
    /// To the server of this URL.
    pub async fn to(url: &str) -> Road {
        let server: SocketAddr = url.trim_start_matches("https://").parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (state, changes) = watch::channel(State::Open);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(drive(client, server, changes.clone()));
            }
        });
        Road { address, state }
    }

    /// The world's kubeconfig, by this way.
    pub fn kubeconfig(&self, world: &World) -> PathBuf {
        let text = std::fs::read_to_string(world.cluster.kubeconfig_path()).expect("a kubeconfig");
        let url = format!("https://{}", self.address);
        let text = text.replace(&world.cluster.url(), &url);
        assert!(text.contains(&url), "{url}");
        world.folder.write("by-road", text).expect("it is written")
    }

    /// Nothing passes any more.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Nothing passes any more, and nobody is told.
    pub fn fall_silent(&self) {
        self.state.send_replace(State::Silent);
    }

    /// New connections pass again.
    pub fn mend(&self) {
        self.state.send_replace(State::Open);
    }
}

async fn drive(mut client: TcpStream, server: SocketAddr, mut state: watch::Receiver<State>) {
    if *state.borrow_and_update() == State::Open {
        let Ok(mut server) = TcpStream::connect(server).await else {
            return;
        };
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut server) => return,
            _ = state.changed() => {}
        }
    }
    let _ = state.wait_for(|state| *state != State::Silent).await;
}
