//! What an App object is told: its own fields, and no more of the network than it has to know.

use github_token_manager::api::App;
use kube::api::{Patch, PatchParams};
use lab::github::AppKey;
use serde_json::json;

use super::{World, in_secret};

#[tokio::test]
async fn what_is_wrong_with_an_app_object_is_told_by_its_own_fields() {
    let world = World::new().await;
    world.key_secret("key", &world.good_pem()).await;
    let other = json!({"provider": "secret", "keyRef": {"name": "key", "key": "other.pem"}});
    world.app("no-key", other).await;
    let told = world.app_condition("no-key", "Ready", "False", "KeyUnavailable").await;
    let is_its_own =
        told.message.starts_with("spec.keyRef: ") && told.message.contains("name the key in spec.keyRef.key");
    assert!(is_its_own, "{}", told.message);

    let mut bundled = in_secret("key");
    bundled["caBundle"] = "nonsense".into();
    world.app("bundled", bundled).await;
    let told = world.app_condition("bundled", "Ready", "False", "InvalidSpec").await;
    assert!(
        told.message.starts_with("spec.caBundle holds no certificate"),
        "{}",
        told.message
    );
    world.app_condition("bundled", "KeyValid", "Unknown", "Pending").await;
}

#[tokio::test]
async fn a_ca_bundle_beyond_its_bound_is_refused_by_the_api_server() {
    let world = World::new().await;
    let object = json!({"apiVersion": "github.as-code.io/v1", "kind": "App", "metadata": {"name": "large"},
        "spec": {"appID": 1, "provider": "secret", "keyRef": {"name": "key"}, "caBundle": "x".repeat(32_769)}});
    let params = PatchParams::apply("test").force();
    let applied = world
        .apps()
        .patch("large", &params, &Patch::<&serde_json::Value>::Apply(&object))
        .await;
    let refused = applied
        .map(|app: App| app.spec)
        .expect_err("it is too long")
        .to_string();
    assert!(refused.contains("caBundle") && refused.contains("32768"), "{refused}");
}

#[tokio::test]
async fn what_answers_at_an_address_that_an_app_has_chosen_is_quoted_in_the_operators_namespace_alone() {
    let world = World::new().await;
    let other = AppKey::generate().expect("a key");
    world.key_secret("other", &other.pkcs1_pem()).await;
    world.app("same-address", in_secret("other")).await;
    let quoted = world
        .app_condition("same-address", "Ready", "False", "AppAuthenticationFailed")
        .await;
    let said = "A JSON web token could not be decoded";
    assert!(quoted.message.contains(said), "{}", quoted.message);

    // The same stand-in, by another name.
    let mut elsewhere = in_secret("other");
    elsewhere["baseURL"] = world.github.url().replace("127.0.0.1", "localhost").into();
    world.app("elsewhere", elsewhere).await;
    let unquoted = world
        .app_condition("elsewhere", "Ready", "False", "AppAuthenticationFailed")
        .await;
    assert!(
        unquoted.message.contains("its message is not shown") && !unquoted.message.contains(said),
        "{}",
        unquoted.message
    );
}
