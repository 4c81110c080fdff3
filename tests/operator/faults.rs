//! What goes wrong around the operator: it is killed, the API server goes away, GitHub fails in every way it can.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use lab::github::{Fault, Route, Settings, TokenState};
use lab::monitor::{Monitor, Rules};
use lab::wait::eventually;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::world::{SOON, World, cluster, nothing_expired};

/// Short lives want short waits.
fn impatient() -> serde_json::Value {
    json!({"retryInterval": "1s"})
}

#[tokio::test]
async fn killed_between_mint_and_secret_no_token_that_is_known_is_issued_again() {
    let mut world = World::new().await;
    let monitor = world.monitor();
    // The mint counts after half of it: killed before the answer, while it comes, while the Secret is written, and later.
    world.github.set_latency(Duration::from_millis(100));
    for (n, delay) in [0, 30, 50, 53, 56, 60, 65, 75, 100].into_iter().enumerate() {
        let (name, before) = (format!("kill-{n}"), world.github.mint_count());
        world.token(&name, json!({})).await;
        let deadline = Instant::now() + SOON;
        while world.github.mint_count() == before {
            assert!(Instant::now() < deadline, "no mint");
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_millis(delay)).await;
        world.operator.kill();
        let written = world.token_in(&name).await;
        world.operator.restart().await.unwrap();
        let token = world.settled(&name).await;
        let mints = world.github.mint_count() - before;
        match written {
            Some(written) => assert_eq!((written, mints), (token, 1), "{delay} ms: the Secret knew it"),
            None => assert_eq!(mints, 2, "{delay} ms: the first one was lost with the process"),
        }
    }
    nothing_expired(monitor).await;
}

#[tokio::test]
async fn killed_between_secret_and_status_the_status_is_settled_and_nothing_is_minted() {
    let mut world = World::new().await;
    let monitor = world.monitor();
    for n in 0..3 {
        let name = format!("kill-{n}");
        world.token(&name, json!({})).await;
        let written = world.good_token(&name, None).await;
        world.operator.kill();
        // Whether it came so far or not: now the status was never written.
        let none = json!({"status": null});
        let params = PatchParams::default();
        world
            .tokens()
            .patch_status(&name, &params, &Patch::Merge(&none))
            .await
            .unwrap();
        assert!(world.status(&name).await.conditions.is_empty());
        world.operator.restart().await.unwrap();
        assert_eq!(world.settled(&name).await, written);
        assert_eq!(world.github.mint_count(), n + 1);
    }
    nothing_expired(monitor).await;
}

#[tokio::test]
async fn the_api_server_is_killed_again_and_again_under_load_and_no_token_expires() {
    let world = World::short(20).await;
    let monitor = world.monitor();
    world.many(120, impatient()).await;
    world.all_ready(120, 2 * SOON).await;
    for round in 2..4 {
        world.cluster.restart_api_server().await.unwrap();
        world.mints(round * 120, 2 * SOON).await;
    }
    world.all_ready(120, SOON).await;
    nothing_expired(monitor).await;
}

#[tokio::test]
async fn the_api_server_is_away_for_longer_than_a_renewal_and_all_tokens_are_good_soon_after() {
    let world = World::short(12).await;
    let monitor = world.monitor();
    world.many(20, impatient()).await;
    world.all_ready(20, SOON).await;
    let before = world.all_tokens().await;
    world.cluster.stop_api_server();
    for token in before.values() {
        eventually(SOON, "the end of every token", async || {
            match world.github.token_state(token) {
                TokenState::Expired => Ok(()),
                state => Err(format!("{state:?}")),
            }
        })
        .await;
    }
    // What could not be written is kept, not issued again and again: one for each Token, and one more when that expired.
    assert!(world.github.mint_count() <= 3 * 20, "{}", world.github.mint_count());
    world.cluster.start_api_server().await.unwrap();
    for name in before.keys() {
        world.good_token(name, before.get(name).map(String::as_str)).await;
    }
    world.all_ready(20, SOON).await;
    nothing_expired(monitor).await;
}

/// A failure of GitHub, what the status calls it, and how long it lasts.
struct Trouble {
    fault: Fault,
    reason: &'static str,
}

fn troubles() -> Vec<Trouble> {
    let trouble = |fault, reason| Trouble { fault, reason };
    let two = Duration::from_secs(2);
    vec![
        trouble(Fault::Unavailable(500), "GitHubUnavailable"),
        trouble(Fault::HtmlErrorPage(502), "GitHubUnavailable"),
        trouble(Fault::HtmlErrorPage(404), "InvalidAnswer"),
        trouble(Fault::CloseConnection, "GitHubUnavailable"),
        trouble(Fault::Truncated, "GitHubUnavailable"),
        trouble(Fault::Garbage, "InvalidAnswer"),
        trouble(Fault::ExpiredToken, "InvalidAnswer"),
        trouble(
            Fault::SecondaryLimit {
                status: 403,
                retry_after: Some(2),
            },
            "SecondaryRateLimited",
        ),
        trouble(
            Fault::PrimaryLimit {
                status: 429,
                reset_in: two,
            },
            "RateLimited",
        ),
    ]
}

#[tokio::test]
async fn github_fails_in_every_way_amid_200_tokens_and_all_recover() {
    all_recover(troubles(), Rules::default()).await;
}

#[tokio::test]
async fn github_hangs_for_longer_than_anyone_waits_amid_200_tokens_and_all_recover() {
    let hang = Trouble {
        fault: Fault::Hang,
        reason: "GitHubUnavailable",
    };
    // All of them have expired by the time that the first is given up, and all are issued anew.
    let rules = Rules {
        recovery: Duration::from_secs(10),
        ..Rules::default()
    };
    all_recover(vec![hang], rules).await;
}

async fn all_recover(troubles: Vec<Trouble>, rules: Rules) {
    const TOKENS: usize = 200;
    let world = World::short(20).await;
    let monitor = Monitor::start(world.cluster.kubeconfig_path(), &world.github, rules);
    world.many(TOKENS, impatient()).await;
    world.all_ready(TOKENS, 2 * SOON).await;
    for Trouble { fault, reason } in troubles {
        let before = world.github.counts().requests;
        let began = Instant::now();
        world.github.fail_while(Some(Route::Mint), fault.clone());
        let troubled = async || {
            let all = world
                .tokens()
                .list(&Default::default())
                .await
                .map_err(|e| e.to_string())?;
            let statuses = all.into_iter().filter_map(|token| token.status);
            let mut failed = statuses.filter(|s| s.condition("Ready").is_some_and(|c| c.status == "False"));
            let status = failed.next().ok_or("nothing has failed")?;
            let ready = status.condition("Ready").unwrap();
            match (ready.reason == reason, status.next_attempt_at) {
                (true, Some(_)) => Ok(()),
                _ => Err(format!("{status:?}")),
            }
        };
        // A token is due after a while, and a request that hangs is given up half a minute later.
        eventually(4 * SOON, &format!("{fault:?} is told"), troubled).await;
        let (asked, took) = (world.github.counts().requests - before, began.elapsed().as_secs());
        assert!(
            asked < 200 + 100 * took,
            "a hot loop: {asked} requests in {took} s of {fault:?}"
        );
        world.github.clear_faults();
        world.all_ready(TOKENS, 2 * SOON).await;
    }
    nothing_expired(monitor).await;
}

#[tokio::test]
async fn an_answer_that_is_no_good_token_never_replaces_one() {
    let world = World::new().await;
    world.token("demo", impatient()).await;
    let mut good = world.settled("demo").await;
    for (n, fault) in [Fault::ExpiredToken, Fault::Garbage, Fault::Truncated]
        .into_iter()
        .enumerate()
    {
        world.github.fail_while(Some(Route::Mint), fault.clone());
        world.request("demo", &format!("2026-01-01T00:00:0{n}Z")).await;
        world.condition("demo", "Ready", "False", "").await;
        assert_eq!(world.token_in("demo").await.as_deref(), Some(&*good), "{fault:?}");
        world.github.clear_faults();
        world.good_token("demo", Some(&good)).await;
        good = world.settled("demo").await;
    }
}

#[tokio::test]
async fn a_secondary_limit_without_retry_after_holds_the_whole_app_for_a_minute() {
    let world = World::new().await;
    let monitor = world.monitor();
    world.many(20, json!({})).await;
    world.all_ready(20, SOON).await;
    let before = world.github.counts().requests;
    let limit = Fault::SecondaryLimit {
        status: 403,
        retry_after: None,
    };
    world.github.fail_while(Some(Route::Mint), limit);
    for n in 0..20 {
        world.request(&format!("t-{n}"), "2026-01-01T00:00:00Z").await;
    }
    let failed = world.condition("t-0", "Ready", "False", "SecondaryRateLimited");
    failed.await;
    let next = world.status("t-0").await.next_attempt_at.unwrap();
    let wait = jiff::Timestamp::from(next).duration_since(world.github.now()).as_secs();
    assert!((50..=61).contains(&wait), "{wait} s");
    world.github.clear_faults();
    world.token("late", json!({})).await;
    let began = Instant::now();
    world.mints(41, Duration::from_secs(90)).await;
    assert!(began.elapsed().as_secs() >= 45, "{:?}", began.elapsed());
    world.all_ready(21, SOON).await;
    // At most all that were under way, once, and then the mints themselves.
    let asked = world.github.counts().requests - before;
    assert!(asked <= 20 + 21, "{asked} requests");
    nothing_expired(monitor).await;
}

#[tokio::test]
async fn an_outage_that_ends_shortly_before_the_tokens_do_is_found_in_time() {
    let world = World::short(20).await;
    // The outage itself excuses nothing here: it ends before any token does.
    let rules = Rules {
        recovery: Duration::ZERO,
        ..Rules::default()
    };
    // The default retryInterval: the back-off grows as it likes.
    world.many(40, json!({})).await;
    world.all_ready(40, SOON).await;
    let monitor = Monitor::start(world.cluster.kubeconfig_path(), &world.github, rules);
    world.github.fail_while(Some(Route::Mint), Fault::Unavailable(503));
    let first = world.github.mints().iter().map(|mint| mint.expires_at).min().unwrap();
    eventually(SOON, "three seconds before the first token expires", async || {
        let left = first.duration_since(world.github.now());
        (left.as_secs() < 3).then_some(()).ok_or(format!("{left} left"))
    })
    .await;
    world.github.clear_faults();
    world.mints(80, SOON).await;
    world.all_ready(40, SOON).await;
    nothing_expired(monitor).await;
}

#[tokio::test]
async fn one_broken_token_never_holds_up_another() {
    let world = World::short(12).await;
    let monitor = world.monitor();
    world
        .token("greedy", json!({"permissions": {"administration": "admin"}}))
        .await;
    world.token("lost", json!({"repositories": ["nowhere"]})).await;
    world.token("nobody", json!({"installationID": 4711})).await;
    for (name, reason) in [
        ("greedy", "PermissionsNotGranted"),
        ("lost", "RepositoryNotAccessible"),
        ("nobody", "InstallationNotFound"),
    ] {
        world.condition(name, "Ready", "False", reason).await;
        assert!(world.status(name).await.next_attempt_at.is_some());
    }
    world.many(10, json!({})).await;
    world.mints(30, 2 * SOON).await;
    let asked = world.github.requests();
    let refused = asked
        .iter()
        .filter(|r| r.route == Route::Mint && r.status != Some(201))
        .count();
    assert!(refused <= 6, "{refused} requests for what GitHub refuses");
    nothing_expired(monitor).await;
}

#[tokio::test]
async fn githubs_clock_ten_minutes_off_either_way_makes_no_difference() {
    for minutes in [-10, 10] {
        let mut settings = Settings::default();
        settings.knobs.clock_offset = jiff::SignedDuration::from_mins(minutes);
        let mut world = World::with(cluster(), settings, |operator| operator).await;
        let monitor = world.monitor();
        world.many(5, json!({})).await;
        world.all_ready(5, SOON).await;
        let issued = world.all_tokens().await;
        world.operator.restart().await.unwrap();
        world.token("later", json!({})).await;
        world.settled("later").await;
        assert_eq!(world.github.mint_count(), 6, "{minutes} min: a restart issues nothing");
        for (name, token) in issued {
            assert_eq!(world.token_in(&name).await, Some(token));
        }
        world.github.set_token_lifetime(Duration::from_secs(8));
        world.token("short", json!({})).await;
        world.mints(6 + 3, SOON).await;
        assert!(
            world.github.mint_count() < 12,
            "{minutes} min: {}",
            world.github.mint_count()
        );
        nothing_expired(monitor).await;
    }
}

#[tokio::test]
async fn a_healthy_world_writes_nothing_and_asks_github_nothing() {
    let make = |operator: lab::gtm::Builder| operator.leader_elect(true);
    let mut world = World::with(cluster().with_audit_log(), Settings::default(), make).await;
    world.many(20, json!({})).await;
    world.all_ready(20, SOON).await;
    let audit = world.cluster.audit_log().unwrap();
    let asked = world.github.counts().requests;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.github.counts().requests, asked);
    world.operator.terminate(SOON).await.unwrap();
    world.operator.restart().await.unwrap();
    eventually(SOON, "the operator leads again", async || {
        let terms = world.operator.logs().matches("this replica leads").count();
        (terms > 1).then_some(()).ok_or("not yet")
    })
    .await;
    sleep(Duration::from_secs(3)).await;
    audit.settle(&world.client).await.unwrap();
    let writes = audit
        .writes(|event| event.user_agent.starts_with("github-token-manager"))
        .unwrap();
    let writes: Vec<_> = writes.keys().filter(|write| write.resource != "leases").collect();
    assert!(writes.is_empty(), "{writes:#?}");
    assert_eq!(world.github.mint_count(), 20);
}
