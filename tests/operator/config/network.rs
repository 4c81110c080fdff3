//! The way to GitHub: own certificate authorities, and proxies.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use lab::github::Settings;
use lab::gtm::{Builder, Operator};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{World, configure};

fn https() -> Settings {
    Settings {
        tls: true,
        ..Settings::default()
    }
}

/// A world with an HTTPS stand-in whose CA the operator does not know yet.
async fn world() -> World {
    World::with(crate::world::cluster(), https(), |operator| operator).await
}

/// Adds the stand-in's CA to the configuration.
fn trust(world: &World) -> std::path::PathBuf {
    let ca = world.folder.write("ca.pem", world.github.ca_pem().unwrap()).unwrap();
    let file = configure(&world.folder, &world.github);
    let mut text = std::fs::read_to_string(&file).unwrap();
    text.push_str(&format!("ca_bundle: {}\n", ca.display()));
    world.folder.write("gtm.yaml", text).unwrap()
}

#[tokio::test]
async fn an_unknown_authority_is_told_and_a_ca_bundle_is_taken_without_a_restart() {
    let world = world().await;
    world.token("demo", json!({"retryInterval": "1s"})).await;
    let ready = world.condition("demo", "Ready", "False", "GitHubUnavailable").await;
    assert!(ready.message.contains("certificate"), "{}", ready.message);
    trust(&world);
    world.ready("demo").await;
    world.good_token("demo", None).await;
}

/// A proxy that tunnels, and writes down where to.
struct Proxy {
    address: SocketAddr,
    tunnels: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tunnels = Arc::new(Mutex::new(Vec::new()));
        let seen = tunnels.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(tunnel(client, seen.clone()));
            }
        });
        Proxy { address, tunnels }
    }

    /// Whether someone went through to this place.
    fn saw(&self, place: &str) -> bool {
        self.tunnels.lock().unwrap().iter().any(|to| to == place)
    }
}

/// `CONNECT host:port` (RFC 9110, 9.3.6).
async fn tunnel(mut client: TcpStream, seen: Arc<Mutex<Vec<String>>>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
        head.push(client.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let to = head.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
    seen.lock().unwrap().push(to.clone());
    let mut server = TcpStream::connect(to).await.ok()?;
    client
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await
        .ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok()?;
    Some(())
}

#[tokio::test]
async fn the_proxy_variables_lead_to_github_and_no_proxy_leads_past_the_proxy() {
    let world = world().await;
    world.operator.kill();
    let file = trust(&world);
    let github = world.github.url().trim_start_matches("https://").to_owned();
    let operator = |proxy: &Proxy| -> Builder {
        let builder = Operator::builder(env!("CARGO_BIN_EXE_gtm"), world.cluster.kubeconfig_path());
        let builder = builder.config(&file).namespace("default").leader_elect(false);
        builder.env("HTTPS_PROXY", format!("http://{}", proxy.address))
    };
    let proxy = Proxy::start().await;
    let running = operator(&proxy).start().await.unwrap();
    world.token("through", json!({})).await;
    world.ready("through").await;
    assert!(proxy.saw(&github), "{:?}", proxy.tunnels);
    running.kill();

    let proxy = Proxy::start().await;
    let _running = operator(&proxy).env("NO_PROXY", "127.0.0.1").start().await.unwrap();
    world.token("past", json!({})).await;
    world.ready("past").await;
    assert!(!proxy.saw(&github), "{:?}", proxy.tunnels);
}
