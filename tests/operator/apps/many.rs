//! More App objects than an API server allows requests on one connection.

use std::ops::Range;

use futures::{StreamExt, stream};
use kube::api::ListParams;
use lab::github::{AppKey, Settings};

use super::{World, in_secret, of_app};
use crate::world::{SOON, cluster};

const MANY: usize = 150;

impl World {
    /// Applies these Apps, `app-0` and so on, each with its key in the Secret that it is given, and waits until they work. Returns
    /// how much memory the operator has then, in KiB.
    async fn many_apps(&self, numbers: Range<usize>, secret: impl Fn(usize) -> &'static str) -> usize {
        let apply = async |n: usize| self.app(&format!("app-{n}"), in_secret(secret(n))).await;
        stream::iter(numbers.clone()).for_each_concurrent(16, apply).await;
        for n in numbers {
            self.app_condition(&format!("app-{n}"), "Ready", "True", "").await;
        }
        let resident = self.operator.usage().expect("the operator runs").resident;
        usize::try_from(resident / 1024).expect("a size")
    }
}

#[tokio::test]
async fn many_apps_hold_up_neither_the_lease_nor_tokens_and_each_hears_of_its_new_key() {
    let world = World::with(cluster().with_audit_log(), Settings::default(), |operator| {
        operator.leader_elect(true)
    })
    .await;
    let last = format!("app-{}", MANY - 1);
    for secret in ["key", "last"] {
        world.key_secret(secret, &world.good_pem()).await;
    }
    let secret = |n| if n == MANY - 1 { "last" } else { "key" };
    let few = world.many_apps(0..10, secret).await;
    let each = world.many_apps(10..MANY, secret).await.saturating_sub(few) / (MANY - 10);
    // 130 without optimization; with an HTTP client of its own each takes a hundred more.
    assert!(each < 180, "{each} KiB for each App");
    world.token("plain", serde_json::json!({})).await;
    world.ready("plain").await;
    world.token("of-last", of_app(&last)).await;
    world.ready("of-last").await;

    let other = AppKey::generate().expect("a key");
    world.key_secret("last", &other.pkcs1_pem()).await;
    world
        .app_condition(&last, "KeyValid", "False", "AppAuthenticationFailed")
        .await;
    world.key_secret("last", &world.good_pem()).await;
    world.app_condition(&last, "KeyValid", "True", "").await;
    let leads = world.operator.metrics().await.expect("metrics are served");
    assert_eq!(leads.value("github_token_manager_leader", &[]), Some(1.0));
}

#[tokio::test]
async fn apps_that_come_cost_nothing_of_tokens_that_wait_for_another_one() {
    const TOKENS: usize = 20;
    let world = World::new().await;
    world.key_secret("key", &world.good_pem()).await;
    world.many(TOKENS, of_app("none")).await;
    for n in 0..TOKENS {
        world
            .condition(&format!("t-{n}"), "Ready", "False", "AppNotFound")
            .await;
    }
    let versions = async || {
        let all = world
            .tokens()
            .list(&ListParams::default())
            .await
            .expect("they are listed");
        all.into_iter()
            .map(|token| token.metadata.resource_version)
            .collect::<Vec<_>>()
    };
    let before = versions().await;
    for n in 0..5 {
        let name = format!("other-{n}");
        world.app(&name, in_secret("key")).await;
        world.app_condition(&name, "Ready", "True", "").await;
    }
    assert_eq!(versions().await, before);
    world.app("none", in_secret("key")).await;
    world.all_ready(TOKENS, SOON).await;
}
