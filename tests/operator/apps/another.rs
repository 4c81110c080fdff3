//! An App object that comes to name another App: what it named before is over, whatever becomes of the new one.

use kube::api::{Patch, PatchParams};
use lab::github::{Fault, Route};
use serde_json::{Value, json};

use super::{World, in_secret, of_app};

impl World {
    /// Changes an App as `kubectl patch` would.
    async fn patch_app(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        let patched = self.apps().patch(name, &PatchParams::default(), &patch).await;
        patched.expect("the App is accepted");
    }

    /// Writes into a Secret what is no text.
    async fn binary_secret(&self, name: &str) {
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "data": {"private-key.pem": "/v8="}});
        let params = PatchParams::apply("test").force();
        let written = self.secrets().patch(name, &params, &Patch::Apply(&object)).await;
        written.expect("the Secret is written");
    }
}

/// A world with an App object that works, and a Token of it with its token.
async fn working() -> (World, String) {
    let world = World::new().await;
    world.key_secret("key", &world.good_pem()).await;
    world.app("team", in_secret("key")).await;
    world.token("t", of_app("team")).await;
    let token = world.settled("t").await;
    (world, token)
}

#[tokio::test]
async fn no_token_comes_from_what_an_app_object_named_before() {
    for change in [
        json!({"appID": 1234, "installationID": 1}),
        json!({"installationID": 1}),
        json!({"baseURL": "http://127.0.0.2:1"}),
    ] {
        let (world, first) = working().await;
        let mut spec = change.clone();
        spec["keyRef"] = json!({"name": "absent"});
        world.patch_app("team", spec).await;
        world.app_condition("team", "Ready", "False", "KeyUnavailable").await;
        world.token("fresh", of_app("team")).await;
        world.request("t", "1").await;
        for token in ["fresh", "t"] {
            let told = world.condition(token, "Ready", "False", "AppNotReady").await;
            assert!(told.message.contains("absent"), "{change}: {}", told.message);
        }
        assert_eq!(world.github.mint_count(), 1, "{change}");
        assert_eq!(world.token_in("t").await, Some(first), "what is in the Secret stays");
    }
}

#[tokio::test]
async fn another_installation_in_an_outage_is_the_one_that_is_used() {
    let (world, first) = working().await;
    world.github.install(lab::github::Installation {
        id: 99,
        account: "other".into(),
        repositories: Vec::new(),
        ..Default::default()
    });
    world.github.fail_while(Some(Route::App), Fault::Unavailable(503));
    world.patch_app("team", json!({"installationID": 99})).await;
    world.app_condition("team", "Ready", "False", "GitHubUnavailable").await;
    world.good_token("t", Some(&first)).await;
    let mints = world.github.mints();
    assert_eq!(
        mints.iter().map(|mint| mint.installation).collect::<Vec<_>>(),
        [67_890, 99]
    );
}

#[tokio::test]
async fn a_key_that_is_away_or_no_text_leaves_the_former_one_of_the_same_app_in_use() {
    let (world, mut last) = working().await;
    world.binary_secret("binary").await;
    for (request, (secret, reason)) in [("absent", "KeyUnavailable"), ("binary", "InvalidKey")]
        .into_iter()
        .enumerate()
    {
        world.patch_app("team", json!({"keyRef": {"name": secret}})).await;
        let told = world.app_condition("team", "KeyValid", "False", reason).await;
        assert!(told.message.contains("stays in use"), "{}", told.message);
        world.app_condition("team", "Ready", "True", "").await;
        world.request("t", &request.to_string()).await;
        last = world.good_token("t", Some(&last)).await;
    }
}
