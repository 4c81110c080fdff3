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
        LevelFilter::ERROR,
        "kube-runtime 5, watcher.rs: errors of a watch with Debug at DEBUG, and serde's errors quote what they could not \
         read; at WARN what a 403 says, which our own line says, too",
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
        "aws",
        LevelFilter::WARN,
        "AWS's SDK prints requests, answers and identities below WARN: redacted today, which nothing promises",
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
    /// For people; `console` is the peer's word for it.
    #[value(alias = "console")]
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
mod tests;
