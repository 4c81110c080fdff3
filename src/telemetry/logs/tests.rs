use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, Config};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tracing_subscriber::Layer as _;

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(format: Format, level: &str, log: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber =
        subscriber(format, &level.parse().expect("a level"), move || writer.clone()).expect("a subscriber");
    tracing::subscriber::with_default(subscriber, log);
    let bytes = lines.0.lock().expect("no panic").clone();
    String::from_utf8(bytes).expect("text")
}

#[test]
fn trace_for_everything_prints_ours_and_nothing_that_may_hold_a_token() {
    let expressions = [
        "trace",
        "trace,kube_client=trace,h2=trace,hyper=trace",
        "kube_client::client=trace,[{text}]=trace",
    ];
    for expression in expressions {
        let text = logged(Format::Text, expression, || {
            tracing::trace!(target: "github_token_manager::run", "OURS");
            tracing::warn!(target: "kube_client::client", "LEAK answer");
            tracing::warn!(target: "kube_client::api::entry", "LEAK entry");
            tracing::trace!(target: "kube_client::client::builder", "LEAK builder");
            tracing::debug!(target: "kube_runtime::watcher", "LEAK watcher");
            tracing::debug!(target: "h2::codec::framed_write", "LEAK frame");
            tracing::debug!(target: "hyper::proto::h1::io", "LEAK bytes");
            tracing::trace!(target: "hyper_util::client", "LEAK pool");
            tracing::debug!(target: "reqwest::connect", "LEAK proxy");
            tracing::debug!(target: "rustls::client::hs", "LEAK hello");
            tracing::debug!(target: "tower::buffer::worker", "LEAK error");
            tracing::trace!(target: "axum::rejection", "LEAK body");
            tracing::debug!(target: "a_dependency_of_tomorrow", "LEAK unknown");
            let span = tracing::debug_span!(target: "h2::client", "LEAK span", text = "LEAK field");
            span.in_scope(|| tracing::error!(target: "kube_client::client", "THEIR ERROR"));
        });
        assert!(!text.contains("LEAK"), "{expression}: {text}");
        assert!(text.contains("THEIR ERROR"), "{expression}: {text}");
        assert_eq!(
            text.contains("OURS"),
            expression.starts_with("trace"),
            "{expression}: {text}"
        );
    }
}

#[test]
fn what_helps_with_a_connection_can_be_asked_for() {
    let text = logged(Format::Text, "info,kube_client=debug,hyper_util=debug", || {
        tracing::debug!(target: "kube_client::client::builder", "requesting");
        tracing::debug!(target: "hyper_util::client::legacy::connect::http", "connected");
        tracing::debug!(target: "github_token_manager", "not asked for");
    });
    assert!(
        text.contains("requesting") && text.contains("connected") && !text.contains("not asked"),
        "{text}"
    );
}

#[test]
fn a_json_line_is_one_object_with_the_fields_at_the_top() {
    let text = logged(Format::Json, "info", || {
        let span = tracing::info_span!(target: "github_token_manager", "token", namespace = "a");
        span.in_scope(
            || tracing::info!(target: "github_token_manager", reason = "Issued", "a \"quoted\" line\nand more"),
        );
    });
    assert_eq!(text.lines().count(), 1, "{text}");
    let line: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&line["level"], &line["reason"]),
        (&"INFO".into(), &"Issued".into()),
        "{line}"
    );
    assert_eq!(line["message"], "a \"quoted\" line\nand more");
    assert_eq!(line["span"]["namespace"], "a");
}

#[test]
fn the_level_is_info_where_none_is_asked_for() {
    assert_eq!("info".parse(), Ok(Level::default()));
}

#[test]
fn a_wrong_level_is_told_what_would_be_right() {
    for (text, told) in [
        ("verbose", "\"verbose\" is no level: give off, error, warn"),
        ("", "\"\" is no level"),
        ("info,hyper", "\"hyper\" is no level"),
        ("hyper=loud", "\"hyper=loud\" is no filter"),
        ("info,[", "\"info,[\" is no filter"),
    ] {
        let error = text.parse::<Level>().expect_err(text);
        assert!(
            error.starts_with(told) && error.contains("info,hyper_util=debug"),
            "{text}: {error}"
        );
    }
    for text in [
        "off",
        "INFO",
        "warn,hyper_util=debug",
        "github_token_manager=trace",
        "info,gtm=debug",
    ] {
        assert!(text.parse::<Level>().is_ok(), "{text}");
    }
}

/// The base64 of a Secret's value, as the API server answers it.
const VALUE: &str = "Z2hzX2FuLWluc3RhbGxhdGlvbi10b2tlbg==";
const BEARER: &str = "bearer-of-the-service-account";

/// Asks a server for Secrets with the real Kubernetes client and GitHub's HTTP client, all of it on this thread, so that its
/// subscriber hears everything. The answers cannot be read as what they should be: then a client is most talkative.
fn talk() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move {
            for status in ["200 OK", "200 OK", "500 Internal Server Error", "200 OK"] {
                let (mut stream, _) = listener.accept().await.expect("accepted");
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await.expect("read");
                let body = format!(r#"{{"metadata": 5, "data": {{"token": "{VALUE}"}}}}"#);
                let head = format!(
                    "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                stream
                    .write_all(format!("{head}{body}").as_bytes())
                    .await
                    .expect("sent");
            }
        });
        let mut config = Config::new(url.parse().expect("a URL"));
        config.auth_info.token = Some(BEARER.to_owned().into());
        // A retry would ask more often than there are answers.
        config.default_retry = false;
        let secrets: Api<Secret> = Api::namespaced(Client::try_from(config).expect("a client"), "default");
        assert!(secrets.get("a").await.is_err());
        assert!(secrets.delete("a", &Default::default()).await.is_err());
        assert!(secrets.get("a").await.is_err());
        let github = reqwest::Client::builder()
            .connection_verbose(true)
            .build()
            .expect("a client");
        let answer = github
            .post(url)
            .bearer_auth(BEARER)
            .body(VALUE)
            .send()
            .await
            .expect("answered");
        assert!(answer.text().await.expect("a text").contains(VALUE));
        server.await.expect("no panic");
    });
}

#[test]
fn the_real_clients_log_no_token_at_trace_and_would_without_the_ceilings() {
    let text = logged(Format::Text, "trace", talk);
    assert!(
        text.contains("kube_client::client::builder"),
        "nothing of the client is heard:\n{text}"
    );
    assert!(!text.contains(VALUE) && !text.contains(BEARER), "{text}");

    let lines = Lines::default();
    let writer = lines.clone();
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(move || writer.clone())
        .with_filter(LevelFilter::TRACE);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), talk);
    let text = String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("text");
    assert!(
        text.contains(VALUE),
        "the ceiling of kube_client is not needed any more:\n{text}"
    );
}
