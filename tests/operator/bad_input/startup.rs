//! Keys that are none, and no App at all.

use lab::github::AppKey;
use serde_json::json;

use super::fails;
use crate::world::{World, configure};

#[tokio::test]
async fn a_key_that_is_none_or_anothers_is_told_and_the_right_one_is_taken_without_a_restart() {
    let mut world = World::new().await;
    world.token("demo", json!({})).await;
    world.ready("demo").await;
    let old = world.good_token("demo", None).await;
    world.operator.kill();
    world.folder.write("key.pem", "garbage").unwrap();
    world.operator.restart().await.unwrap();
    world.request("demo", "1").await;
    fails(&world, "demo", "InvalidKey", &["not a PEM text", "Private keys"]).await;
    assert_eq!(world.token_in("demo").await.as_deref(), Some(&*old));

    let other = AppKey::generate().unwrap();
    world.folder.write("key.pem", other.pkcs1_pem()).unwrap();
    let parts = ["appID 12345", "private key belong to one App"];
    fails(&world, "demo", "AppAuthenticationFailed", &parts).await;
    assert_eq!(world.token_in("demo").await.as_deref(), Some(&*old));
    assert_eq!(world.github.mint_count(), 1);

    configure(&world.folder, &world.github);
    world.good_token("demo", Some(&old)).await;
    world.ready("demo").await;
}

#[tokio::test]
async fn without_an_app_tokens_say_so_and_go_on_when_one_is_configured() {
    let mut world = World::new().await;
    world.operator.kill();
    world.folder.write("gtm.yaml", "").unwrap();
    world.operator.restart().await.unwrap();
    world.token("demo", json!({})).await;
    let parts = ["spec.appRef is not set", "app_id, installation_id and key in gtm.yaml"];
    fails(&world, "demo", "NoStartupConfig", &parts).await;
    assert_eq!(world.github.mint_count(), 0);
    configure(&world.folder, &world.github);
    world.ready("demo").await;
    world.good_token("demo", None).await;
    assert!(world.operator.process().check_running().is_ok(), "it was not restarted");
}
