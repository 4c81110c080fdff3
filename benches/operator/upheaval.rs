//! Things that happen to an operator and its objects, none of which is a reason for a mint.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{Patch, PatchParams};
use lab::wait::wait_for;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::report::Report;
use crate::world::{AT_ONCE, LONG, World, cluster};
use crate::{Failed, Options};

const TOKENS: usize = 500;

pub async fn run(options: &Options, report: &mut Report) -> Result<(), Failed> {
    let count = options.scaled(TOKENS);
    let world = World::new(options, cluster()?).await?;
    let leader = world.replica("rate_limit: off")?.start().await?;
    world.issued(&leader, count).await?;
    let standby = world.replica("rate_limit: off")?.start().await?;
    let minted = world.github.mint_count();

    let killed = Instant::now();
    leader.kill();
    world.looked_at(&standby, count).await?;
    report.at_most(
        "failover, until the standby has looked at all",
        killed.elapsed().as_secs_f64(),
        "s",
        15.0,
    );
    tell(&world, minted, "the leader was killed", report);

    world.cluster.restart_api_server().await?;
    patch_all(&world, count, &json!({"metadata": {"labels": {"bench": "a"}}}), false).await?;
    marked(&world, "the watch to be taken up again").await?;
    tell(&world, minted, "the API server was restarted", report);

    patch_all(
        &world,
        count,
        &json!({"metadata": {"labels": {"bench": "b"}, "annotations": {"bench": "b"}}}),
        false,
    )
    .await?;
    marked(&world, "the relabelling to be seen").await?;
    tell(&world, minted, "all Tokens were relabelled", report);

    let label = json!({"metadata": {"labels": {"app.kubernetes.io/name": null, "bench": "b"}}});
    let secrets = world.secrets();
    let relabel = |number| {
        let (secrets, label) = (secrets.clone(), &label);
        async move {
            let name = format!("token-{number}");
            secrets
                .patch(&name, &PatchParams::default(), &Patch::Merge(label))
                .await?;
            Ok::<_, Failed>(())
        }
    };
    stream::iter(0..count)
        .map(relabel)
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    marked(&world, "the loss of labels to be seen").await?;
    tell(&world, minted, "all Secrets lost a label", report);

    patch_all(
        &world,
        count,
        &json!({"status": {"hashedToken": "other", "conditions": []}}),
        true,
    )
    .await?;
    world.all_ready().await?;
    tell(&world, minted, "all statuses were edited", report);
    drop(standby);
    Ok(())
}

fn tell(world: &World, minted: usize, what: &str, report: &mut Report) {
    // The Tokens that `marked` has issued are this program's own doing.
    let own = world
        .github
        .mints_since(minted)
        .iter()
        .filter(|mint| is_mark(mint))
        .count();
    let mints = world.github.mint_count() - minted - own;
    report.at_most(format!("mints after {what}"), mints as f64, "", 0.0);
}

fn is_mark(mint: &lab::github::Mint) -> bool {
    mint.requested.repositories.is_none()
}

/// Waits until the operator has seen what was done before: it has issued, and settled, another Token since.
async fn marked(world: &World, what: &str) -> Result<(), Failed> {
    let name = format!("mark-{}", world.github.mint_count());
    let object = json!({"apiVersion": "github.as-code.io/v1", "kind": "Token", "metadata": {"name": name}, "spec": {}});
    let tokens = world.tokens();
    tokens
        .patch(&name, &PatchParams::apply("bench"), &Patch::Apply(&object))
        .await?;
    wait_for(LONG, what, async || {
        let token = tokens.get(&name).await.map_err(|error| error.to_string())?;
        let ready = token.status.as_ref().is_some_and(crate::world::is_ready);
        ready.then_some(()).ok_or("the mark is not ready".to_owned())
    })
    .await?;
    // Repairs are not in the watch's order: each takes a read and a write.
    tokio::time::sleep(Duration::from_secs(3)).await;
    Ok(())
}

async fn patch_all(world: &World, count: usize, patch: &Value, status: bool) -> Result<(), Failed> {
    let tokens = world.tokens();
    let one = |number| {
        let tokens = tokens.clone();
        async move {
            let (name, params) = (format!("token-{number}"), PatchParams::default());
            let patch = Patch::Merge(patch);
            if status {
                tokens.patch_status(&name, &params, &patch).await?;
            } else {
                tokens.patch(&name, &params, &patch).await?;
            }
            Ok::<_, Failed>(())
        }
    };
    stream::iter(0..count)
        .map(one)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}
