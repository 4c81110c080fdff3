//! Flags that only the peer has: its manifests start our operator as they are, and are told what does here what the flag did there.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::telemetry::logs;

/// Whether a flag is one that needs no value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    Optional,
    Needed,
}
use Value::{Needed, Optional};

/// What the peer and its libraries define, and what there is here instead.
const FLAGS: &[(&str, Value, &str)] = &[
    ("metrics-secure", Optional, METRICS),
    ("metrics-cert-path", Needed, METRICS),
    ("metrics-cert-name", Needed, METRICS),
    ("metrics-cert-key", Needed, METRICS),
    ("webhook-cert-name", Needed, CERTIFICATE),
    ("webhook-cert-key", Needed, CERTIFICATE),
    ("enable-http2", Optional, HTTP2),
    ("disable-http2", Optional, HTTP2),
    (
        "zap-devel",
        Optional,
        "--log-format and --log-level say how much is logged, and how",
    ),
    ("zap-stacktrace-level", Needed, "no log line has a stack trace"),
    (
        "zap-time-encoding",
        Needed,
        "the times of log lines are RFC 3339, in UTC",
    ),
];

const METRICS: &str = "metrics are plain HTTP here: let --metrics-bind-address be a loopback address, or have the chart's NetworkPolicy \
                       say who may connect";
const CERTIFICATE: &str = "the files of --webhook-cert-path are tls.crt and tls.key";
const HTTP2: &str = "the webhook speaks HTTP/2 and HTTP/1.1, as the API server likes; metrics are plain HTTP/1.1";

/// Those of the flags that are given.
pub(super) struct PeerFlags(Vec<&'static (&'static str, Value, &'static str)>);

impl PeerFlags {
    /// What to say of each.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let told = |(name, _, instead): &&(&str, _, _)| format!("--{name} has no effect: {instead}");
        self.0.iter().map(told)
    }
}

impl clap::FromArgMatches for PeerFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = FLAGS.iter().filter(|(name, ..)| matches.contains_id(name));
        Ok(PeerFlags(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for PeerFlags {
    fn augment_args(command: Command) -> Command {
        command.args(FLAGS.iter().map(|(name, value, _)| {
            let flag = Arg::new(*name).long(*name).hide(true).action(ArgAction::Append);
            match value {
                Optional => flag.num_args(0..=1).require_equals(true),
                Needed => flag,
            }
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// A level by its name at the peer's logger: debug, info, error, panic, or a number of more and more detail.
pub(super) fn zap_level(text: &str) -> Result<logs::Level, String> {
    let level = match text.parse::<u8>() {
        Ok(0) => "info",
        Ok(1) => "debug",
        Ok(2..) => "trace",
        _ if text == "panic" => "error",
        _ => text,
    };
    level.parse()
}
