//! Writes of Secrets that are refused, or take long: the Token says so, and nobody asks all the time.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::DeleteParams;
use lab::cluster::AuditEvent;
use lab::github::{Route, TokenState};
use lab::wait::eventually;
use serde_json::json;
use tokio::time::sleep;

use crate::line::Line;
use crate::world::{REFUSED, SOON, World};

/// So late it is found, at most, that someone has mended what stood in the way.
const MENDED: Duration = Duration::from_secs(75);

/// Secrets that are being deleted stay as they are.
async fn keep_what_is_deleted(world: &World) {
    let rule = json!({"message": "it stays", "reason": "Invalid", "expression": format!(
        "request.operation == 'CREATE' ? object.metadata.?labels[?'team'].orValue('') != '{REFUSED}' : \
         !has(object.metadata.deletionTimestamp)")});
    let probe = json!({"name": "probe", "labels": {"team": REFUSED}});
    world.refuse_secrets(&["CREATE", "UPDATE"], &rule, probe).await;
}

async fn end_the_policy(world: &World) {
    let binding = format!("secrets-{}", world.namespace);
    let mend = ["delete", "validatingadmissionpolicybinding", &binding];
    world.cluster.kubectl(&mend).await.expect("the policy ends");
}

/// What is told of `demo` as a failed write.
async fn told(world: &World) -> Vec<String> {
    let events = world.events("demo").await.into_iter();
    let told = events.filter(|(reason, _)| reason == "SecretWriteFailed");
    told.map(|(_, note)| note).collect()
}

#[tokio::test]
async fn a_token_whose_deleted_secret_is_kept_says_so_and_when_its_token_has_expired() {
    let world = World::short(20).await;
    world.token("demo", json!({})).await;
    let first = world.settled("demo").await;
    keep_what_is_deleted(&world).await;
    world.secrets().delete("demo", &DeleteParams::default()).await.unwrap();
    let ready = world.condition("demo", "Ready", "False", "SecretWriteFailed").await;
    let which = format!(
        "the Secret {}/demo was deleted, and could not be let go",
        world.namespace
    );
    let words = ready.message.contains(&which) && ready.message.contains("it stays");
    assert!(words, "{}", ready.message);
    let next = world.status("demo").await.next_attempt_at;
    let told_of = next.map(|next| Timestamp::from(next).duration_since(world.github.now()));
    assert!(
        told_of.is_some_and(|left| (-2..=60).contains(&left.as_secs())),
        "{told_of:?}"
    );
    world.condition("demo", "Expired", "True", "TokenExpired").await;
    world.condition("demo", "Ready", "False", "SecretWriteFailed").await;
    let told = told(&world).await;
    assert_eq!(told.len(), 1, "{told:?}");
    let metrics = world.operator.metrics().await.unwrap();
    let refused = [("operation", "delete"), ("result", "error")];
    let count = metrics.value("kubernetes_secret_operations_total", &refused);
    assert!(count.is_some_and(|count| count >= 2.0), "{count:?}");
    end_the_policy(&world).await;
    eventually(MENDED, "another Secret", async || {
        let token = world.token_in("demo").await.ok_or("none")?;
        (token != first).then_some(()).ok_or("the former one")
    })
    .await;
    world.settled("demo").await;
}

#[tokio::test]
async fn github_is_asked_once_to_revoke_a_token_whose_secret_is_kept_and_the_api_server_less_and_less_often() {
    let world = World::new().await;
    world.token("demo", json!({})).await;
    let token = world.settled("demo").await;
    keep_what_is_deleted(&world).await;
    let audit = world.cluster.audit_log().unwrap();
    world.delete("demo").await;
    eventually(SOON, "an attempt", async || {
        let told = told(&world).await;
        (!told.is_empty()).then_some(()).ok_or("nothing is told")
    })
    .await;
    sleep(Duration::from_secs(15)).await;
    audit.settle(&world.client).await.unwrap();
    let attempt = |event: &AuditEvent| event.resource == "secrets" && event.name == "demo" && event.verb == "patch";
    let attempts: usize = audit.writes(attempt).unwrap().values().sum();
    // At once, after 3 s, and after 6 s more.
    assert_eq!(attempts, 3);
    assert_eq!(told(&world).await.len(), 1);
    let logs = world.operator.logs();
    assert_eq!(logs.matches("could not be let go").count(), attempts, "{logs}");
    assert_eq!(logs.matches("it is tried again").count(), 1, "{logs}");
    assert_eq!(world.github.token_state(&token), TokenState::Revoked);
    let asked = world.github.requests();
    assert_eq!(asked.iter().filter(|request| request.route == Route::Revoke).count(), 1);
    end_the_policy(&world).await;
    eventually(SOON, "the Secret is gone", async || {
        world.data("demo").await.map_or(Ok(()), |_| Err("still there"))
    })
    .await;
}

#[tokio::test]
async fn the_time_of_the_next_attempt_is_counted_from_the_end_of_the_last() {
    let world = World::new().await;
    world.operator.kill();
    let line = Line::to(world.client.clone()).await;
    let _operator = line.operator(&world).await;
    world.refuse_team().await;
    // Longer than the jitter of the period.
    line.slow_down(Duration::from_secs(10));
    world
        .token("demo", json!({"secret": {"labels": {"team": REFUSED}}}))
        .await;
    world.mints(1, SOON).await;
    let began = world.github.now();
    world.condition("demo", "Ready", "False", "SecretWriteFailed").await;
    let next = world.status("demo").await.next_attempt_at.expect("the next attempt");
    let wait = Timestamp::from(next).duration_since(began).as_secs();
    assert!((63..=75).contains(&wait), "{wait} s after the attempt began");
}
