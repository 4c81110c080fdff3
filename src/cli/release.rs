//! `gtm release`: before the operator is uninstalled, or exchanged for another.

use super::{Failure, Whereabouts};
use crate::config;

/// The arguments of `gtm release`.
#[derive(clap::Args)]
pub struct ReleaseArgs {
    #[command(flatten)]
    whereabouts: Whereabouts,
}

pub(super) fn run(args: &ReleaseArgs) -> Result<(), Failure> {
    let namespace = args.whereabouts.namespace(&config::environment());
    let work = crate::run::release(&namespace, args.whereabouts.scope());
    let released = super::block_on(work)?.map_err(Failure::Failed)?;
    println!("{released} Secrets can be deleted without the operator; it leaves them alone for a minute");
    Ok(())
}
