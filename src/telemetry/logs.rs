//! Structured logs, with a ceiling for each dependency: no level that a user can ask for makes one of them print a token,
//! a JWT or a key.
//!
//! Our own code logs no secret because secrets are `secrecy` types there. Dependencies do not know what is secret, so
//! each of them has a ceiling that was found by reading its source. Whatever is not in [`CEILINGS`], now or after an
//! upgrade, is held at [`OTHERS`]: a new dependency cannot leak before it was read.
//!
//! Crates that log with `log` instead of `tracing` (reqwest, rustls, rustls-platform-verifier) are not heard at all:
//! nothing here carries `log` records over, and tracing-subscriber's feature that would is off. Their ceilings are for the
//! day on which something turns it on.

use std::io::{self, Write};
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Subscriber;
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

/// The ceiling of every target that is not in [`CEILINGS`].
const OTHERS: LevelFilter = LevelFilter::INFO;

/// The highest level of a target and all below it, whatever `--log-level` says; the longest match counts. The third column
/// is why.
pub const CEILINGS: &[(&str, LevelFilter, &str)] = &[
    (
        "github_token_manager",
        LevelFilter::TRACE,
        "ours: secrets are secrecy types and have no readable Debug",
    ),
    ("gtm", LevelFilter::TRACE, "ours"),
    (
        "kube_client",
        LevelFilter::ERROR,
        "kube-client 5, client/mod.rs: an answer that cannot be parsed is printed whole at WARN, an error answer at DEBUG, \
         a Status and the headers of a watch at TRACE; the answer to a Secret's write holds the token",
    ),
    (
        "kube_client::client::builder",
        LevelFilter::DEBUG,
        "prints method, URL and status of each request: URLs hold names only; its spans have no header and no body",
    ),
    (
        "kube_client::config",
        LevelFilter::DEBUG,
        "where the cluster's address was found; no credential",
    ),
    (
        "kube_runtime",
        LevelFilter::WARN,
        "kube-runtime 5, watcher.rs: errors of a watch with Debug at DEBUG, and serde's errors quote what they could not \
         read; at WARN only what a 403 says",
    ),
    (
        "kube_lease_manager",
        LevelFilter::DEBUG,
        "the lease's fields; TRACE prints the whole manager, with its client",
    ),
    (
        "hyper",
        LevelFilter::INFO,
        "hyper 1 prints counts of bytes, states and names of headers below INFO: no value today, and nothing promises it",
    ),
    (
        "hyper_util",
        LevelFilter::DEBUG,
        "addresses that are connected to, and pool keys (scheme and host)",
    ),
    (
        "h2",
        LevelFilter::INFO,
        "h2 0.4 prints every frame at DEBUG; fields and data are left out of its Debug today, which nothing promises; a \
         TE header's value is printed at TRACE",
    ),
    (
        "reqwest",
        LevelFilter::WARN,
        "reqwest 0.13 prints the proxy at DEBUG, and every byte at TRACE when verbose",
    ),
    (
        "rustls",
        LevelFilter::WARN,
        "rustls 0.23 prints handshake messages and session tickets at TRACE",
    ),
    (
        "tower",
        LevelFilter::INFO,
        "tower 0.5 prints an inner service's error at DEBUG",
    ),
    (
        "tower_http",
        LevelFilter::INFO,
        "tower-http's defaults print URLs at DEBUG, and headers where asked to",
    ),
    (
        "axum",
        LevelFilter::INFO,
        "prints a rejection's text at TRACE, which may quote the request",
    ),
];

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged: a level, or an expression of `target=level` parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level(String);

impl Default for Level {
    fn default() -> Self {
        Level("info".to_owned())
    }
}

impl FromStr for Level {
    type Err = String;

    /// Takes `off`, `error`, `warn`, `info`, `debug`, `trace`, or an expression such as `info,hyper_util=debug`.
    fn from_str(text: &str) -> Result<Self, String> {
        const CURE: &str = "give off, error, warn, info, debug or trace, or parts such as info,hyper_util=debug";
        // A word that is no level would be read as a target, and silence everything else.
        let stray = text
            .split(',')
            .find(|part| !part.contains(['=', '[', '{', '}', ']']) && !is_level(part));
        if let Some(part) = stray {
            return Err(format!("{part:?} is no level: {CURE}"));
        }
        EnvFilter::try_new(text).map_err(|error| format!("{text:?} is no filter ({error}): {CURE}"))?;
        Ok(Level(text.to_owned()))
    }
}

/// tracing takes an empty text for a level, too, and numbers.
fn is_level(text: &str) -> bool {
    !text.is_empty() && LevelFilter::from_str(text).is_ok()
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The level cannot be read.
    #[error("--log-level: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// Something logs already.
    #[error("logging is set up already: {0}")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Sends the process's logs to standard error.
///
/// # Errors
/// See [`InitError`].
pub fn init(format: Format, level: &Level) -> Result<(), InitError> {
    let subscriber = subscriber(format, level, io::stderr)?;
    Ok(tracing::subscriber::set_global_default(subscriber)?)
}

fn subscriber<W>(
    format: Format,
    level: &Level,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, tracing_subscriber::filter::ParseError>
where
    W: for<'a> MakeWriter<'a, Writer: Write> + Send + Sync + 'static,
{
    let wanted = EnvFilter::try_new(&level.0)?;
    let ceilings = CEILINGS
        .iter()
        .fold(Targets::new().with_default(OTHERS), |targets, (target, level, _)| {
            targets.with_target(*target, *level)
        });
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    let base = tracing_subscriber::registry().with(ceilings).with(wanted);
    Ok(match format {
        Format::Text => Box::new(base.with(lines)),
        Format::Json => Box::new(
            base.with(
                lines
                    .json()
                    .flatten_event(true)
                    .with_current_span(true)
                    .with_span_list(false),
            ),
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

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
}
