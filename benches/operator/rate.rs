//! How fast tokens are issued when GitHub has no limit, against the floor.

use std::time::Duration;

use tokio::time::Instant;

use crate::floor::Sample;
use crate::report::Report;
use crate::world::{World, cluster, mib, own_cpu, server_cpu};
use crate::{Failed, Options};

const TOKENS: usize = 2000;

pub async fn run(options: &Options, report: &mut Report) -> Result<(), Failed> {
    let count = options.scaled(TOKENS);
    let world = World::new(options, cluster()?).await?;
    let operator = world.operator("rate_limit: off")?.start().await?;
    world.create_tokens("sample", 1).await?;
    world.minted(1).await?;
    world.all_ready().await?;
    let sample = Sample::of(&world, "sample-0").await?;
    drop(operator);

    let (before, floor_server) = sample.measure(&world, "before", count).await?;
    world.create_tokens("token", count).await?;
    world.github.set_latency(Duration::from_millis(100));
    let (own, server) = (own_cpu()?, server_cpu(&world.cluster)?);
    let operator = world.operator("rate_limit: off")?.start().await?;
    // From the first token to the last status: how long a program takes to start is not a rate.
    world.minted(1 + 1).await?;
    let (start, left) = (Instant::now(), 1 + count - world.github.mint_count());
    world.minted(1 + count).await?;
    // Asked of the operator: a list of all Tokens costs the API server as much as a hundred writes, and the floor makes none.
    world.looked_at(&operator, 1 + count).await?;
    let rate = left as f64 / start.elapsed().as_secs_f64();
    let usage = operator.usage()?;
    let (own, server) = (own_cpu()? - own, server_cpu(&world.cluster)? - server);
    // It counts a token when the status is written: what was measured is checked here.
    world.all_ready().await?;
    drop(operator);
    world.github.set_latency(Duration::ZERO);
    let (after, _) = sample.measure(&world, "after", count).await?;

    let floor = f64::midpoint(before, after);
    report.tell(format!("floor before ({count} Tokens)"), before, "/s");
    report.tell("floor after", after, "/s");
    report.tell("tokens issued, GitHub at 100 ms", rate, "/s");
    report.at_least("share of the floor", 100.0 * rate / floor, "%", 80.0);
    report.tell("processor time of the operator", usage.cpu.as_secs_f64(), "s");
    report.tell("processor time of the API server", server, "s");
    report.tell("  and for the floor", floor_server, "s");
    report.tell("processor time of the stand-in and this program", own, "s");
    report.tell("peak memory of the operator", mib(usage.peak), "MiB");
    Ok(())
}
