//! `gtm manager`: arguments -> options and configuration -> the operator.

use std::path::PathBuf;

use clap::ArgAction;
use clap::builder::BoolishValueParser;

use super::peer::{self, PeerFlags};
use super::{ClusterFile, ConfigFile, Failure, Whereabouts};
use crate::config::{self, Environment, Flags};
use crate::domain::policy::DefaultPolicy;
use crate::run::{ManagerError, ManagerOptions};
use crate::telemetry::http::BindAddress;
use crate::telemetry::logs;

/// The arguments of `gtm manager`.
#[derive(clap::Args)]
pub struct ManagerArgs {
    #[command(flatten)]
    config: ConfigFile,

    /// Where /metrics is served, over plain HTTP: IP:PORT, :PORT for every address, or 0 for nowhere
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "GTM_METRICS_BIND_ADDRESS",
        default_value = "0.0.0.0:8080"
    )]
    metrics_bind_address: BindAddress,

    /// Where /healthz and /readyz are answered: IP:PORT, :PORT for every address, or 0 for nowhere
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "GTM_HEALTH_PROBE_BIND_ADDRESS",
        default_value = ":8081"
    )]
    health_probe_bind_address: BindAddress,

    /// Where the admission webhook is served, over HTTPS: IP:PORT, :PORT for every address, or 0 for nowhere
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "GTM_WEBHOOK_BIND_ADDRESS",
        default_value = "0.0.0.0:9443"
    )]
    webhook_bind_address: BindAddress,

    /// A folder with the webhook's tls.crt and tls.key, such as a mounted Secret of cert-manager's
    ///
    /// [default: none; the operator keeps a certificate authority of its own, in a Secret of its namespace]
    #[arg(long, value_name = "FOLDER", env = "GTM_WEBHOOK_CERT_PATH")]
    webhook_cert_path: Option<PathBuf>,

    /// What holds where no enforced TokenPolicy is about a namespace: allow or deny
    #[arg(long, value_name = "POLICY", env = "GTM_DEFAULT_POLICY", default_value = "allow")]
    default_policy: DefaultPolicy,

    /// Let one replica work at a time, chosen through a Lease in the operator's namespace
    ///
    /// `--leader-elect=false` turns it off: then only one replica may run.
    #[arg(
        long,
        value_name = "BOOL",
        env = "GTM_LEADER_ELECT",
        default_value = "true",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = ArgAction::Set,
        value_parser = BoolishValueParser::new()
    )]
    leader_elect: bool,

    #[command(flatten)]
    cluster: ClusterFile,

    #[command(flatten)]
    whereabouts: Whereabouts,

    /// How log lines look, on standard error
    #[arg(
        long,
        alias = "zap-encoder",
        value_name = "FORMAT",
        env = "GTM_LOG_FORMAT",
        default_value = "json"
    )]
    log_format: logs::Format,

    /// What is logged: off, error, warn, info, debug, trace, or parts such as info,hyper_util=debug
    ///
    /// No level makes the operator or its libraries log a token, a JWT or a key.
    #[arg(long, value_name = "LEVEL", env = "GTM_LOG_LEVEL", default_value = "info")]
    log_level: logs::Level,

    /// What the peer's manifests say instead of --log-level
    #[arg(long, value_name = "LEVEL", hide = true, value_parser = peer::zap_level)]
    zap_log_level: Option<logs::Level>,

    #[command(flatten)]
    peer: PeerFlags,
}

impl ManagerArgs {
    pub(super) fn options(&self, environment: &Environment) -> ManagerOptions {
        ManagerOptions {
            config_path: self.config.path.clone(),
            kubeconfig: self.cluster.kubeconfig.clone(),
            metrics_address: self.metrics_bind_address,
            health_address: self.health_probe_bind_address,
            webhook_address: self.webhook_bind_address,
            webhook_cert_path: self.webhook_cert_path.clone(),
            default_policy: self.default_policy,
            leader_elect: self.leader_elect,
            namespace: self.whereabouts.namespace(environment),
            scope: self.whereabouts.scope(),
        }
    }

    /// How lines look, and which are logged.
    pub(super) fn logs(&self) -> (logs::Format, &logs::Level) {
        (self.log_format, self.zap_log_level.as_ref().unwrap_or(&self.log_level))
    }

    /// What to say of flags without effect.
    pub(super) fn ignored(&self) -> impl Iterator<Item = String> {
        self.peer.warnings()
    }
}

pub(super) fn run(args: ManagerArgs) -> Result<(), Failure> {
    let environment = config::environment();
    let options = args.options(&environment);
    let (config, mut told) = args.config.load(&environment, &Flags::default())?;
    let (format, level) = args.logs();
    logs::init(format, level).map_err(|error| Failure::Failed(error.to_string()))?;
    let warnings = told.iter().map(ToString::to_string);
    for warning in args.ignored().chain(warnings) {
        tracing::warn!("{warning}");
    }
    let load = move || {
        let text = |(Failure::Usage(text) | Failure::Failed(text)): Failure| text;
        let (config, warnings) = args.config.load(&environment, &Flags::default()).map_err(text)?;
        let new = warnings.iter().filter(|warning| !told.contains(warning));
        new.for_each(|warning| tracing::warn!("{warning}"));
        told = warnings;
        Ok(config)
    };
    super::block_on(crate::run::manager(options, config, load))?.map_err(|error| match error {
        ManagerError::Config(text) => Failure::Usage(text),
        ManagerError::Failed(text) => Failure::Failed(text),
    })
}
