//! What the kubelet says that the operator's pods use: what an eviction or a limit goes by.

use lab::node::{NODE, OPERATOR};
use lab::wait::eventually;
use serde_json::{Value, json};

use crate::world::{LONG, World};

/// With 1,000 Tokens 6 MiB were measured, and 8 MiB with a debug build; a working set this large is a leak.
const MOST: u64 = 16 << 20;

/// The largest working set of the operator's pods, in bytes, in a sample that is newer than this call.
async fn working_set(world: &World) -> u64 {
    let called = github_token_manager::run::now();
    let path = format!("/api/v1/nodes/{NODE}/proxy/stats/summary");
    eventually(LONG, "a new sample of each pod", async || {
        let said = world
            .node
            .kubectl()
            .run(&["get", "--raw", &path])
            .await
            .map_err(|error| error.to_string())?;
        let summary: Value = serde_json::from_str(&said).map_err(|error| error.to_string())?;
        let pods = summary["pods"].as_array().into_iter().flatten();
        let ours = pods.filter(|pod| pod["podRef"]["namespace"] == OPERATOR);
        let mut sets = Vec::new();
        for memory in ours.map(|pod| &pod["memory"]) {
            let time: jiff::Timestamp = memory["time"]
                .as_str()
                .unwrap_or_default()
                .parse()
                .map_err(|_| "no time")?;
            if time <= called {
                return Err("an old sample".to_owned());
            }
            sets.push(memory["workingSetBytes"].as_u64().ok_or("no working set")?);
        }
        sets.into_iter().max().ok_or("no pod of the operator".to_owned())
    })
    .await
}

#[tokio::test]
async fn the_working_set_stays_small_with_a_thousand_tokens() {
    let world = World::new().await;
    let idle = working_set(&world).await;
    let tokens: Vec<Value> = (0..1000).map(|number| world.token(&format!("t{number}"))).collect();
    for some in tokens.chunks(250) {
        world.apply(some).await;
    }
    eventually(LONG, "a thousand Secrets", async || {
        let secrets = world
            .kubectl(&["get", "secrets", "-o", "name"])
            .await
            .map_err(|error| error.to_string())?;
        let count = secrets.lines().count();
        (count == 1000).then_some(()).ok_or(format!("{count}"))
    })
    .await;
    let full = working_set(&world).await;
    println!(
        "largest working set of the operator's pods, by the kubelet: idle {:.1} MiB, with 1,000 Tokens {:.1} MiB",
        mebibytes(idle),
        mebibytes(full)
    );
    assert!(idle > 1 << 20 && full < MOST, "idle {idle}, full {full}");
    let delete = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}).to_string();
    let path = format!("/apis/github.as-code.io/v1/namespaces/{}/tokens", world.namespace);
    world
        .node
        .kubectl()
        .run_with_input(&["delete", "--raw", &path, "-f", "-"], &delete)
        .await
        .unwrap();
    eventually(LONG, "no Secret any more", async || {
        let secrets = world
            .kubectl(&["get", "secrets", "-o", "name"])
            .await
            .map_err(|error| error.to_string())?;
        secrets
            .is_empty()
            .then_some(())
            .ok_or(format!("{} left", secrets.lines().count()))
    })
    .await;
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
