//! The operator is killed, evicted and replaced, and the node restarted, while pods go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use lab::node::{NODE, OPERATOR};
use lab::wait::eventually;
use serde_json::{Value, json};

use crate::world::{LONG, SOON, World, annotation, pod, restarts, template};

const CLONE: &str = "git clone -q https://github.com/octo-org/alpha /tmp/alpha; echo cloned";

/// The pod that leads, by the Lease, once one does.
async fn leader(world: &World) -> String {
    let holder = "jsonpath={.spec.holderIdentity}";
    let lease = ["-n", OPERATOR, "get", "lease", "github.as-code.io", "-o", holder];
    eventually(SOON, "a leader", async || {
        let holder = world
            .node
            .kubectl()
            .run(&lease)
            .await
            .map_err(|error| error.to_string())?;
        let pod = holder.split('_').next().unwrap_or_default().to_owned();
        pod.starts_with(OPERATOR).then_some(pod).ok_or(format!("{holder:?}"))
    })
    .await
}

#[tokio::test]
async fn after_all_operator_pods_are_killed_tokens_rotate_and_pods_start() {
    let world = World::new().await;
    let first = world.issue("ci").await;
    let kill = ["-n", OPERATOR, "delete", "pods", "--all", "--force", "--grace-period=0"];
    world.node.kubectl().run(&kill).await.unwrap();
    world.ask_for_rotation("ci").await;
    let second = world.secret("ci", &first).await;
    assert!(world.is_valid(&second).await);
    world.node.operator_ready().await.unwrap();
    let template = template("after", annotation("ci"), CLONE);
    let after = pod(&world.namespace, "after", template).to_string();
    eventually(SOON, "the pod is admitted", async || {
        world.node.kubectl().apply(&after).await
    })
    .await;
    world.all_say("after", 1, "cloned").await;
}

/// How many of the tokens that GitHub has issued, but for those of before, it takes.
async fn valid_since(world: &World, before: &[String]) -> usize {
    let mut valid = 0;
    for token in world.issued().await.iter().filter(|token| !before.contains(token)) {
        valid += usize::from(world.is_valid(token).await);
    }
    valid
}

#[tokio::test]
async fn a_leader_that_is_evicted_between_mint_and_secret_leaves_no_second_token() {
    let world = World::new().await;
    let first = world.issue("ci").await;
    let evicted = leader(&world).await;
    let before = world.issued().await;
    // Less than the 6 s for work under way; half of it passes between what GitHub does and its answer.
    world.set_latency(Duration::from_secs(4)).await;
    world.ask_for_rotation("ci").await;
    eventually(SOON, "a mint", async || {
        let count = world.issued().await.len();
        (count > before.len()).then_some(()).ok_or(count)
    })
    .await;
    assert_eq!(world.secret("ci", "").await, first, "the answer is still on its way");
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": evicted, "namespace": OPERATOR}});
    let path = format!("/api/v1/namespaces/{OPERATOR}/pods/{evicted}/eviction");
    let kubectl = world.node.kubectl();
    kubectl
        .run_with_input(&["create", "--raw", &path, "-f", "-"], &eviction.to_string())
        .await
        .unwrap();
    let second = world.secret("ci", &first).await;
    world.set_latency(Duration::ZERO).await;
    assert!(world.is_valid(&second).await);
    eventually(SOON, "another leader", async || {
        let now = leader(&world).await;
        (now != evicted).then_some(()).ok_or(now)
    })
    .await;
    world.node.operator_ready().await.unwrap();
    assert_eq!(world.secret("ci", &first).await, second);
    assert_eq!(valid_since(&world, &before).await, 1, "tokens that nobody has");
}

#[tokio::test]
async fn pods_go_on_over_a_restart_of_kubelet_and_containerd() {
    let world = World::new().await;
    let first = world.issue("ci").await;
    let script = "first=\"$(cat \"$GITHUB_TOKEN_FILE\")\"; echo up
until [ \"$(cat \"$GITHUB_TOKEN_FILE\")\" != \"$first\" ]; do sleep 0.2; done
git clone -q https://github.com/octo-org/alpha /tmp/alpha; echo cloned; exec sleep infinity";
    let template_of = |app: &str, script: &str| template(app, annotation("ci"), script);
    world
        .apply(&[pod(&world.namespace, "going-on", template_of("going-on", script))])
        .await;
    let before = world.all_say("going-on", 1, "up").await;
    for part in ["kubelet", "containerd"] {
        world.node.hold(part).await.unwrap();
    }
    world.ask_for_rotation("ci").await;
    world.secret("ci", &first).await;
    for part in ["containerd", "kubelet"] {
        world.node.release(part).unwrap();
    }
    let after = world.all_say("going-on", 1, "cloned").await;
    assert_eq!(after[0].metadata.uid, before[0].metadata.uid);
    assert_eq!(restarts(&after[0]), 0);
    eventually(SOON, "the node Ready", async || {
        let wait = ["wait", "--for=condition=Ready", "--timeout=10s", "node", NODE];
        world.node.kubectl().run(&wait).await
    })
    .await;
    world
        .apply(&[pod(&world.namespace, "new", template_of("new", CLONE))])
        .await;
    world.all_say("new", 1, "cloned").await;
}

/// Creates opted-in pods until `over`; the first that is refused is the error. They are for no node: to admit them is what counts.
async fn create(pods: Api<Pod>, body: Value, over: Arc<AtomicBool>, admitted: Arc<AtomicUsize>) -> Result<(), String> {
    let wanted: Pod = serde_json::from_value(body).unwrap();
    let now = DeleteParams::default().grace_period(0);
    while !over.load(Ordering::Relaxed) {
        let made = pods.create(&PostParams::default(), &wanted).await.map_err(|error| {
            over.store(true, Ordering::Relaxed);
            format!("after {} pods: {error}", admitted.load(Ordering::Relaxed))
        })?;
        let volumes = made.spec.and_then(|spec| spec.volumes).unwrap_or_default();
        if !volumes.iter().any(|volume| volume.projected.is_some()) {
            return Err(format!("a pod without its token: {volumes:?}"));
        }
        admitted.fetch_add(1, Ordering::Relaxed);
        let name = made.metadata.name.unwrap_or_default();
        pods.delete(&name, &now).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[tokio::test]
async fn not_one_opted_in_pod_is_refused_while_the_operator_is_upgraded() {
    let world = World::new().await;
    world.issue("ci").await;
    let (over, admitted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut body = pod(&world.namespace, "", template("upgrade", annotation("ci"), "exit 0"));
    body["metadata"] = json!({"generateName": "upgrade-", "annotations": annotation("ci")});
    body["spec"]["nodeSelector"] = json!({"none": "such"});
    let creators: Vec<_> = (0..4)
        .map(|_| tokio::spawn(create(world.pods(), body.clone(), over.clone(), admitted.clone())))
        .collect();
    for version in ["one", "two"] {
        let before = admitted.load(Ordering::Relaxed);
        world.node.upgrade_operator(version).await.unwrap();
        // Those of the former image are gone, too, and pods are still admitted.
        let image = world.node.operator_image().await.unwrap();
        assert!(image.ends_with(&format!(":{version}")), "{image}");
        eventually(LONG, "two pods of the operator, of the new image", async || {
            let images = "jsonpath={range .items[*]}{.spec.containers[0].image}{\"\\n\"}{end}";
            let pods = ["-n", OPERATOR, "get", "pods", "-o", images];
            let pods = world
                .node
                .kubectl()
                .run(&pods)
                .await
                .map_err(|error| error.to_string())?;
            let more = admitted.load(Ordering::Relaxed) - before;
            let ended = over.load(Ordering::Relaxed);
            let new = pods.lines().count() == 2 && pods.lines().all(|pod| pod == image);
            ((new && more > 100) || ended)
                .then_some(())
                .ok_or(format!("{pods}{more} admitted"))
        })
        .await;
    }
    over.store(true, Ordering::Relaxed);
    for creator in creators {
        tokio::time::timeout(Duration::from_secs(30), creator)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
    println!(
        "opted-in pods admitted during two upgrades: {}",
        admitted.load(Ordering::Relaxed)
    );
}
