//! Two replicas and one Lease.

use std::time::Duration;

use github_token_manager::api::names::LEASE;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use lab::gtm::Operator;
use lab::wait::eventually;
use serde_json::json;
use tokio::time::Instant;

use crate::road::Road;
use crate::world::{REFUSED, SOON, World, cluster, nothing_expired};
use lab::github::{Settings, TokenState};

/// A leader with 20 Tokens, and a standby.
async fn pair(lifetime: u64) -> (World, Operator) {
    let mut settings = Settings::default();
    settings.knobs.token_lifetime = Duration::from_secs(lifetime);
    let world = World::with(cluster(), settings, |operator| operator.leader_elect(true)).await;
    leads(&world.operator, SOON).await;
    let standby = world.replica(|operator| operator.leader_elect(true)).await;
    world.many(20, json!({"retryInterval": "2s"})).await;
    world.all_ready(20, SOON).await;
    assert!(!standby.logs().contains("this replica leads"), "two leaders at once");
    (world, standby)
}

fn lease(world: &World) -> Api<Lease> {
    Api::namespaced(world.client.clone(), "default")
}

async fn leads(operator: &Operator, within: Duration) {
    eventually(within, "this replica leads", async || {
        let logs = operator.logs();
        logs.contains("this replica leads").then_some(()).ok_or("it does not")
    })
    .await;
}

#[tokio::test]
async fn a_standby_takes_over_within_15_seconds_of_a_leader_that_was_killed_and_mints_nothing() {
    let (world, standby) = pair(3_600).await;
    let monitor = world.monitor();
    world.operator.kill();
    leads(&standby, Duration::from_secs(15)).await;
    world.token("later", json!({})).await;
    world.settled("later").await;
    assert_eq!(world.github.mint_count(), 21, "one for each Token");
    nothing_expired(monitor).await;
}

/// A node that starts anew may bring the operator up before its API server.
#[tokio::test]
async fn an_api_server_that_is_away_at_the_start_is_waited_for() {
    let mut world = World::with(cluster(), Settings::default(), |operator| operator.leader_elect(true)).await;
    world.cluster.stop_api_server();
    world.operator.restart().await.unwrap();
    eventually(SOON, "a word about the Lease", async || {
        let logs = world.operator.logs();
        logs.contains("it is tried again").then_some(()).ok_or(logs)
    })
    .await;
    world.cluster.start_api_server().await.unwrap();
    world.token("later", json!({})).await;
    world.settled("later").await;
    world.operator.process().check_running().unwrap();
}

#[tokio::test]
async fn a_leader_that_is_asked_to_end_hands_over_at_once_and_nothing_is_minted() {
    let (world, standby) = pair(3_600).await;
    let monitor = world.monitor();
    let began = Instant::now();
    let status = world.operator.terminate(Duration::from_secs(3)).await.unwrap();
    assert!(status.success(), "{status}");
    leads(&standby, Duration::from_secs(3).saturating_sub(began.elapsed())).await;
    world.token("later", json!({})).await;
    world.settled("later").await;
    assert_eq!(world.github.mint_count(), 21, "one for each Token");
    nothing_expired(monitor).await;
}

#[tokio::test]
async fn the_lease_is_held_until_the_last_token_under_way_is_written() {
    let (world, standby) = pair(3_600).await;
    // Half of it passes before the token is issued, half before it is answered.
    world.github.set_latency(Duration::from_secs(4));
    world.token("slow", json!({})).await;
    world.mints(21, SOON).await;
    let status = world.operator.terminate(SOON).await.unwrap();
    assert!(status.success(), "{status}");
    leads(&standby, SOON).await;
    world.settled("slow").await;
    assert_eq!(world.github.mint_count(), 21, "nobody else issues it meanwhile");
}

#[tokio::test]
async fn a_leader_whose_clock_was_ahead_is_missed_by_the_clock_of_others() {
    let (world, standby) = pair(3_600).await;
    world.operator.kill();
    let renewed = json!({"spec": {"renewTime": "2100-01-01T00:00:00.000000Z"}});
    lease(&world)
        .patch(LEASE, &PatchParams::default(), &Patch::Merge(&renewed))
        .await
        .unwrap();
    leads(&standby, Duration::from_secs(30)).await;
}

#[tokio::test]
async fn a_lease_that_was_deleted_is_made_anew_and_one_replica_leads() {
    let (world, standby) = pair(3_600).await;
    lease(&world).delete(LEASE, &DeleteParams::default()).await.unwrap();
    eventually(SOON, "there is a new Lease", async || {
        let found = lease(&world).get_opt(LEASE).await.expect("the API server answers");
        let holder = found.and_then(|lease| lease.spec?.holder_identity);
        holder.map(drop).ok_or("not yet")
    })
    .await;
    // Long enough for the other one to take it, if it did.
    tokio::time::sleep(Duration::from_secs(5)).await;
    leads(&world.operator, Duration::ZERO).await;
    assert!(!standby.logs().contains("this replica leads"));
    world.token("later", json!({})).await;
    world.settled("later").await;
    assert_eq!(world.github.mint_count(), 21, "one for each Token");
    for operator in [&world.operator, &standby] {
        operator.process().check_running().unwrap();
    }
}

#[tokio::test]
async fn a_leader_that_was_stopped_does_no_harm_when_it_goes_on_and_stops_working() {
    // The lease runs out while tokens are due: their lives are long enough for that.
    let (world, standby) = pair(60).await;
    let monitor = world.monitor();
    world.operator.pause().unwrap();
    leads(&standby, Duration::from_secs(15)).await;
    // Both find the same Tokens changed.
    for n in 0..20 {
        world.request(&format!("t-{n}"), "2026-01-01T00:00:00Z").await;
    }
    world.operator.resume().unwrap();
    eventually(SOON, "the old leader steps down", async || {
        let (logs, ended) = (world.operator.logs(), world.operator.process().exit_status());
        let down = logs.contains("does not lead any more") || ended.is_some();
        down.then_some(()).ok_or("it still leads")
    })
    .await;
    world.mints(40, SOON).await;
    for n in 0..20 {
        world.settled(&format!("t-{n}")).await;
    }
    // At worst the old one had begun with each of them before it knew; from now on there is one voice.
    let counted = world.github.mint_count();
    assert!(counted <= 60, "{counted}");
    world.token("later", json!({})).await;
    world.settled("later").await;
    assert_eq!(world.github.mint_count(), counted + 1);
    nothing_expired(monitor).await;
}

/// A leader whose way to the API server can be cut.
async fn leader_on_a_road() -> (World, Road, Operator) {
    let world = World::with(cluster(), Settings::default(), |operator| operator.leader_elect(true)).await;
    leads(&world.operator, SOON).await;
    let road = Road::to(&world.cluster.url()).await;
    let kubeconfig = road.kubeconfig(&world);
    let cut_off = world
        .replica(|operator| operator.leader_elect(true).env("KUBECONFIG", kubeconfig))
        .await;
    world.operator.terminate(SOON).await.unwrap();
    leads(&cut_off, SOON).await;
    (world, road, cut_off)
}

#[tokio::test]
async fn a_leader_that_is_cut_off_steps_down_by_itself_and_does_not_issue_beside_its_successor() {
    let (world, road, cut_off) = leader_on_a_road().await;
    world.many(20, json!({"retryInterval": "2s"})).await;
    world.all_ready(20, SOON).await;
    let monitor = world.monitor();
    let standby = world.replica(|operator| operator.leader_elect(true)).await;
    let began = Instant::now();
    road.cut();
    for n in 0..20 {
        world.request(&format!("t-{n}"), "2026-01-01T00:00:00Z").await;
    }
    eventually(Duration::from_secs(12), "it steps down", async || {
        let logs = cut_off.logs();
        logs.contains("does not lead any more").then_some(()).ok_or("it leads")
    })
    .await;
    leads(&standby, Duration::from_secs(15).saturating_sub(began.elapsed())).await;
    world.mints(40, SOON).await;
    for n in 0..20 {
        world.settled(&format!("t-{n}")).await;
    }
    road.mend();
    world.token("later", json!({})).await;
    world.settled("later").await;
    assert_eq!(
        world.github.mint_count(),
        41,
        "one for each Token, one for each request"
    );
    cut_off.process().check_running().unwrap();
    nothing_expired(monitor).await;
}

#[tokio::test]
async fn a_leader_that_steps_down_with_tokens_that_it_could_not_write_tells_of_them() {
    for silent in [false, true] {
        let (world, road, cut_off) = leader_on_a_road().await;
        world.refuse_team().await;
        let refused = json!({"secret": {"labels": {"team": REFUSED}}});
        world.token("demo", refused).await;
        world.condition("demo", "Ready", "False", "SecretWriteFailed").await;
        let [token] = &world.github.tokens()[..] else {
            panic!("one token is issued")
        };
        if silent {
            road.fall_silent()
        } else {
            road.cut()
        }
        let abandoned = [("result", "abandoned")];
        eventually(2 * SOON, "it is counted", async || {
            let metrics = cut_off.metrics().await.map_err(|error| error.to_string())?;
            let counted = metrics.value("token_revocations_total", &abandoned) == Some(1.0);
            counted.then_some(()).ok_or(metrics.to_string())
        })
        .await;
        let (logs, hash) = (cut_off.logs(), lab::github::hashed(token));
        let told = |line: &&str| line.contains("stays valid until it expires") && line.contains(&hash);
        assert_eq!(logs.lines().filter(told).count(), 1, "{logs}");
        assert!(matches!(world.github.token_state(token), TokenState::Valid { .. }));
    }
}

/// One that was cut off from the API server comes back with a token that it got before its successor got one.
#[tokio::test]
async fn a_former_leader_does_not_write_an_older_token_over_a_later_one() {
    let world = World::with(cluster(), Settings::default(), |operator| operator).await;
    world.token("one", json!({})).await;
    let first = world.settled("one").await;
    let former = world.replica(|operator| operator).await;
    world.operator.pause().unwrap();
    world.github.set_latency(Duration::from_secs(6));
    world.request("one", "2026-01-01T00:00:00Z").await;
    // GitHub has issued it and does not say so yet.
    world.mints(2, SOON).await;
    former.pause().unwrap();
    world.github.set_latency(Duration::ZERO);
    // Tokens' times have whole seconds.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    world.operator.resume().unwrap();
    let later = world.good_token("one", Some(&first)).await;
    former.resume().unwrap();
    eventually(SOON, "the former leader leaves its token", async || {
        let logs = former.logs();
        logs.contains("revoked a token that was not written")
            .then_some(())
            .ok_or(logs)
    })
    .await;
    assert_eq!(world.settled("one").await, later);
    assert_eq!(world.github.token_state(&world.github.tokens()[1]), TokenState::Revoked);
    assert_eq!(
        world.github.mint_count(),
        3,
        "one for the Secret, one each for the request"
    );
}
