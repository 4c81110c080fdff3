use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// More than any test needs: a deadline, not a wait.
const DEADLINE: Duration = Duration::from_secs(20);

fn loopback(port: u16) -> BindAddress {
    BindAddress::One(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))
}

async fn bind(metrics: BindAddress, health: BindAddress, probes: &Probes) -> Server {
    Server::bind(metrics, health, Metrics::new("0"), probes.clone())
        .await
        .expect("bound")
}

async fn ask(address: SocketAddr, path: &str) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    };
    tokio::time::timeout(DEADLINE, exchange).await.expect("in time")
}

#[tokio::test]
async fn probes_and_metrics_answer_on_their_own_addresses() {
    let probes = Probes::default();
    let server = bind(
        loopback(0),
        BindAddress::One("[::1]:0".parse().expect("an address")),
        &probes,
    )
    .await;
    let (metrics, health) = (
        server.metrics_address().expect("on"),
        server.health_address().expect("on"),
    );
    let stop = CancellationToken::new();
    let task = tokio::spawn(server.serve(stop.clone()));

    let text = ask(metrics, "/metrics").await;
    assert!(
        text.starts_with("HTTP/1.1 200") && text.contains(&format!("content-type: {CONTENT_TYPE}")),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(ask(health, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(ask(health, "/readyz").await.starts_with("HTTP/1.1 503"));
    probes.readiness.set(true);
    assert!(ask(health, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(ask(health, "/metrics").await.starts_with("HTTP/1.1 404"));
    assert!(ask(metrics, "/readyz").await.starts_with("HTTP/1.1 404"));

    stop.cancel();
    tokio::time::timeout(DEADLINE, task)
        .await
        .expect("in time")
        .expect("no panic");
    assert!(TcpStream::connect(metrics).await.is_err() && TcpStream::connect(health).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn health_ends_when_the_work_stands_still_and_not_while_there_is_none() {
    let probes = Probes::default();
    let health = async || serve_health(State(probes.clone())).await.0;
    let long = STANDSTILL + Duration::from_secs(1);
    tokio::time::advance(long).await;
    assert_eq!(health().await, StatusCode::OK, "starting, or not leading");
    probes.heartbeat.beat();
    tokio::time::advance(STANDSTILL).await;
    assert_eq!(health().await, StatusCode::OK);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(health().await, StatusCode::SERVICE_UNAVAILABLE);
    probes.heartbeat.beat();
    assert_eq!(health().await, StatusCode::OK);
    probes.heartbeat.rest();
    tokio::time::advance(long).await;
    assert_eq!(health().await, StatusCode::OK);
}

#[tokio::test]
async fn one_address_for_both_is_one_server_for_everything() {
    let server = bind(loopback(0), loopback(0), &Probes::default()).await;
    let address = server.metrics_address().expect("on");
    assert_eq!(server.health_address(), Some(address));
    let stop = CancellationToken::new();
    let _stopped = stop.clone().drop_guard();
    tokio::spawn(server.serve(stop));
    assert!(ask(address, "/metrics").await.ends_with("# EOF\n"));
    assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_with_its_flag() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    let port = taken.local_addr().expect("an address").port();
    for (metrics, health, flag) in [
        (loopback(port), BindAddress::Off, "--metrics-bind-address"),
        (BindAddress::Off, loopback(port), "--health-probe-bind-address"),
    ] {
        let error = Server::bind(metrics, health, Metrics::new("0"), Probes::default())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(&format!("{flag} 127.0.0.1:{port}: ")), "{error}");
        assert!(
            error.contains("in use") && error.ends_with("or 0 to turn it off"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_is_off_listens_nowhere_and_serving_still_waits_for_the_stop() {
    let server = bind(BindAddress::Off, BindAddress::Off, &Probes::default()).await;
    assert_eq!((server.metrics_address(), server.health_address()), (None, None));
    let stop = CancellationToken::new();
    let mut serving = std::pin::pin!(server.serve(stop.clone()));
    assert!(futures::poll!(serving.as_mut()).is_pending());
    stop.cancel();
    tokio::time::timeout(DEADLINE, serving).await.expect("in time");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_sent_away() {
    let server = bind(loopback(0), BindAddress::Off, &Probes::default()).await;
    let address = server.metrics_address().expect("on");
    let stop = CancellationToken::new();
    let _stopped = stop.clone().drop_guard();
    tokio::spawn(server.serve(stop));
    let mut silent = TcpStream::connect(address).await.expect("connected");
    silent.write_all(b"GET /metrics HTTP/1.1\r\nHos").await.expect("sent");
    let mut answer = Vec::new();
    // Ends by itself: the server closes what did not become a request within HEAD_TIMEOUT.
    let read = tokio::time::timeout(HEAD_TIMEOUT * 3, silent.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection is still open");
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
}

#[tokio::test]
async fn hanging_clients_do_not_hold_up_the_shutdown() {
    let server = bind(loopback(0), BindAddress::Off, &Probes::default()).await;
    let address = server.metrics_address().expect("on");
    let stop = CancellationToken::new();
    let task = tokio::spawn(server.serve(stop.clone()));
    let mut hanging = TcpStream::connect(address).await.expect("connected");
    hanging.write_all(b"GET /metrics HTTP/1.1\r\n").await.expect("sent");
    ask(address, "/metrics").await;
    stop.cancel();
    tokio::time::timeout(HEAD_TIMEOUT - Duration::from_secs(1), task)
        .await
        .expect("in time")
        .expect("no panic");
}

#[test]
fn an_address_has_three_spellings_and_says_itself_again() {
    for (text, address) in [
        ("0", BindAddress::Off),
        (":8080", BindAddress::Every(8080)),
        (
            "0.0.0.0:8080",
            BindAddress::One("0.0.0.0:8080".parse().expect("an address")),
        ),
        ("[::1]:80", BindAddress::One("[::1]:80".parse().expect("an address"))),
    ] {
        assert_eq!(text.parse(), Ok(address));
        assert_eq!(address.to_string(), text);
    }
}

#[test]
fn a_wrong_address_is_told_what_would_be_right() {
    for text in [
        "",
        "8080",
        "localhost:8080",
        ":",
        ":99999",
        "127.0.0.1",
        "::1:80",
        "http://127.0.0.1:80",
    ] {
        let error = text.parse::<BindAddress>().expect_err(text);
        assert!(
            error.starts_with(&format!("{text:?} is no address")) && error.contains("IP:PORT"),
            "{error}"
        );
    }
}
