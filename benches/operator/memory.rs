//! How much memory the operator takes, webhook and all.

use std::time::Duration;

use lab::gtm::Operator;
use lab::process::Usage;

use crate::report::Report;
use crate::world::{World, cluster, mib};
use crate::{Failed, Options};

const TOKENS: usize = 10_000;
const UNRELATED: usize = 3000;
const UNRELATED_BYTES: usize = 20_000;
/// After this long, buffers and connections of a burst are given back, if ever.
const QUIET: Duration = Duration::from_secs(15);

pub async fn run(options: &Options, report: &mut Report) -> Result<(), Failed> {
    let (count, unrelated) = (options.scaled(TOKENS), options.scaled(UNRELATED));
    let world = World::new(options, cluster()?).await?;
    world.create_unrelated_secrets(unrelated, UNRELATED_BYTES).await?;
    let operator = world.operator("rate_limit: off")?;
    let mut operator = operator.env("GTM_WEBHOOK_BIND_ADDRESS", "127.0.0.1:0").start().await?;
    let idle = quiet(&operator).await?;
    report.tell(
        format!("resident with 0 Tokens, {unrelated} unrelated Secrets"),
        mib(idle.resident),
        "MiB",
    );
    world.issued(&operator, count).await?;
    let issued = quiet(&operator).await?;
    report.at_most(
        format!("resident with {count} Tokens, all just issued"),
        mib(issued.resident),
        "MiB",
        32.0,
    );
    report.tell("  its peak", mib(issued.peak), "MiB");
    operator.restart().await?;
    world.looked_at(&operator, count).await?;
    let again = quiet(&operator).await?;
    report.at_most("resident after a restart", mib(again.resident), "MiB", 32.0);
    report.tell("  its peak", mib(again.peak), "MiB");
    Ok(())
}

async fn quiet(operator: &Operator) -> Result<Usage, Failed> {
    tokio::time::sleep(QUIET).await;
    Ok(operator.usage()?)
}
