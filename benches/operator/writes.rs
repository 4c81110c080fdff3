//! Requests for one issue.

use lab::github::Settings;

use crate::report::{Report, Target};
use crate::world::{Setting, World, end, idle};
use crate::{Result, load};

const TOKENS: usize = 100;

/// Counts what the operator asks of the API server for each new Token.
pub async fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let world = World::new(setting, Settings::default(), "auto", true).await?;
    let namespace = world.cluster.namespace("writes").await?;
    let operator = world.operator().start().await?;
    let audit = world.cluster.audit_log()?;
    load::tokens(&world.client, &namespace, TOKENS, load::ordinary).await?;
    world.all_ready(&namespace, TOKENS, TOKENS).await?;
    idle(&operator).await?;
    audit.settle(&world.client).await?;
    let ours = |agent: &str| agent.starts_with("github-token-manager/");
    let events = audit.events()?;
    let requests = events
        .iter()
        .filter(|event| ours(&event.user_agent) && event.verb != "watch");
    let (writes, reads): (Vec<_>, Vec<_>) = requests.partition(|event| event.is_write());
    let each = |count: usize| count as f64 / TOKENS as f64;
    report.add(
        "writes",
        "API writes for one issue",
        each(writes.len()),
        "",
        Target::AtMost(2.0),
    );
    report.add(
        "writes",
        "API reads for one first issue",
        each(reads.len()),
        "",
        Target::AtMost(1.0),
    );
    report.add(
        "writes",
        "tokens issued for one Token",
        each(world.github.mint_count()),
        "",
        Target::AtMost(1.0),
    );
    end(operator).await
}
