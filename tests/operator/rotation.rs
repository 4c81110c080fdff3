//! The rules of the rotation, one by one, as far as they are not among the tests of a Token's life.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use github_token_manager::api::names::{annotation, label};
use github_token_manager::api::{Time, TokenStatus};
use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use lab::github::{Fault, Route, Settings, TokenState, hashed};
use lab::process::Folder;
use lab::wait::eventually;
use serde_json::json;

use crate::policies::changes;
use crate::world::{SOON, World, cluster, nothing_expired};

fn time(at: Option<Time>) -> Timestamp {
    Timestamp::from(at.expect("the status has this time"))
}

fn issued_at(status: &TokenStatus) -> Timestamp {
    let life = status.installation_access_token.as_ref();
    time(life.expect("the status tells the token's life").updated_at)
}

#[tokio::test]
async fn rule_1_the_secret_itself_says_what_it_holds_and_another_token_in_it_is_not_believed() {
    let world = World::new().await;
    let monitor = world.monitor();
    world.token("one", json!({"permissions": {"contents": "read"}})).await;
    world.token("two", json!({"permissions": {"issues": "read"}})).await;
    let (one, two) = (world.settled("one").await, world.settled("two").await);
    let note = async |name: &str| world.note("one", name).await;
    assert_eq!(note(annotation::HASHED_TOKEN).await, Some(hashed(&one)));
    let mints = world.github.mints();
    let mint = mints.iter().find(|mint| *mint.token == *one).unwrap();
    let expires = note(annotation::EXPIRES_AT).await.unwrap();
    assert_eq!(expires.parse::<Timestamp>().unwrap(), mint.expires_at);
    assert_ne!(
        note(annotation::SCOPE_HASH).await.unwrap(),
        world.note("two", annotation::SCOPE_HASH).await.unwrap()
    );

    // A token that works, but is not the one that was written.
    let edit = json!({"stringData": {"token": two}});
    let patch = Patch::Merge(&edit);
    world
        .secrets()
        .patch("one", &PatchParams::default(), &patch)
        .await
        .unwrap();
    eventually(SOON, "a token of its own", async || {
        let now = world.token_in("one").await.ok_or("no Secret")?;
        let own = now != one && now != two;
        own.then_some(()).ok_or("the wrong token".to_owned())
    })
    .await;
    world.settled("one").await;
    assert_eq!(world.github.mint_count(), 3);
    nothing_expired(monitor).await;
}

#[tokio::test]
async fn rule_2_a_token_is_due_after_its_interval_less_a_jitter_that_is_its_own_and_stays() {
    let mut world = World::new().await;
    world.many(12, json!({})).await;
    world.all_ready(12, SOON).await;
    let due = async |world: &World| -> BTreeMap<String, (Timestamp, Timestamp)> {
        let all = world.tokens().list(&Default::default()).await.unwrap();
        let one = |token: github_token_manager::api::Token| {
            let status = token.status.unwrap();
            let times = (issued_at(&status), time(status.next_attempt_at));
            (token.metadata.name.unwrap(), times)
        };
        all.into_iter().map(one).collect()
    };
    let before = due(&world).await;
    let intervals: BTreeSet<_> = before
        .values()
        .map(|(issued, due)| due.duration_since(*issued).as_secs())
        .collect();
    for seconds in &intervals {
        assert!((27 * 60..=30 * 60).contains(seconds), "{seconds} s");
    }
    assert!(intervals.len() > 3, "no spread: {intervals:?}");
    world.operator.restart().await.unwrap();
    world.token("later", json!({})).await;
    world.settled("later").await;
    let mut after = due(&world).await;
    after.remove("later");
    assert_eq!(after, before);
}

#[tokio::test]
async fn rule_3_a_write_that_fails_is_repeated_with_the_same_token() {
    let world = World::new().await;
    let monitor = world.monitor();
    // The answer comes 1.5 s after the token was issued: time to take the API server away.
    world.github.set_latency(Duration::from_secs(3));
    world.token("demo", json!({"retryInterval": "1s"})).await;
    world.mints(1, SOON).await;
    world.cluster.stop_api_server();
    eventually(SOON, "the write fails", async || {
        let logs = world.operator.logs();
        logs.contains("SecretWriteFailed").then_some(()).ok_or("not yet")
    })
    .await;
    assert_eq!(world.github.mint_count(), 1);
    world.cluster.start_api_server().await.unwrap();
    let token = world.settled("demo").await;
    assert_eq!(*token, *world.github.tokens()[0]);
    assert_eq!(world.github.mint_count(), 1);
    nothing_expired(monitor).await;
}

/// Makes many Tokens due at once, and lets GitHub serve them one by one while `meddle` goes on.
async fn served_in_order(latency: Duration, meddle: impl AsyncFnOnce(&World)) {
    const TOKENS: usize = 30;
    let mut world = World::new().await;
    for n in 0..TOKENS {
        let minutes = 20 + (n * 7) % TOKENS;
        world
            .github
            .set_token_lifetime(Duration::from_secs(60 * minutes as u64));
        let read = json!({"permissions": {"contents": "read"}});
        world.token(&format!("t-{n}"), read).await;
        world.mints(n + 1, SOON).await;
    }
    world.all_ready(TOKENS, SOON).await;
    let former = world.all_tokens().await;
    world.operator.kill();
    world.many(TOKENS, json!({"permissions": {"contents": "write"}})).await;
    world.configure_also("rate_limit: {concurrent: 1, mints_per_minute: 1000}");
    world.github.set_latency(latency);
    world.operator.restart().await.unwrap();
    tokio::join!(meddle(&world), world.mints(2 * TOKENS, SOON));
    eventually(SOON, "each Secret holds its new token", async || {
        let now = world.all_tokens().await;
        let behind = now.iter().find(|(name, token)| former[*name] == **token);
        behind.map_or(Ok(()), |(name, _)| Err(name.clone()))
    })
    .await;
    let mints = world.github.mints();
    let find = |token: &String| mints.iter().find(|mint| *mint.token == **token).unwrap();
    let now = world.all_tokens().await;
    let mut order: Vec<_> = now
        .iter()
        .map(|(name, token)| (find(token).sequence, find(&former[name]).expires_at))
        .collect();
    order.sort_unstable();
    let deadlines: Vec<_> = order.iter().map(|(_, expires_at)| expires_at).collect();
    assert!(deadlines.is_sorted(), "{deadlines:#?}");
    assert_eq!(world.github.mint_count(), 2 * TOKENS);
}

#[tokio::test]
async fn rule_4_of_many_that_are_due_the_one_that_expires_soonest_is_served_first() {
    served_in_order(Duration::from_millis(20), async |_| {}).await;
}

#[tokio::test]
async fn rule_4_who_is_looked_at_while_in_line_or_told_that_it_waits_keeps_its_place() {
    served_in_order(Duration::from_millis(500), async |world| changes(world, 0).await).await;
}

#[tokio::test]
async fn rules_5_and_6_when_github_fails_the_old_token_stays_and_its_end_is_a_condition_of_its_own() {
    let world = World::short(8).await;
    let monitor = world.monitor();
    world.token("demo", json!({"retryInterval": "1s"})).await;
    world.settled("demo").await;
    world.github.fail_while(Some(Route::Mint), Fault::Unavailable(503));
    let ready = world.condition("demo", "Ready", "False", "GitHubUnavailable").await;
    let held = world.token_in("demo").await.unwrap();
    assert!(
        matches!(world.github.token_state(&held), TokenState::Valid { .. }),
        "it is replaced long before it expires"
    );
    assert!(ready.message.contains("is good until"), "{}", ready.message);
    let status = world.status("demo").await;
    assert!(status.condition("Expired").is_none());
    assert!(time(status.next_attempt_at) > issued_at(&status));

    world.condition("demo", "Expired", "True", "TokenExpired").await;
    world.condition("demo", "Ready", "False", "GitHubUnavailable").await;
    assert_eq!(
        world.token_in("demo").await.as_deref(),
        Some(&*held),
        "the Secret stays"
    );
    assert_eq!(world.github.token_state(&held), TokenState::Expired);

    world.github.clear_faults();
    world.good_token("demo", Some(&held)).await;
    world.ready("demo").await;
    assert!(world.status("demo").await.condition("Expired").is_none());
    assert!(world.github.revocations().is_empty(), "no user is cut off");
    nothing_expired(monitor).await;
}

#[tokio::test]
async fn rule_7_a_renamed_secret_is_there_before_the_old_one_goes() {
    let world = World::new().await;
    let monitor = world.monitor();
    world.token("demo", json!({})).await;
    let first = world.settled("demo").await;
    let audit = world.cluster.audit_log().unwrap();
    world.token("demo", json!({"secret": {"name": "other"}})).await;
    world.good_token("other", None).await;
    eventually(SOON, "the old one is gone", async || {
        world.data("demo").await.map_or(Ok(()), |_| Err("still there"))
    })
    .await;
    audit.settle(&world.client).await.unwrap();
    let events = audit.events().unwrap();
    let at = |verb: &str, name: &str| {
        let is_it = |e: &lab::cluster::AuditEvent| e.resource == "secrets" && e.verb == verb && e.name == name;
        events
            .iter()
            .position(is_it)
            .unwrap_or_else(|| panic!("no {verb} of {name}"))
    };
    assert!(at("create", "other") < at("delete", "demo"), "{events:#?}");
    assert!(matches!(world.github.token_state(&first), TokenState::Valid { .. }));
    nothing_expired(monitor).await;
}

#[tokio::test]
async fn rule_8_a_deleted_clustertoken_takes_its_secret_along_and_the_token_is_revoked() {
    let world = World::new().await;
    let monitor = world.monitor();
    let object = json!({"apiVersion": "github.as-code.io/v1", "kind": "ClusterToken",
        "metadata": {"name": "wide"}, "spec": {"secret": {"name": "held", "namespace": world.namespace}}});
    let params = PatchParams::apply("test");
    let all = world.cluster_tokens();
    all.patch("wide", &params, &Patch::Apply(&object)).await.unwrap();
    let token = world.good_token("held", None).await;
    all.delete("wide", &Default::default()).await.unwrap();
    eventually(SOON, "the Secret is gone", async || {
        world.data("held").await.map_or(Ok(()), |_| Err("still there"))
    })
    .await;
    assert_eq!(world.github.token_state(&token), TokenState::Revoked);
    assert_eq!(world.github.mint_count(), 1);
    nothing_expired(monitor).await;
}

/// What a program sees of a machine that slept: its wall clock has gone on, its timers have not.
const SLEEP: SignedDuration = SignedDuration::from_mins(40);

#[tokio::test]
async fn rule_9_what_became_due_while_the_machine_slept_is_replaced_although_no_timer_went_off() {
    let clock = WallClock::new();
    let world = World::with(cluster(), Settings::default(), |operator| clock.of(operator)).await;
    let monitor = world.monitor();
    world.many(5, json!({})).await;
    world.all_ready(5, SOON).await;
    let before = world.all_tokens().await;
    world.github.set_clock_offset(SLEEP);
    clock.shift(SLEEP);
    // Nothing happens in the cluster, and the next alarm is half an hour away.
    world.mints(2 * 5, Duration::from_secs(30)).await;
    eventually(SOON, "every Secret has its new token", async || {
        let now = world.all_tokens().await;
        let same = before.iter().filter(|(name, token)| now.get(*name) == Some(*token));
        match same.count() {
            0 => Ok(()),
            left => Err(format!("{left} have the former one")),
        }
    })
    .await;
    assert_eq!(world.github.mint_count(), 2 * 5);
    nothing_expired(monitor).await;
}

#[tokio::test]
async fn a_wall_clock_that_jumps_back_delays_no_token() {
    let clock = WallClock::new();
    let mut settings = Settings::default();
    settings.knobs.token_lifetime = Duration::from_secs(15);
    let world = World::with(cluster(), settings, |operator| clock.of(operator)).await;
    let monitor = world.monitor();
    world.many(5, json!({})).await;
    world.all_ready(5, SOON).await;
    clock.shift(-SLEEP);
    let (before, lifetime) = (world.github.mint_count(), Duration::from_secs(15));
    world.mints(before + 2 * 5, 3 * lifetime).await;
    nothing_expired(monitor).await;
}

/// A program's wall clock, which can be shifted while the program runs; its timers go on as they did.
struct WallClock(Folder);

impl WallClock {
    fn new() -> Self {
        let clock = WallClock(Folder::new().unwrap());
        clock.shift(SignedDuration::ZERO);
        clock
    }

    fn shift(&self, by: SignedDuration) -> std::path::PathBuf {
        let text = format!("{:+}\n", by.as_secs());
        self.0.write("clock", text.as_bytes()).unwrap()
    }

    fn of(&self, operator: lab::gtm::Builder) -> lab::gtm::Builder {
        operator
            .env("LD_PRELOAD", "libfaketimeMT.so.1")
            .env("LD_LIBRARY_PATH", faketime())
            .env("FAKETIME_TIMESTAMP_FILE", self.shift(SignedDuration::ZERO))
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }
}

/// Where Debian has the library that shifts a program's clock.
fn faketime() -> String {
    let folder = format!("/usr/lib/{}-linux-gnu/faketime", std::env::consts::ARCH);
    let found = std::path::Path::new(&folder).join("libfaketimeMT.so.1").exists();
    assert!(
        found,
        "{folder}/libfaketimeMT.so.1 is missing: apt-get install faketime"
    );
    folder
}

#[tokio::test]
async fn a_probe_that_hangs_keeps_no_token_until_the_former_one_has_expired() {
    let mut world = World::short(16).await;
    world.operator.kill();
    world.configure_also("probe_tokens: true");
    world.operator.restart().await.unwrap();
    let monitor = world.monitor();
    world.github.fail_while(Some(Route::Token), Fault::Hang);
    let probes = || {
        let asked = world.github.requests();
        asked.iter().filter(|request| request.route == Route::Token).count()
    };
    world.token("demo", json!({})).await;
    world.ready("demo").await;
    assert_eq!(probes(), 0, "nothing good is in the Secret meanwhile");
    let first = world.token_in("demo").await;
    world.good_token("demo", first.as_deref()).await;
    nothing_expired(monitor).await;
    assert_eq!(probes(), 1);
}

#[tokio::test]
async fn rule_10_a_secret_with_our_labels_but_no_owner_is_not_ours() {
    let world = World::new().await;
    let labels = json!({label::CREATED_BY: "github-token-manager", label::INSTANCE: "demo"});
    let foreign = json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "demo", "namespace": world.namespace, "labels": labels},
        "stringData": {"token": "precious"}});
    let params = PatchParams::apply("someone");
    world
        .secrets()
        .patch("demo", &params, &Patch::Apply(&foreign))
        .await
        .unwrap();
    let before = world.secrets().get("demo").await.unwrap();
    world.token("demo", json!({})).await;
    world.condition("demo", "Ready", "False", "SecretConflict").await;
    world.delete("demo").await;
    // A Token that comes later has been served when the former one's deletion has.
    world.token("later", json!({})).await;
    world.settled("later").await;
    assert_eq!(world.secrets().get("demo").await.unwrap(), before);
    assert_eq!(world.github.mint_count(), 1);
}
