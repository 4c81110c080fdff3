//! An App object that GitHub has not answered about yet is used, and its Tokens go on as soon as GitHub does.

use std::time::Duration;

use jiff::Timestamp;
use lab::github::{AppKey, Fault, Route, TokenState};
use lab::monitor::{Monitor, Rules};
use lab::wait::eventually;
use serde_json::json;
use tokio::time::sleep;

use super::{SOON, World, in_secret, nothing_expired, of_app};

const DOWN: Fault = Fault::Unavailable(503);

impl World {
    /// The operator is killed and comes back while GitHub is away.
    async fn restart_in_an_outage(&mut self, fault: Fault) {
        self.operator.kill();
        self.github.fail_while(None, fault);
        self.operator.restart().await.expect("the operator starts again");
    }

    async fn until_left(&self, expires: Timestamp, seconds: i64) {
        eventually(2 * SOON, "the tokens are about to expire", async || {
            let left = expires.duration_since(self.github.now());
            (left.as_secs() < seconds).then_some(()).ok_or(format!("{left} left"))
        })
        .await;
    }
}

#[tokio::test]
async fn tokens_of_an_app_object_outlive_a_restart_in_an_outage() {
    let mut world = World::short(40).await;
    world.key_secret("key", &world.good_pem()).await;
    world.app("team", in_secret("key")).await;
    world.many(5, of_app("team")).await;
    world.all_ready(5, SOON).await;
    // The outage itself excuses nothing here: it ends before any token does.
    let rules = Rules {
        recovery: Duration::ZERO,
        ..Rules::default()
    };
    let monitor = Monitor::start(world.cluster.kubeconfig_path(), &world.github, rules);
    let first = world.github.mints().iter().map(|mint| mint.expires_at).min();
    let first = first.expect("tokens were issued");

    world.restart_in_an_outage(DOWN).await;
    let told = world.app_condition("team", "Ready", "False", "GitHubUnavailable").await;
    assert!(told.message.contains("has not taken the App's key yet"), "{told:?}");
    world.app_condition("team", "KeyValid", "True", "").await;
    world.until_left(first, 4).await;
    let mut waiting = 0;
    for n in 0..5 {
        let status = world.status(&format!("t-{n}")).await;
        assert!(status.condition("Stalled").is_none(), "{status:?}");
        waiting += usize::from(
            status
                .condition("Reconciling")
                .is_some_and(|c| c.reason == "GitHubUnavailable"),
        );
    }
    assert_eq!(waiting, 5);

    world.github.clear_faults();
    world.mints(10, SOON).await;
    world.all_ready(5, SOON).await;
    nothing_expired(monitor).await;
    world.app_condition("team", "Ready", "True", "Accepted").await;
}

#[tokio::test]
async fn a_github_that_only_hangs_keeps_no_app_object_from_its_tokens() {
    let mut world = World::new().await;
    world.key_secret("key", &world.good_pem()).await;
    world.operator.kill();
    world.github.fail_while(Some(Route::App), Fault::Hang);
    world.app("team", in_secret("key")).await;
    world.token("t", of_app("team")).await;
    world.operator.restart().await.expect("the operator starts again");
    world.ready("t").await;
    world.good_token("t", None).await;
    world.app_condition("team", "Ready", "False", "GitHubUnavailable").await;
}

#[tokio::test]
async fn a_token_that_names_an_owner_waits_for_the_list_and_goes_on_soon_after_an_outage() {
    let mut world = World::new().await;
    let owner = world.github.installation(67890).expect("the installation").account;
    world.key_secret("key", &world.good_pem()).await;
    world.restart_in_an_outage(DOWN).await;
    let by_owner = json!({"provider": "secret", "keyRef": {"name": "key"}, "installationID": null, "owner": owner});
    world.app("team", by_owner).await;
    world.token("t", of_app("team")).await;
    let told = world
        .condition("t", "Reconciling", "True", "InstallationNotFound")
        .await;
    assert!(told.message.contains("not listed"), "{told:?}");
    assert!(world.status("t").await.condition("Stalled").is_none());
    // Long enough for the pauses to have grown to what they may be.
    sleep(Duration::from_secs(30)).await;
    world.github.clear_faults();
    world.ready("t").await;
    assert_eq!(world.github.mint_count(), 1);
}

#[tokio::test]
async fn a_key_used_in_an_outage_is_given_up_when_github_refuses_it() {
    let mut world = World::new().await;
    let other = AppKey::generate().expect("a key");
    world.key_secret("key", &other.pkcs1_pem()).await;
    world.restart_in_an_outage(DOWN).await;
    world.app("team", in_secret("key")).await;
    world.token("t", of_app("team")).await;
    world.condition("t", "Reconciling", "True", "GitHubUnavailable").await;

    world.github.clear_faults();
    world
        .app_condition("team", "Ready", "False", "AppAuthenticationFailed")
        .await;
    world.condition("t", "Stalled", "True", "AppNotReady").await;
    assert_eq!(world.github.mint_count(), 0);
    world.key_secret("key", &world.good_pem()).await;
    world.ready("t").await;
}

#[tokio::test]
async fn a_new_key_in_an_outage_leaves_the_one_in_use_that_github_has_taken() {
    let world = World::new().await;
    world.key_secret("key", &world.good_pem()).await;
    world.app("team", in_secret("key")).await;
    world.token("t", of_app("team")).await;
    let first = world.settled("t").await;

    world.github.fail_while(Some(Route::App), DOWN);
    let new = AppKey::generate().expect("a key");
    world.key_secret("key", &new.pkcs1_pem()).await;
    let told = world
        .app_condition("team", "KeyValid", "False", "GitHubUnavailable")
        .await;
    assert!(told.message.contains("stays in use"), "{told:?}");
    world.app_condition("team", "Ready", "True", "").await;
    world.request("t", "1").await;
    let second = world.good_token("t", Some(&first)).await;
    assert!(matches!(world.github.token_state(&second), TokenState::Valid { .. }));
}
