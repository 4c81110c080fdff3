//! A restart with nothing to do.

use tokio::time::Instant;

use crate::report::Report;
use crate::world::{World, cluster, mib};
use crate::{Failed, Options};

const TOKENS: usize = 5000;

pub async fn run(options: &Options, report: &mut Report) -> Result<(), Failed> {
    let count = options.scaled(TOKENS);
    let world = World::new(options, cluster()?.with_audit_log()).await?;
    let mut operator = world.operator("rate_limit: off")?.start().await?;
    world.issued(&operator, count).await?;
    let minted = world.github.mint_count();
    let audit = world.cluster.audit_log()?;
    let start = Instant::now();
    operator.restart().await?;
    world.looked_at(&operator, count).await?;
    let took = start.elapsed();
    let usage = operator.usage()?;
    // The end of the log of what it asked for; whatever it still does would be seen in the mints below.
    audit.settle(&world.client).await?;
    let asked = audit
        .events()?
        .into_iter()
        .filter(|event| event.user_agent.starts_with("github-token-manager/"));
    let (writes, reads): (Vec<_>, Vec<_>) = asked.partition(lab::cluster::AuditEvent::is_write);
    let mints = world.github.mint_count() - minted;
    report.at_most(
        format!("mints after a restart with {count} Tokens"),
        mints as f64,
        "",
        0.0,
    );
    report.at_most("API writes", writes.len() as f64, "", 0.0);
    report.tell("API reads", reads.len() as f64, "");
    report.tell("until all were looked at", took.as_secs_f64(), "s");
    report.tell("processor time", usage.cpu.as_secs_f64(), "s");
    report.tell("memory", mib(usage.resident), "MiB");
    Ok(())
}
