//! Pods of every kind of workload.

use lab::wait::eventually;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::world::{LONG, SOON, World, annotation, container, pod, restarts, template};

/// Clones, waits for another token in the file, and pushes with it.
const CLONE_THEN_PUSH: &str = r#"cd /tmp
git clone -q https://github.com/octo-org/alpha work
cd work
first="$(cat "$GITHUB_TOKEN_FILE")"
echo cloned
until [ "$(cat "$GITHUB_TOKEN_FILE")" != "$first" ]; do sleep 0.2; done
git commit -q --allow-empty -m "$HOSTNAME"
git push -q origin "HEAD:refs/heads/$HOSTNAME"
echo pushed
"#;

fn stays(script: &str) -> String {
    format!("{script}\nexec sleep infinity")
}

fn controller(world: &World, api: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": world.namespace}, "spec": spec})
}

/// A Deployment, a StatefulSet, a Job, a CronJob, and a pod whose native sidecar does it.
fn workloads(world: &World) -> Vec<Value> {
    let template = |script: &str| template("worker", annotation("ci"), script);
    let selector = json!({"matchLabels": {"app": "worker"}});
    let job = |script: &str| {
        let mut template = template(script);
        template["spec"]["restartPolicy"] = json!("Never");
        json!({"backoffLimit": 0, "template": template})
    };
    let staying = template(&stays(CLONE_THEN_PUSH));
    let deployment = json!({"replicas": 2, "selector": selector, "template": staying});
    let set = json!({"replicas": 1, "serviceName": "none", "selector": selector, "template": staying});
    let cron =
        json!({"schedule": "* * * * *", "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": job(CLONE_THEN_PUSH)}});
    // Its logs are looked for in `main`, which is the sidecar here.
    let mut sidecar = template("exit 0");
    let mut main = container("main", &stays(CLONE_THEN_PUSH));
    main["restartPolicy"] = json!("Always");
    sidecar["spec"]["initContainers"] = json!([main]);
    sidecar["spec"]["containers"] = json!([container("work", "exec sleep infinity")]);
    vec![
        controller(world, "apps/v1", "Deployment", "deployment", deployment),
        controller(world, "apps/v1", "StatefulSet", "set", set),
        controller(world, "batch/v1", "Job", "job", job(CLONE_THEN_PUSH)),
        controller(world, "batch/v1", "CronJob", "cron", cron),
        pod(&world.namespace, "sidecar", sidecar),
    ]
}

#[tokio::test]
async fn every_kind_of_workload_clones_and_pushes_after_a_rotation_without_a_restart() {
    let world = World::new().await;
    let first = world.issue("ci").await;
    world.apply(&workloads(&world)).await;
    world.all_say("worker", 6, "cloned").await;
    // Its pod works until the rotation; once that has ended, the next minute would bring another.
    let suspend = [
        "patch",
        "cronjob",
        "cron",
        "--type=merge",
        "-p",
        r#"{"spec": {"suspend": true}}"#,
    ];
    world.kubectl(&suspend).await.unwrap();
    world.ask_for_rotation("ci").await;
    world.secret("ci", &first).await;
    world.revoke(&first).await;
    let pods = world.all_say("worker", 6, "pushed").await;
    assert_eq!(pods.iter().map(restarts).sum::<i32>(), 0);
    let jobs = ["wait", "--for=condition=complete", "job/job", "--timeout=30s"];
    world.kubectl(&jobs).await.unwrap();
}

#[tokio::test]
async fn a_job_finds_the_token_in_its_environment() {
    let world = World::new().await;
    world.issue("ci").await;
    let annotations = json!({"github.as-code.io/token": "ci", "github.as-code.io/inject": "env"});
    let script = "test ! -e /var/run/secrets/github.as-code.io
test \"$GH_TOKEN\" = \"$GITHUB_TOKEN\"
git clone -q \"https://x-access-token:$GH_TOKEN@github.com/octo-org/alpha\" /tmp/alpha
echo cloned";
    let mut template = template("env", annotations, script);
    template["spec"]["restartPolicy"] = json!("Never");
    let job = json!({"backoffLimit": 0, "template": template});
    world.apply(&[controller(&world, "batch/v1", "Job", "env", job)]).await;
    world.all_say("env", 1, "cloned").await;
}

#[tokio::test]
async fn a_pod_that_is_made_before_its_token_waits_for_it() {
    let world = World::new().await;
    let annotations = json!({"github.as-code.io/token": "ci", "github.as-code.io/on-missing": "wait"});
    let script = "git clone -q https://github.com/octo-org/alpha /tmp/alpha; echo cloned";
    world
        .apply(&[pod(&world.namespace, "early", template("early", annotations, script))])
        .await;
    eventually(SOON, "the kubelet's complaint", async || {
        let events = ["get", "events", "-o", "jsonpath={.items[*].message}"];
        let said = world.kubectl(&events).await.map_err(|error| error.to_string())?;
        said.contains("secret \"ci\" not found").then_some(()).ok_or(said)
    })
    .await;
    world.issue("ci").await;
    world.all_say("early", 1, "cloned").await;
}

#[tokio::test]
async fn fifty_pods_at_once_clone() {
    let world = World::new().await;
    world.issue("ci").await;
    let script = "git clone -q https://github.com/octo-org/alpha /tmp/alpha; echo cloned";
    let mut template = template("many", annotation("ci"), script);
    template["spec"]["restartPolicy"] = json!("Never");
    let job = json!({"backoffLimit": 0, "parallelism": 50, "completions": 50, "template": template});
    let start = Instant::now();
    world.apply(&[controller(&world, "batch/v1", "Job", "many", job)]).await;
    eventually(LONG, "50 pods that have cloned", async || {
        let status = world.kubectl(&["get", "job", "many", "-o", "json"]).await;
        let job: Value = serde_json::from_str(&status.map_err(|error| error.to_string())?).unwrap();
        let counts = (job["status"]["succeeded"].as_u64(), job["status"]["failed"].as_u64());
        match counts {
            (Some(50), None) => Ok(()),
            counts => Err(format!("succeeded, failed: {counts:?}")),
        }
    })
    .await;
    println!(
        "50 opted-in pods at once, from the Job to the last clone: {:.0?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn where_pod_security_is_restricted_an_unfit_pod_is_refused_and_ours_are_not() {
    let world = World::new().await;
    world.issue("ci").await;
    let mut unfit = template("unfit", annotation("ci"), "exit 0");
    unfit["spec"]["securityContext"] = json!({});
    let unfit = pod(&world.namespace, "unfit", unfit).to_string();
    let refused = world.node.kubectl().apply(&unfit).await.unwrap_err().to_string();
    assert!(refused.contains("violates PodSecurity \"restricted"), "{refused}");
    let enforce = "jsonpath={.metadata.labels.pod-security\\.kubernetes\\.io/enforce}";
    let own = ["get", "namespace", lab::node::OPERATOR, "-o", enforce];
    assert_eq!(world.node.kubectl().run(&own).await.unwrap(), "restricted");
}
