//! The command line: arguments, and one file for each command.

mod app;
mod arguments;
mod check;
pub mod crds;
mod failure;
mod go_style;
mod manager;
mod manifests;
mod mint;
mod output;
mod peer;
mod release;
mod status;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, TypedValueParser};
use clap::{Parser, Subcommand};

use crate::cluster::Scope;
use crate::config::{self, Config, Environment, Flags, Warning};
use crate::domain::name::{NAMESPACES, is_namespace};
pub use app::{AppArgs, CreateArgs};
pub use check::CheckArgs;
pub use failure::Failure;
pub use manager::ManagerArgs;
pub use mint::{MintArgs, MintRequest, Output};
pub use release::ReleaseArgs;
pub use status::StatusArgs;

/// Keeps short-lived GitHub App tokens fresh in Kubernetes Secrets.
#[derive(Parser)]
// Of a flag that is given twice the last one counts, as Go programs have it: manifests add theirs to those that are there.
#[command(
    name = "gtm",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    args_override_self = true
)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong configuration or arguments.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator: the controllers of Tokens and ClusterTokens.
    Manager(ManagerArgs),
    /// Print one token to standard output; needs no cluster.
    Mint(MintArgs),
    /// Say why it does not work: configuration, key, GitHub, installation, and what a Token may do.
    Check(CheckArgs),
    /// Show the Tokens of a cluster, those in trouble first. Exit code 1 when one is not ready.
    Status(StatusArgs),
    /// Make a GitHub App.
    App(AppArgs),
    /// Let go of all managed Secrets, so that they can be deleted without the operator: before it is uninstalled.
    ///
    /// It takes the lead from the replica that has it, for a minute, and removes the finalizer of every managed Secret.
    Release(ReleaseArgs),
    /// Print the CustomResourceDefinitions as YAML, for `kubectl apply -f -`.
    Crds,
}

/// `--config`, for every command that reads the startup configuration.
#[derive(clap::Args)]
struct ConfigFile {
    /// The startup configuration, YAML or JSON [default: /config/gtm.yaml, which may be absent]
    ///
    /// Its keys: app_id, client_id, installation_id, owner, provider, key, validate_key, base_url, ca_bundle,
    /// api_version, allowed_keys, rate_limit, probe_tokens. Each is also read from the environment (GTM_APP_ID and so on; also GITHUB_APP_ID,
    /// GITHUB_INSTALLATION_ID, KMS_PROVIDER, KMS_KEY, GITHUB_PRIVATE_KEY), which wins over the file. A file that is named
    /// must exist.
    #[arg(long = "config", value_name = "FILE", env = "GTM_CONFIG")]
    path: Option<PathBuf>,
}

impl ConfigFile {
    fn load(&self, environment: &Environment, flags: &Flags) -> Result<(Config, Vec<Warning>), Failure> {
        config::load(self.path.as_deref(), environment, flags).map_err(|error| Failure::Usage(error.to_string()))
    }
}

/// `--kubeconfig`, for commands that look into a cluster.
#[derive(clap::Args)]
struct ClusterFile {
    /// The kubeconfig of the cluster [default: KUBECONFIG, then ~/.kube/config, then the pod's service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Where the operator is, and where it looks.
#[derive(clap::Args)]
struct Whereabouts {
    /// The operator's own namespace: of the Lease, of Apps that a ClusterToken names without a namespace, of key Secrets
    ///
    /// [default: POD_NAMESPACE, then the service account's namespace, then github-token-manager]
    #[arg(long, value_name = "NAME", env = "GTM_NAMESPACE", value_parser = namespace())]
    namespace: Option<String>,

    /// Look into these namespaces only, separated by commas: Tokens, Apps and Secrets elsewhere are not seen, nor are ClusterTokens
    ///
    /// [default: all namespaces, and ClusterTokens]
    #[arg(long, value_name = "NAMES", env = "GTM_WATCH_NAMESPACES", value_delimiter = ',', value_parser = namespace())]
    watch_namespaces: Vec<String>,
}

impl Whereabouts {
    fn namespace(&self, environment: &Environment) -> String {
        config::namespace(self.namespace.as_deref(), environment)
    }

    fn scope(&self) -> Scope {
        Scope::new(&self.watch_namespaces)
    }
}

/// A parser of namespaces: anything else would be asked for without end, since it changes the URL that it becomes part of.
fn namespace() -> impl TypedValueParser<Value = String> {
    NonEmptyStringValueParser::new().try_map(|text| {
        let name = text.trim();
        let wrong = || format!("it is no namespace: {NAMESPACES}");
        is_namespace(name).then(|| name.to_owned()).ok_or_else(wrong)
    })
}

/// Runs what the arguments ask for. Results go to standard output, errors to standard error.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let done = match arguments::parse(arguments, &config::environment()) {
        Ok(Cli {
            command: Command::Manager(args),
        }) => manager::run(args),
        Ok(Cli {
            command: Command::Mint(args),
        }) => mint::run(args),
        Ok(Cli {
            command: Command::Check(args),
        }) => check::run(args),
        Ok(Cli {
            command: Command::Status(args),
        }) => status::run(&args),
        Ok(Cli {
            command: Command::App(args),
        }) => app::run(args),
        Ok(Cli {
            command: Command::Release(args),
        }) => release::run(&args),
        Ok(Cli { command: Command::Crds }) => crds::run(),
        // Help and version are "errors" of clap with exit code 0; where their text cannot be written, nobody reads it.
        Err(answer) => {
            let _ = answer.print();
            return u8::try_from(answer.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}

/// Runs a command's asynchronous part.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the runtime cannot be started: {error}")))?;
    let done = runtime.block_on(work);
    // Dropped, the runtime would wait for a look-up of a name for as long as the resolver does.
    runtime.shutdown_timeout(LEFTOVERS);
    Ok(done)
}

/// How long what blocks a thread is waited for at the end.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// Threads: the work is waiting, and each thread has memory of its own.
const WORKERS: usize = 2;

#[cfg(test)]
mod tests;
