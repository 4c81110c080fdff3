//! What must not issue anything: restarts, relabelling, lists that begin anew, another leader.

use std::time::Duration;

use github_token_manager::api::Token;
use kube::api::{Api, Patch, PatchParams};
use lab::github::Settings;
use lab::wait::wait_for;
use serde_json::json;
use tokio::time::Instant;

use crate::report::{Report, Target};
use crate::world::{PATIENCE, Setting, World, end, idle, mib};
use crate::{Result, load};

const TOKENS: usize = 5_000;
const FEWER: usize = 500;

/// A restart with five thousand healthy Tokens.
pub async fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let world = World::new(setting, Settings::default(), "off", true).await?;
    let tokens = setting.number(TOKENS);
    let operator = filled(&world, tokens).await?;
    end(operator).await?;

    let audit = world.cluster.audit_log()?;
    let started = Instant::now();
    let operator = world.operator().start().await?;
    let expires = "token_expiry_timestamp_seconds";
    // Each Token that was looked at has such a series.
    wait_for(PATIENCE, "every Token was looked at", async || {
        let metrics = operator.metrics().await.map_err(|error| error.to_string())?;
        let known = metrics
            .to_string()
            .lines()
            .filter(|line| !line.starts_with("#") && line.contains(expires))
            .count();
        if known < tokens {
            return Err(format!("{known} of {tokens}"));
        }
        Ok(())
    })
    .await?;
    let took = started.elapsed();
    idle(&operator).await?;
    let usage = operator.usage()?;
    audit.settle(&world.client).await?;
    let writes: usize = audit.writes(|_| true)?.values().sum();
    let mints = world.github.mint_count().saturating_sub(tokens);
    let what = format!("issued at a restart with {tokens} healthy Tokens");
    report.add("restart", what, mints as f64, "tokens", Target::AtMost(0.0));
    report.add(
        "restart",
        "API writes at that restart",
        writes as f64,
        "",
        Target::AtMost(0.0),
    );
    report.add(
        "restart",
        "until every Token was looked at",
        took.as_secs_f64(),
        "s",
        Target::Free,
    );
    report.add(
        "restart",
        "processor time for it",
        usage.cpu.as_secs_f64(),
        "s",
        Target::Free,
    );
    report.add(
        "restart",
        "resident after it",
        mib(usage.resident),
        "MiB",
        Target::AtMost(32.0),
    );
    end(operator).await
}

/// An operator that has issued `count` tokens and has nothing left to do.
async fn filled(world: &World, count: usize) -> Result<lab::gtm::Operator> {
    let namespace = world.cluster.namespace("full").await?;
    load::tokens(&world.client, &namespace, count, load::ordinary).await?;
    let operator = world.operator().start().await?;
    world.all_ready(&namespace, count, count).await?;
    idle(&operator).await?;
    Ok(operator)
}

/// Labels and statuses are edited, the API server restarts, a standby takes over: nothing is issued.
pub async fn stay_calm(setting: &Setting, report: &mut Report) -> Result<()> {
    let world = World::new(setting, Settings::default(), "off", false).await?;
    let count = setting.number(FEWER);
    let operator = filled(&world, count).await?;
    let issued = || world.github.mint_count().saturating_sub(count) as f64;
    let mut add = |what: &str| {
        report.add(
            "calm",
            format!("issued: {count} Tokens, {what}"),
            issued(),
            "tokens",
            Target::AtMost(0.0),
        )
    };

    let all: Vec<Token> = Api::<Token>::all(world.client.clone())
        .list(&Default::default())
        .await?
        .items;
    edit(&world, &all, json!({"metadata": {"labels": {"changed": "yes"}}}), false).await?;
    idle(&operator).await?;
    add("all relabelled");

    edit(&world, &all, json!({"status": {"repositorySelection": "all"}}), true).await?;
    idle(&operator).await?;
    add("all statuses edited");

    world.cluster.restart_api_server().await?;
    idle(&operator).await?;
    add("the API server restarted");
    end(operator).await?;

    let leader = world.operator().leader_elect(true).start().await?;
    leads(&leader).await?;
    let standby = world.operator().leader_elect(true).start().await?;
    leader.kill();
    leads(&standby).await?;
    idle(&standby).await?;
    add("a standby took over");
    end(standby).await
}

/// Patches every Token, or its status.
async fn edit(world: &World, all: &[Token], patch: serde_json::Value, status: bool) -> Result<()> {
    load::each(all.len(), async |n| {
        let Some(token) = all.get(n) else { return Ok(()) };
        let (namespace, name) = (token.metadata.namespace.as_deref(), token.metadata.name.as_deref());
        let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
        let tokens: Api<Token> = Api::namespaced(world.client.clone(), namespace);
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let patched = if status {
            tokens.patch_status(name, &params, &patch).await
        } else {
            tokens.patch(name, &params, &patch).await
        };
        patched.map(drop)
    })
    .await
}

/// Waits until the operator knows when a token expires: it leads, and has looked at the Tokens.
async fn leads(operator: &lab::gtm::Operator) -> Result<()> {
    wait_for(Duration::from_secs(60), "the operator leads", async || {
        let metrics = operator.metrics().await.map_err(|error| error.to_string())?;
        let leads = metrics.to_string().contains("token_expiry_timestamp_seconds{");
        leads.then_some(()).ok_or_else(|| "not yet".to_owned())
    })
    .await?;
    Ok(())
}
