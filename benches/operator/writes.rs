//! What one issue and one refresh ask of the API server.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use lab::cluster::AuditLog;
use serde_json::json;

use crate::report::Report;
use crate::world::{World, cluster};
use crate::{Failed, Options};

const TOKENS: usize = 300;

pub async fn run(options: &Options, report: &mut Report) -> Result<(), Failed> {
    let count = options.scaled(TOKENS);
    let world = World::new(options, cluster()?.with_audit_log()).await?;
    let operator = world.operator("")?.start().await?;
    // The first one settles what only a start asks for.
    world.create_tokens("first", 1).await?;
    world.all_ready().await?;
    let audit = world.cluster.audit_log()?;
    world.create_tokens("token", count).await?;
    world.minted(1 + count).await?;
    world.all_ready().await?;
    tell(&world, &audit, "one issue", count, report).await?;

    let audit = world.cluster.audit_log()?;
    for token in world.each_token().await? {
        let name = token.name_any();
        let patch = json!({"metadata": {"annotations": {"github.as-code.io/refresh-requested-at": "now"}}});
        world
            .tokens()
            .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
    }
    let all = 1 + count;
    world.minted(2 * all).await?;
    lab::wait::wait_for(crate::world::LONG, "all refreshed", async || {
        let seen = requests(&world, &audit).await.map_err(|error| error.to_string())?;
        let statuses = seen.get("update tokens/status").copied().unwrap_or_default();
        (statuses >= all).then_some(()).ok_or(format!("{statuses} of {all}"))
    })
    .await?;
    tell(&world, &audit, "one refresh", all, report).await?;
    drop(operator);
    Ok(())
}

/// The operator's requests since the log was opened, by verb and resource.
async fn requests(world: &World, audit: &AuditLog) -> Result<BTreeMap<String, usize>, Failed> {
    audit.settle(&world.client).await?;
    let mut counts = BTreeMap::new();
    for event in audit.events()? {
        if event.user_agent.starts_with("github-token-manager/") {
            let slash = if event.subresource.is_empty() { "" } else { "/" };
            let kind = format!("{} {}{slash}{}", event.verb, event.resource, event.subresource);
            *counts.entry(kind).or_default() += 1;
        }
    }
    Ok(counts)
}

async fn tell(world: &World, audit: &AuditLog, what: &str, count: usize, report: &mut Report) -> Result<(), Failed> {
    let seen = requests(world, audit).await?;
    let per = |number: usize| number as f64 / count as f64;
    let is_write = |kind: &str| {
        ["create", "update", "patch", "delete"]
            .iter()
            .any(|verb| kind.starts_with(verb))
    };
    let writes = seen
        .iter()
        .filter(|(kind, _)| is_write(kind))
        .map(|(_, number)| number)
        .sum();
    report.at_most(format!("API writes for {what}"), per(writes), "", 2.0);
    for (kind, number) in seen {
        report.tell(format!("  {kind} for {what}"), per(number), "");
    }
    Ok(())
}
