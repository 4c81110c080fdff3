//! Memory.

use lab::github::Settings;
use lab::gtm::Operator;

use crate::report::{Report, Target};
use crate::world::{Setting, World, end, idle, mib};
use crate::{Result, load};

const TOKENS: usize = 10_000;
const UNRELATED: usize = 3_000;
/// MiB that the operator may have resident.
const ALLOWED: f64 = 32.0;

/// Memory with nothing to do, while ten thousand Tokens are issued, and after a restart with them.
pub async fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let world = World::new(setting, Settings::default(), "off", false).await?;
    let namespace = world.cluster.namespace("memory").await?;
    let (tokens, unrelated) = (setting.number(TOKENS), setting.number(UNRELATED));
    load::unrelated_secrets(&world.client, &namespace, unrelated).await?;

    let operator = world.operator().start().await?;
    idle(&operator).await?;
    let without = format!("no Token, {unrelated} unrelated Secrets of 20 kB");
    add(report, &operator, &without, ALLOWED)?;
    end(operator).await?;

    load::tokens(&world.client, &namespace, tokens, load::ordinary).await?;
    let operator = world.operator().start().await?;
    world.all_ready(&namespace, tokens, tokens).await?;
    idle(&operator).await?;
    add(report, &operator, &format!("{tokens} Tokens, just issued"), ALLOWED)?;
    end(operator).await?;

    let operator = world.operator().start().await?;
    idle(&operator).await?;
    add(report, &operator, &format!("{tokens} Tokens, after a restart"), ALLOWED)?;
    end(operator).await
}

fn add(report: &mut Report, operator: &Operator, when: &str, allowed: f64) -> Result<()> {
    let usage = operator.usage()?;
    report.add(
        "memory",
        format!("resident: {when}"),
        mib(usage.resident),
        "MiB",
        Target::AtMost(allowed),
    );
    report.add("memory", "  at its peak", mib(usage.peak), "MiB", Target::Free);
    Ok(())
}
