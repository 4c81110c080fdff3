//! Where the App and its key come from, and what happens when they change.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use lab::github::{AppKey, Fault, Installation, Route};
use lab::gtm::{Builder, Operator};
use lab::wait::eventually;
use serde_json::json;

use crate::world::{SOON, World, configure};

/// A further operator for this world, with no configuration yet.
fn operator(world: &World) -> Builder {
    let builder = Operator::builder(env!("CARGO_BIN_EXE_gtm"), world.cluster.kubeconfig_path());
    builder.namespace("default").leader_elect(false)
}

/// Waits until the operator has counted so many looks at a configuration that cannot be used.
pub async fn counted(operator: &Operator, least: f64) {
    let labels = [("controller", "github-app"), ("source", "ghapp")];
    eventually(2 * SOON, &format!("{least} are counted"), async || {
        let metrics = operator.metrics().await.map_err(|error| error.to_string())?;
        let count = metrics.value("config_errors_total", &labels).unwrap_or_default();
        (count >= least).then_some(()).ok_or(format!("{count}"))
    })
    .await;
}

/// Waits until the operator has logged this.
pub async fn logged(operator: &Operator, words: &str) {
    eventually(SOON, words, async || {
        let logs = operator.logs();
        if logs.contains(words) { Ok(()) } else { Err(logs) }
    })
    .await;
}

#[tokio::test]
async fn the_alias_variables_are_enough_and_the_own_names_win_over_them() {
    let world = World::new().await;
    world.operator.kill();
    let pem = world.github.key().unwrap().pkcs1_pem().replace('\n', "\\n");
    let aliases = operator(&world)
        .env("GITHUB_APP_ID", world.github.app_id().to_string())
        .env("GITHUB_INSTALLATION_ID", "67890")
        .env("KMS_PROVIDER", "file")
        .env("GTM_BASE_URL", world.github.url());
    let own = aliases.clone().env("GITHUB_PRIVATE_KEY", pem);
    let running = own.start().await.unwrap();
    world.token("inline", json!({})).await;
    world.ready("inline").await;
    running.terminate(SOON).await.unwrap();

    let key = configure(&world.folder, &world.github).with_file_name("key.pem");
    let by_path = aliases
        .env("KMS_KEY", key)
        .env("GITHUB_APP_ID", "1")
        .env("GTM_APP_ID", world.github.app_id().to_string());
    let _running = by_path.start().await.unwrap();
    world.token("path", json!({})).await;
    world.ready("path").await;
    assert_eq!(world.github.mint_count(), 2);
}

#[tokio::test]
async fn a_changed_file_is_picked_up_and_a_wrong_one_leaves_the_old_in_use() {
    let world = World::new().await;
    world.token("demo", json!({})).await;
    world.ready("demo").await;
    let first = world.good_token("demo", None).await;
    world.github.install(Installation {
        id: 99,
        account: "other".into(),
        repositories: Vec::new(),
        ..Installation::default()
    });
    let file = world.folder.path().join("gtm.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    world.folder.write("gtm.yaml", text.replace("67890", "many")).unwrap();
    logged(&world.operator, "the new configuration is not used").await;
    logged(&world.operator, "many").await;
    assert_eq!(world.token_in("demo").await.as_deref(), Some(&*first));
    world.request("demo", "1").await;
    let second = world.good_token("demo", Some(&first)).await;

    world.folder.write("gtm.yaml", text.replace("67890", "99")).unwrap();
    world.good_token("demo", Some(&second)).await;
    world.ready("demo").await;
    let mints = world.github.mints();
    assert_eq!(
        mints.iter().map(|mint| mint.installation).collect::<Vec<_>>(),
        [67_890, 67_890, 99]
    );
}

/// A world whose operator began with what is made of the right configuration, which comes beside it.
pub async fn begun_with(made: impl FnOnce(&str) -> String) -> (World, String) {
    let mut world = World::new().await;
    world.operator.kill();
    let file = configure(&world.folder, &world.github);
    let right = std::fs::read_to_string(file).unwrap();
    world.folder.write("gtm.yaml", made(&right)).unwrap();
    world.operator.restart().await.unwrap();
    (world, right)
}

#[tokio::test]
async fn a_wrong_file_that_comes_while_no_app_works_is_told_and_counted() {
    let (world, right) = begun_with(|_| "{}".to_owned()).await;
    world.folder.write("gtm.yaml", right.replace("67890", "many")).unwrap();
    for words in ["the startup App does not work", "many"] {
        logged(&world.operator, words).await;
    }
    counted(&world.operator, 3.0).await;
    assert_eq!(
        world.operator.logs().matches("the startup App does not work").count(),
        1,
        "it is not logged each time"
    );

    world.folder.write("gtm.yaml", right).unwrap();
    world.token("demo", json!({})).await;
    world.ready("demo").await;
}

#[tokio::test]
async fn a_file_that_is_emptied_leaves_the_app_in_use_and_is_told_and_counted() {
    let world = World::new().await;
    world.token("demo", json!({})).await;
    let first = world.settled("demo").await;
    let right = std::fs::read_to_string(world.folder.path().join("gtm.yaml")).unwrap();
    world.folder.write("gtm.yaml", right.replace("67890", "many")).unwrap();
    logged(&world.operator, "many").await;
    world.folder.write("gtm.yaml", &right).unwrap();
    logged(&world.operator, "the configuration is as it was again").await;
    // The one comes after the other, and is told all the same.
    for (text, also) in [
        ("{}", "it names no App"),
        (&format!("{right}app-idd: 1\n"), "is ignored; did you mean app_id?"),
    ] {
        world.folder.write("gtm.yaml", text).unwrap();
        logged(&world.operator, also).await;
    }
    let logs = world.operator.logs();
    for part in ["the former one stays in use", "set app_id, installation_id and key"] {
        assert!(logs.contains(part), "{logs}");
    }
    counted(&world.operator, 2.0).await;
    world.request("demo", "1").await;
    world.good_token("demo", Some(&first)).await;
    world.ready("demo").await;
}

#[tokio::test]
async fn a_refusal_of_the_former_app_that_comes_late_does_not_hold_up_the_new_one() {
    let (world, right) = begun_with(|right| right.replace("67890", "99")).await;
    world.github.fail_while(Some(Route::Mint), Fault::Hang);
    world.token("demo", json!({})).await;
    world.folder.write("gtm.yaml", right).unwrap();
    logged(&world.operator, "the configuration has changed and is used from now on").await;
    // Only now the request for the wrong installation is answered: with a refusal that is repeated after 10 min.
    world.github.clear_faults();
    world.ready("demo").await;
    let refused = |request: &lab::github::RequestRecord| request.path.contains("/99/") && request.status == Some(404);
    assert!(world.github.requests().iter().any(refused));
}

#[tokio::test]
async fn a_bad_new_key_leaves_the_old_one_in_use_and_a_good_one_is_used_without_a_mint() {
    let world = World::new().await;
    world.token("demo", json!({})).await;
    world.ready("demo").await;
    let first = world.good_token("demo", None).await;

    let unknown = AppKey::generate().unwrap();
    world.folder.write("key.pem", unknown.pkcs1_pem()).unwrap();
    logged(&world.operator, "the new configuration is not used: GitHub at").await;
    world.request("demo", "1").await;
    let second = world.good_token("demo", Some(&first)).await;

    world.folder.write("key.pem", "garbage").unwrap();
    logged(&world.operator, "is not a PEM text").await;
    world.request("demo", "2").await;
    let third = world.good_token("demo", Some(&second)).await;
    world.ready("demo").await;

    let new = world.github.rotate_key().unwrap();
    world.folder.write("key.pem", new.pkcs8_pem()).unwrap();
    logged(&world.operator, "the configuration has changed and is used from now on").await;
    assert_eq!(world.token_in("demo").await.as_deref(), Some(&*third));
    assert_eq!(world.github.mint_count(), 3);
    world.request("demo", "3").await;
    world.good_token("demo", Some(&third)).await;
    world.ready("demo").await;
}

/// Writes the key into a Secret of the operator's namespace.
async fn key_secret(world: &World, key: &AppKey) {
    let secrets = Api::<Secret>::namespaced(world.client.clone(), "default");
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some("app-key".into()),
            ..ObjectMeta::default()
        },
        string_data: Some(BTreeMap::from([("private-key.pem".to_owned(), key.pkcs1_pem())])),
        ..Secret::default()
    };
    let params = PatchParams::apply("test").force();
    secrets.patch("app-key", &params, &Patch::Apply(&secret)).await.unwrap();
}

#[tokio::test]
async fn a_key_in_a_secret_is_waited_for_used_and_replaced_when_it_is_rotated() {
    let mut world = World::new().await;
    world.operator.kill();
    let text = world.github.gtm_yaml("secret", "app-key");
    world.folder.write("gtm.yaml", text).unwrap();
    world.operator.restart().await.unwrap();
    world.token("demo", json!({})).await;
    let ready = world.condition("demo", "Ready", "False", "KeyUnavailable").await;
    assert!(
        ready
            .message
            .contains("the Secret default/app-key does not exist; create it with the key private-key.pem"),
        "{}",
        ready.message
    );
    key_secret(&world, &world.github.key().unwrap()).await;
    world.ready("demo").await;
    let first = world.good_token("demo", None).await;

    let new = world.github.rotate_key().unwrap();
    key_secret(&world, &new).await;
    world.request("demo", "1").await;
    world.good_token("demo", Some(&first)).await;
    world.ready("demo").await;
    assert_eq!(world.github.mint_count(), 2);
}

#[tokio::test]
async fn with_validate_key_a_key_that_is_none_ends_the_start_with_2() {
    let world = World::new().await;
    let file = configure(&world.folder, &world.github);
    let mut text = std::fs::read_to_string(&file).unwrap();
    text.push_str("validate_key: true\n");
    world.folder.write("gtm.yaml", text).unwrap();
    world.folder.write("key.pem", "garbage").unwrap();
    let refused = operator(&world).config(&file).spawn().unwrap();
    let status = refused.process().wait(SOON).await.unwrap();
    assert_eq!(status.code(), Some(2), "{}", refused.logs());
    assert!(refused.logs().contains("is not a PEM text"), "{}", refused.logs());
}
