//! Apps that share a load: who issues, who is skipped and why, and that nothing is issued for the sake of balance.

use std::collections::HashSet;
use std::time::Duration;

use github_token_manager::api::names::annotation;
use kube::api::{DeleteParams, Patch, PatchParams};
use lab::github::{AppKey, Fault, GitHub, Installation, Route, Settings, TokenState};
use lab::wait::eventually;
use serde_json::{Value, json};

use super::{SOON, World, in_secret, nothing_expired, of_app};
use crate::check::Report;

/// What our own limit lets through in a minute in these tests.
const A_MINUTE: usize = 8;
/// The other App's installation.
const ELSEWHERE: u64 = 77_777;

/// A world with a second App of the same GitHub and the same account: Apps `a`, whose pool is `pool`, and `b`.
async fn two_apps(pool: Value) -> (World, GitHub) {
    let mut world = World::new().await;
    world.configure_also(&format!("rate_limit: {A_MINUTE}"));
    world.operator.restart().await.expect("the operator starts again");
    let settings = Settings {
        app_id: 22_222,
        client_id: "Iv23liSecond".to_owned(),
        app_slug: "second".to_owned(),
        key: Some(AppKey::generate().expect("a key")),
        installations: vec![Installation {
            id: ELSEWHERE,
            ..Installation::default()
        }],
        ..Settings::default()
    };
    let second = GitHub::start(settings).await.expect("the second App");
    world.github.host(&second);
    world.key_secret("key", &world.good_pem()).await;
    world
        .key_secret("second", &second.key().expect("a key").pkcs1_pem())
        .await;
    world.app("b", of_second("second")).await;
    world.app_condition("b", "Ready", "True", "").await;
    let mut lead = in_secret("key");
    lead["pool"] = pool;
    world.app("a", lead).await;
    world.app_condition("a", "Ready", "True", "").await;
    (world, second)
}

fn of_second(secret: &str) -> Value {
    let mut spec = in_secret(secret);
    spec["appID"] = json!(22_222);
    spec["installationID"] = json!(ELSEWHERE);
    spec
}

fn issued(github: &GitHub) -> HashSet<String> {
    github.mints().iter().map(|mint| mint.token.to_string()).collect()
}

impl World {
    async fn budget(&self, app: &str) -> Option<f64> {
        let label = format!("{}/{app}", self.namespace);
        let metrics = self.operator.metrics().await.expect("metrics");
        metrics.value("github_app_budget_remaining", &[("app", &label)])
    }

    /// Gives `a` a client ID that GitHub does not know.
    async fn break_a(&self) {
        let other = json!({"spec": {"clientID": "Iv23liOther"}});
        let params = PatchParams::default();
        let patched = self.apps().patch("a", &params, &Patch::Merge(&other)).await;
        patched.expect("the App takes another client ID");
        self.app_condition("a", "Ready", "False", "").await;
    }
}

#[tokio::test]
async fn a_pool_issues_more_than_one_app_may_and_each_secret_names_its_issuer() {
    let (mut world, second) = two_apps(json!([{"name": "b"}])).await;
    let monitor = world.monitor();
    world.app_condition("a", "Pool", "True", "Accepted").await;
    assert_eq!(world.budget("a").await, Some(A_MINUTE as f64));
    // Nothing that one App may issue in less than a minute.
    let count = 2 * A_MINUTE - 2;
    world.many(count, of_app("a")).await;
    world.all_ready(count, Duration::from_secs(30)).await;
    let (of_a, of_b) = (issued(&world.github), issued(&second));
    assert_eq!(of_a.len() + of_b.len(), count);
    assert!(
        of_a.len() >= A_MINUTE - 2 && of_b.len() >= A_MINUTE - 2,
        "{} and {}",
        of_a.len(),
        of_b.len()
    );
    let tokens = world.all_tokens().await;
    for (secret, token) in &tokens {
        let issuer = if of_a.contains(token) { "a" } else { "b" };
        let named = world.note(secret, annotation::APP).await;
        assert_eq!(named, Some(format!("{}/{issuer}", world.namespace)), "{secret}");
    }
    assert_eq!(world.budget("b").await, Some((A_MINUTE - of_b.len()) as f64));

    // Neither a restart nor another budget is a reason for a new token.
    world.operator.restart().await.expect("the operator starts again");
    world.app_condition("a", "Pool", "True", "Accepted").await;
    world.all_ready(count, SOON).await;
    eventually(SOON, "what was issued before the restart counts", async || {
        match (world.budget("a").await, world.budget("b").await) {
            (Some(a), Some(b)) if a <= 2.0 && b <= 2.0 => Ok(()),
            left => Err(format!("{left:?}")),
        }
    })
    .await;
    assert_eq!(world.all_tokens().await, tokens);
    assert_eq!(world.github.mint_count() + second.mint_count(), count);
    nothing_expired(monitor).await;

    // A token is revoked at the App that issued it.
    let (name, token) = tokens
        .iter()
        .find(|(_, token)| of_b.contains(*token))
        .expect("one of b");
    world.delete(name).await;
    eventually(SOON, "it is revoked", async || match second.token_state(token) {
        TokenState::Revoked => Ok(()),
        state => Err(format!("{state:?}")),
    })
    .await;
    // An App that is gone has no series, and its tokens are replaced by the others.
    world
        .apps()
        .delete("b", &DeleteParams::default())
        .await
        .expect("b goes");
    eventually(SOON, "the series of b are gone", async || {
        let metrics = world.operator.metrics().await.expect("metrics").to_string();
        let label = format!("app=\"{}/b\"", world.namespace);
        if metrics.contains(&label) { Err(metrics) } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn members_that_do_not_fit_are_skipped_and_named_and_no_token_has_an_error() {
    let pool = json!([{"name": "a"}, {"name": "b"}, {"name": "missing"}, {"name": "elsewhere"}, {"name": "broken"}, {"name": "twin"}]);
    let (world, second) = two_apps(pool).await;
    // A circle: of b, too.
    let mut circle = of_second("second");
    circle["pool"] = json!([{"name": "a"}]);
    world.app("b", circle).await;
    let other = GitHub::start(Settings::default()).await.expect("another GitHub");
    let mut elsewhere = in_secret("key");
    elsewhere["baseURL"] = json!(other.url());
    world.app("elsewhere", elsewhere).await;
    world.app("broken", in_secret("nowhere")).await;
    world.app("twin", in_secret("key")).await;
    let told = eventually(SOON, "each is named with why", async || {
        let status = world.app_status("a").await;
        let pool = status.condition("Pool").cloned().ok_or("no condition")?;
        let all = [
            "a: it is the App itself",
            "missing: there is no App",
            "elsewhere: its baseURL",
            "broken: it is not ready",
            "twin: it is the same",
        ];
        let whole = all.iter().all(|part| pool.message.contains(part));
        if whole { Ok(pool) } else { Err(pool.message) }
    })
    .await;
    assert_eq!((&*told.status, &*told.reason), ("False", "PoolIncomplete"));
    assert!(!told.message.contains("b: it is not installed"), "{}", told.message);
    world.app_condition("b", "Pool", "True", "Accepted").await;
    world.app_condition("a", "Ready", "True", "").await;

    let count = A_MINUTE + 4;
    world.many(count, of_app("a")).await;
    world.all_ready(count, Duration::from_secs(30)).await;
    assert_eq!(
        (other.mint_count(), world.github.mint_count() + second.mint_count()),
        (0, count)
    );
    let events = world.events("t-0").await;
    assert!(events.iter().all(|(reason, _)| reason == "Issued"), "{events:?}");
}

#[tokio::test]
async fn what_one_member_cannot_issue_another_does() {
    let (world, second) = two_apps(json!([{"name": "b"}])).await;
    // b has not the repository, which nobody knows before it is asked.
    let mut installation = second.installation(ELSEWHERE).expect("an installation");
    installation
        .repositories
        .retain(|repository| repository.name != "alpha");
    second.install(installation);
    let spec = json!({"appRef": {"name": "a"}, "permissions": {"contents": "read"}, "repositories": ["alpha"]});
    for n in 0..4 {
        let name = format!("alpha-{n}");
        world.token(&name, spec.clone()).await;
        world.ready(&name).await;
        let events = world.events(&name).await;
        assert!(events.iter().all(|(reason, _)| reason == "Issued"), "{events:?}");
    }
    assert_eq!((world.github.mint_count(), second.mint_count()), (4, 0));

    // GitHub holds a: all go to b, at once.
    world.github.fail_while(
        Some(Route::Mint),
        Fault::SecondaryLimit {
            status: 403,
            retry_after: Some(60),
        },
    );
    for n in 0..4 {
        let name = format!("held-{n}");
        world.token(&name, of_app("a")).await;
        world.ready(&name).await;
    }
    assert_eq!((world.github.mint_count(), second.mint_count()), (4, 4));
    let label = format!("{}/a", world.namespace);
    let metrics = world.operator.metrics().await.expect("metrics");
    assert_eq!(metrics.value("github_gate_holds_total", &[("app", &label)]), Some(1.0));
    assert_eq!(world.budget("a").await, Some(0.0));
    assert!(metrics.value("github_app_signatures_total", &[("app", &label), ("result", "success")]) >= Some(1.0));
}

#[tokio::test]
async fn while_its_own_app_does_not_work_a_token_comes_from_the_pool() {
    let (mut world, second) = two_apps(json!([{"name": "b"}])).await;
    world.break_a().await;
    let spec = json!({"appRef": {"name": "a"}, "owner": "octo-org", "permissions": {"contents": "read"}, "repositories": ["alpha"]});
    world.token("t", spec).await;
    world.ready("t").await;
    assert_eq!((world.github.mint_count(), second.mint_count()), (0, 1));
    let token = world.token_in("t").await.expect("a token");
    assert!(matches!(second.token_state(&token), TokenState::Valid { .. }));
    world.operator.restart().await.expect("the operator starts again");
    world.app_condition("a", "Ready", "False", "").await;
    world
        .token(
            "u",
            json!({"appRef": {"name": "b"}, "permissions": {"contents": "read"}}),
        )
        .await;
    world.ready("u").await;
    world.ready("t").await;
    assert_eq!(world.token_in("t").await, Some(token));
    assert_eq!(second.mint_count(), 2);
}

#[tokio::test]
async fn while_github_does_not_say_where_its_own_app_is_installed_a_token_comes_from_the_pool() {
    let (mut world, second) = two_apps(json!([{"name": "b"}])).await;
    let mut lead = in_secret("key");
    lead["pool"] = json!([{"name": "b"}]);
    lead["installationID"] = Value::Null;
    lead["owner"] = json!("octo-org");
    world.app("a", lead).await;
    eventually(SOON, "the status is about the owner", async || {
        let app = world.apps().get("a").await.map_err(|error| error.to_string())?;
        let seen = app.status.and_then(|status| status.observed_generation);
        (seen == app.metadata.generation)
            .then_some(())
            .ok_or(format!("{seen:?}"))
    })
    .await;
    world.token("before", of_app("a")).await;
    let token = world.settled("before").await;
    let before = world.github.mint_count();

    world.operator.kill();
    world.github.fail_while(Some(Route::App), Fault::Unavailable(503));
    world.operator.restart().await.expect("the operator starts again");
    world.app_condition("a", "Ready", "False", "GitHubUnavailable").await;
    world.token("after", of_app("a")).await;
    world.ready("after").await;
    let others = second.mint_count();
    assert!(others > 0, "b issues");
    world.request("before", "1").await;
    world.good_token("before", Some(&token)).await;
    assert_eq!((world.github.mint_count(), second.mint_count()), (before, others + 1));
}

#[tokio::test]
async fn an_app_that_a_policy_does_not_allow_stands_in_for_none() {
    let (world, second) = two_apps(json!([{"name": "b"}])).await;
    world.token("before", of_app("a")).await;
    world.ready("before").await;
    let token = world.token_in("before").await.expect("a token");
    let policy = json!({"apiVersion": "github.as-code.io/v1", "kind": "TokenPolicy", "metadata": {"name": "a-alone"},
        "spec": {"apps": [format!("{}/a", world.namespace)]}});
    world.cluster.apply(&policy.to_string()).await.expect("the policy");
    world.break_a().await;

    world.token("after", of_app("a")).await;
    // It is told why it waits, and does not wait for b.
    let told = world.condition("after", "Ready", "False", "").await;
    assert!(told.message.contains("Iv23liOther"), "{told:?}");
    world.request("before", "1").await;
    world.condition("before", "Ready", "False", &told.reason).await;
    assert_eq!(world.token_in("before").await, Some(token));
    assert_eq!((world.github.mint_count(), second.mint_count()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_a_token_tries_the_app_that_it_names_and_tells_of_the_pool() {
    let (world, _second) = two_apps(json!([{"name": "b"}])).await;
    world.app_condition("a", "Pool", "True", "Accepted").await;
    world.token("ci", of_app("a")).await;
    let check = || {
        let (config, token) = (world.folder.path().join("gtm.yaml"), format!("{}/ci", world.namespace));
        Report::of(&config, Some(world.cluster.kubeconfig_path()), &["token", &token])
    };
    let whole = check();
    assert!(whole.success);
    whole.expect("pool", "good", "may come from b, too; only a is tried");

    let mut lead = in_secret("key");
    lead["pool"] = json!([{"name": "nowhere"}]);
    world.app("a", lead).await;
    world.app_condition("a", "Pool", "False", "PoolIncomplete").await;
    let part = check();
    assert!(part.success);
    part.expect("pool", "doubtful", "nowhere");
}
