//! Tokens issued a second, beside the floor: a bare loop that makes the same two writes for as many Tokens on the same API server.

use std::collections::HashMap;
use std::time::Duration;

use github_token_manager::api::Token;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use lab::github::Settings;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::report::{Report, Target};
use crate::world::{Setting, World, end, idle};
use crate::{Result, load};

const TOKENS: usize = 2_000;
/// What the API server is warmed up with, and what the writes of the bare loop are copied from.
const MODELS: usize = 200;
/// How long GitHub takes to answer.
const LATENCY: Duration = Duration::from_millis(100);

/// The Secret and the status that the operator writes, to be copied.
struct Model {
    secret: Secret,
    status: Value,
}

/// Floor, operator, floor: the machine may change its mind between them.
pub async fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let world = World::new(setting, Settings::default(), "off", false).await?;
    world.github.set_latency(LATENCY);
    let count = setting.number(TOKENS);
    let model = model(&world).await?;

    let before = floor(&world, &model, count).await?;
    let namespace = world.cluster.namespace("rate").await?;
    load::tokens(&world.client, &namespace, count, load::ordinary).await?;
    let mints = world.github.mint_count();
    let started = Instant::now();
    let operator = world.operator().start().await?;
    let ready = started.elapsed();
    world.all_ready(&namespace, count, mints + count).await?;
    let took = started.elapsed();
    idle(&operator).await?;
    let cpu = operator.usage()?.cpu;
    end(operator).await?;
    let after = floor(&world, &model, count).await?;

    let rate = count as f64 / took.as_secs_f64();
    let floor = f64::midpoint(before, after);
    report.add(
        "rate",
        format!("{count} Tokens from the operator's start on"),
        rate,
        "tokens/s",
        Target::Free,
    );
    report.add("rate", "bare loop before", before, "tokens/s", Target::Free);
    report.add("rate", "bare loop after", after, "tokens/s", Target::Free);
    let share = 100.0 * rate / floor;
    report.add(
        "rate",
        "share of the bare loop's rate",
        share,
        "%",
        Target::AtLeast(80.0),
    );
    report.add(
        "rate",
        "until the operator was ready",
        ready.as_secs_f64(),
        "s",
        Target::Free,
    );
    let each = cpu.as_secs_f64() * 1000.0 / count as f64;
    report.add("rate", "processor time for one token", each, "ms", Target::Free);
    Ok(())
}

async fn model(world: &World) -> Result<Model> {
    let namespace = world.cluster.namespace("model").await?;
    let operator = world.operator().start().await?;
    load::tokens(&world.client, &namespace, MODELS, load::ordinary).await?;
    world.all_ready(&namespace, MODELS, MODELS).await?;
    end(operator).await?;
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &namespace);
    let tokens: Api<Token> = Api::namespaced(world.client.clone(), &namespace);
    let secret = secrets.get(&load::name(0)).await?;
    let status = tokens.get(&load::name(0)).await?.status;
    Ok(Model {
        secret,
        status: json!(status),
    })
}

/// Secrets a second. Its Secrets carry a label of the operator's size with another value, so that the operator never sees them; its
/// Tokens are deleted at the end.
async fn floor(world: &World, model: &Model, count: usize) -> Result<f64> {
    let namespace = world.cluster.namespace("floor").await?;
    load::tokens(&world.client, &namespace, count, load::ordinary).await?;
    let tokens: Api<Token> = Api::namespaced(world.client.clone(), &namespace);
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &namespace);
    let listed = tokens.list_metadata(&ListParams::default()).await?;
    let uids = listed.items.into_iter().map(|token| token.metadata);
    let uids: HashMap<String, String> = uids.filter_map(|meta| meta.name.zip(meta.uid)).collect();
    let started = Instant::now();
    load::each(count, async |n| {
        let name = load::name(n);
        let secret = copy(&model.secret, &name, uids.get(&name).cloned().unwrap_or_default());
        secrets.create(&PostParams::default(), &secret).await?;
        let status = Patch::Merge(json!({"status": model.status}));
        tokens
            .patch_status(&name, &PatchParams::default(), &status)
            .await
            .map(drop)
    })
    .await?;
    let rate = count as f64 / started.elapsed().as_secs_f64();
    tokens
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await?;
    Ok(rate)
}

fn copy(model: &Secret, name: &str, owner: String) -> Secret {
    let mut secret = model.clone();
    let meta = &mut secret.metadata;
    let labels = meta.labels.iter_mut().flatten();
    labels.for_each(|(_, value)| *value = value.to_uppercase());
    let owners = meta.owner_references.iter_mut().flatten();
    owners.for_each(|reference| {
        reference.name = name.to_owned();
        reference.uid.clone_from(&owner);
    });
    meta.name = Some(name.to_owned());
    (meta.namespace, meta.uid, meta.resource_version) = (None, None, None);
    (meta.creation_timestamp, meta.managed_fields) = (None, None);
    secret
}
