//! How long the kubelet takes to show a new token to a pod.

use std::time::Duration;

use lab::wait::eventually;
use tokio::time::Instant;

use crate::world::{World, annotation, pod, template};

/// The kubelet looks at a pod's volumes every 1 to 1.5 periods (`syncFrequency`, 1m by default).
const PERIOD: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_new_token_is_in_the_pods_file_within_one_and_a_half_of_the_kubelets_periods() {
    let world = World::new().await;
    let first = world.issue("ci").await;
    world
        .node
        .set_kubelet_period(&format!("{}s", PERIOD.as_secs()))
        .await
        .unwrap();
    let template = template("reader", annotation("ci"), "echo up; exec sleep infinity");
    world.apply(&[pod(&world.namespace, "reader", template)]).await;
    world.all_say("reader", 1, "up").await;
    world.ask_for_rotation("ci").await;
    let second = world.secret("ci", &first).await;
    let start = Instant::now();
    let within = PERIOD * 3 / 2 + Duration::from_secs(15);
    eventually(within, "the new token in the file", async || {
        let read = ["exec", "reader", "--", "sh", "-c", "cat \"$GITHUB_TOKEN_FILE\""];
        let found = world.kubectl(&read).await.map_err(|error| error.to_string())?;
        (found == second).then_some(()).ok_or("the former token".to_owned())
    })
    .await;
    let took = start.elapsed();
    world.node.set_kubelet_period(lab::node::SYNC).await.unwrap();
    println!(
        "from the new token in the Secret to the new token in the pod's file, syncFrequency {PERIOD:?}: {took:.1?}"
    );
}
