//! `gtm release`: before the operator is uninstalled, or exchanged for another.

use super::{Failure, Whereabouts};
use crate::config;
use crate::run::Released;

/// The arguments of `gtm release`.
#[derive(clap::Args)]
pub struct ReleaseArgs {
    #[command(flatten)]
    whereabouts: Whereabouts,
}

pub(super) fn run(args: &ReleaseArgs) -> Result<(), Failure> {
    let namespace = args.whereabouts.namespace(&config::environment());
    let work = crate::run::release(&namespace, args.whereabouts.scope());
    let Released { secrets, led } = super::block_on(work)?.map_err(Failure::Failed)?;
    let operator = if led {
        "it leaves them alone for a minute".to_owned()
    } else {
        format!(
            "there is no Lease in the namespace {namespace}: one that runs elsewhere, or without leader election, goes on, and \
             holds each again with its next token; stop it, or name its namespace by --namespace"
        )
    };
    println!("{secrets} Secrets can be deleted without the operator; {operator}");
    Ok(())
}
