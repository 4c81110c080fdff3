//! Pods that name Tokens which do not exist: what they cost the API server, and whom they hold up.

use std::time::Duration;

use lab::github::Settings;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::world::{World, cluster, note, pod};

/// As many as a pod may name.
const TOKENS: usize = 16;
/// How long they are named.
const FLOOD: Duration = Duration::from_secs(3);

fn review(namespace: &str) -> Value {
    let names = (0..TOKENS).map(|n| (format!("github.as-code.io/token.t{n}"), json!(format!("absent-{n}"))));
    let annotations: serde_json::Map<String, Value> = names.collect();
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u",
        "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": namespace, "operation": "CREATE",
        "object": {"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "a"}]}}}})
}

/// Names them again and again, on a connection of its own, until the end; how often.
async fn flood(client: reqwest::Client, url: String, body: Value, end: Instant) -> usize {
    let mut reviews = 0;
    while Instant::now() < end {
        let sent = client.post(&url).json(&body).send().await.unwrap();
        let answer: Value = sent.json().await.unwrap();
        let message = answer["response"]["status"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("absent-0 does not exist"), "{answer}");
        reviews += 1;
    }
    reviews
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_is_asked_for_once_a_second_and_a_token_is_found_when_its_pod_comes_with_it() {
    let world = World::with(cluster().with_audit_log(), Settings::default(), |operator| operator).await;
    let audit = world.cluster.audit_log().unwrap();
    let begun = Instant::now();
    let mut floods = JoinSet::new();
    for _ in 0..8 {
        let client = world.https().await;
        floods.spawn(flood(
            client,
            world.url("/inject"),
            review(&world.namespace),
            begun + FLOOD,
        ));
    }
    let mut made = 0;
    while begun.elapsed() < FLOOD {
        let name = format!("made-{made}");
        world.token(&name, json!({})).await;
        let pod = world.create(&pod(&name, &[("token", &name)], json!({}))).await;
        assert!(note(&pod.unwrap()).is_some(), "{name}");
        made += 1;
    }
    let reviews: usize = floods.join_all().await.into_iter().sum();
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
    audit.settle(&world.client).await.unwrap();
    let all = audit.events().unwrap();
    let absent = |name: &str| name.starts_with("absent-");
    let asked = all
        .iter()
        .filter(|event| event.verb == "get" && event.resource == "tokens" && absent(&event.name));
    let asked = asked.count();
    println!("{reviews} reviews of {TOKENS} Tokens, {asked} questions; {made} Tokens with their pods");
    assert!(reviews > 16 && asked >= TOKENS, "{reviews} reviews, {asked} questions");
    assert!(asked <= TOKENS * seconds, "{asked} questions in {seconds} s");
}
