//! A way to the API server that can be cut.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::world::World;

/// Leads every connection to one server, and drops all while it is cut.
pub struct Road {
    address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Road {
    /// To the server of this URL.
    pub async fn to(url: &str) -> Road {
        let server: SocketAddr = url.trim_start_matches("https://").parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (open, state) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(drive(client, server, state.clone()));
            }
        });
        Road { address, open }
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
        self.open.send_replace(false);
    }

    /// New connections pass again.
    pub fn mend(&self) {
        self.open.send_replace(true);
    }
}

async fn drive(mut client: TcpStream, server: SocketAddr, mut open: watch::Receiver<bool>) {
    if !*open.borrow_and_update() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = open.changed() => {}
    }
}
