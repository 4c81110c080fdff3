//! While GitHub holds the whole App, nobody asks it, and everybody who waits is told.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lab::github::{Fault, Limits, PrimaryLimit, Route};
use lab::wait::eventually;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::world::{SOON, World};

const LIMIT: Fault = Fault::SecondaryLimit {
    status: 403,
    retry_after: Some(120),
};

/// The Token is told why it waits, and that it does so for about two minutes.
async fn is_told(world: &World, name: &str) {
    world.condition(name, "Ready", "False", "SecondaryRateLimited").await;
    world
        .condition(name, "Reconciling", "True", "SecondaryRateLimited")
        .await;
    let next = world.status(name).await.next_attempt_at.expect("the next attempt");
    let wait = Timestamp::from(next).duration_since(world.github.now()).as_secs();
    assert!((60..=120).contains(&wait), "{name}: {wait} s");
}

#[tokio::test]
async fn a_token_that_waits_for_an_app_that_github_holds_says_so_and_when_its_token_has_expired() {
    let world = World::short(16).await;
    world.token("due", json!({})).await;
    world.settled("due").await;
    world.github.fail_while(Some(Route::Mint), LIMIT);
    world.token("first", json!({})).await;
    is_told(&world, "first").await;
    let asked = world.github.counts().requests;
    world.token("new", json!({})).await;
    is_told(&world, "new").await;
    assert!(world.status("due").await.condition("Expired").is_none());
    is_told(&world, "due").await;
    world.condition("due", "Expired", "True", "TokenExpired").await;
    is_told(&world, "due").await;
    assert_eq!(world.github.counts().requests, asked, "nobody asks meanwhile");
}

#[tokio::test]
async fn who_waits_for_an_app_that_has_used_up_its_hour_does_not_ask_in_vain() {
    let world = World::new().await;
    let limit = |requests| Limits {
        secondary: None,
        primary: Some(PrimaryLimit {
            requests,
            window: Duration::from_secs(15),
            status: 403,
        }),
    };
    world.github.set_limits(limit(1));
    world.token("first", json!({})).await;
    world.settled("first").await;
    world.many(20, json!({})).await;
    for name in ["t-0", "t-19"] {
        let told = world.condition(name, "Ready", "False", "RateLimited").await;
        assert!(told.message.contains("is not asked before then"), "{}", told.message);
        assert!(world.status(name).await.next_attempt_at.is_some());
        assert_eq!(world.events(name).await, [], "{name}: nothing has failed");
    }
    assert_eq!(world.github.counts().primary_violations, 0);
    // What is left after this hour is enough for all.
    world.github.set_limits(limit(100));
    assert_eq!(world.github.mint_count(), 1);
    world.all_ready(21, 2 * SOON).await;
    let counts = world.github.counts();
    assert_eq!((counts.primary_violations, world.github.mint_count()), (0, 21));
}

#[tokio::test]
async fn an_app_that_github_holds_is_not_asked_for_anything() {
    let mut world = World::new().await;
    world.operator.kill();
    world.github.fail_while(Some(Route::App), LIMIT);
    let pem = world.github.key().expect("a key").pkcs1_pem();
    let key = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key", "namespace": world.namespace},
        "stringData": {"private-key.pem": pem}});
    let spec = json!({"appID": world.github.app_id(), "installationID": 67890, "baseURL": world.github.url(),
        "provider": "secret", "keyRef": {"name": "key"}});
    let app = json!({"apiVersion": "github.as-code.io/v1", "kind": "App",
        "metadata": {"name": "team", "namespace": world.namespace}, "spec": spec});
    for object in [key, app] {
        world.cluster.apply(&object.to_string()).await.expect("it is applied");
    }
    let before = world.github.counts().requests;
    world.operator.restart().await.unwrap();
    eventually(SOON, "both Apps have been tried", async || {
        let asked = world.github.counts().requests - before;
        (asked >= 2).then_some(()).ok_or(format!("{asked} requests"))
    })
    .await;
    // Long enough for the next look at either.
    sleep(Duration::from_secs(25)).await;
    let asked = world.github.requests();
    let asked: Vec<Value> = asked
        .iter()
        .skip(usize::try_from(before).unwrap())
        .map(|request| json!([request.path, request.status]))
        .collect();
    // The startup App is asked for the clock and for its installations at the same time.
    assert!(asked.len() <= 3, "{asked:#?}");
}

#[tokio::test]
async fn a_changed_spec_that_waits_for_its_turn_is_not_called_done() {
    let mut world = World::new().await;
    world.token("demo", json!({"permissions": {"contents": "read"}})).await;
    let before = world.settled("demo").await;
    world.operator.kill();
    world.configure_also("rate_limit: {concurrent: 1, mints_per_minute: 1000}");
    world.operator.restart().await.unwrap();
    world.github.fail_while(Some(Route::Mint), Fault::Hang);
    for name in ["first", "second"] {
        world.token(name, json!({})).await;
    }
    eventually(SOON, "one is asked for, the other waits and is told so", async || {
        let told = [world.status("first").await, world.status("second").await];
        let told = told.iter().any(|status| status.condition("Ready").is_some());
        told.then_some(()).ok_or("not yet")
    })
    .await;
    world.token("demo", json!({"permissions": {"contents": "write"}})).await;
    let told = world.condition("demo", "Ready", "False", "Pending").await;
    assert!(told.message.contains("waits for its turn"), "{}", told.message);
    assert!(told.message.contains("is good until"), "{}", told.message);
    world.condition("demo", "Reconciling", "True", "Pending").await;
    assert_eq!(world.token_in("demo").await.as_deref(), Some(&*before));
    world.github.clear_faults();
    world.condition("demo", "Ready", "True", "Issued").await;
    assert_ne!(world.settled("demo").await, before);
    for name in ["first", "second"] {
        world.settled(name).await;
    }
}

#[tokio::test]
async fn what_may_have_been_issued_before_a_kill_counts_for_the_limit() {
    let mut world = World::new().await;
    world.token("demo", json!({})).await;
    world.settled("demo").await;
    world.operator.kill();
    world.configure_also("rate_limit: {mints_per_minute: 12}");
    world.operator.restart().await.unwrap();
    // From then on, what comes is no Token of before the restart: on a slow machine, this one may be, and count twice.
    world.token("another", json!({})).await;
    world.settled("another").await;
    // Half of it passes before a token is issued, half before it is answered.
    world.github.set_latency(Duration::from_secs(12));
    world.many(20, json!({})).await;
    world.mints(11, SOON).await;
    world.operator.kill();
    assert_eq!(world.secrets().list(&Default::default()).await.unwrap().items.len(), 2);
    world.github.set_latency(Duration::ZERO);
    world.operator.restart().await.unwrap();
    eventually(SOON, "those that wait are told so", async || {
        let told = world.status("t-0").await;
        told.condition("Ready").map(drop).ok_or("not yet")
    })
    .await;
    let issued = world.github.mint_count();
    assert!(issued <= 12, "GitHub would have refused more: {issued}");
}

#[tokio::test]
async fn a_clock_of_github_that_is_a_little_behind_breaks_no_limit_after_a_restart() {
    let mut world = World::new().await;
    world.operator.kill();
    world.configure_also("rate_limit: {mints_per_minute: 5}");
    world.github.set_clock_offset(SignedDuration::from_millis(-1_900));
    world.operator.restart().await.unwrap();
    world.many(6, json!({})).await;
    eventually(SOON, "five are written", async || {
        let written = world.secrets().list(&Default::default()).await.unwrap().items.len();
        (written == 5).then_some(()).ok_or(written)
    })
    .await;
    world.operator.terminate(SOON).await.unwrap();
    world.operator.restart().await.unwrap();
    world.mints(6, Duration::from_secs(90)).await;
    let at: Vec<_> = world.github.mints().iter().map(|mint| mint.at).collect();
    let apart = at[5].duration_since(at[0]);
    assert!(apart >= SignedDuration::from_secs(60), "{apart}");
}
