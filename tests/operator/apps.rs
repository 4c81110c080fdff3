//! App objects: keys of tenants, what their status says, and that one App's trouble is nobody else's.

mod another;
mod hostile;
mod many;
mod newer;
mod outage;
mod pool;
mod said;

use std::time::Duration;

use github_token_manager::api::{App, AppStatus, Condition};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use lab::github::AppKey;
use lab::wait::eventually;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::world::{SOON, World, nothing_expired};

impl World {
    fn apps(&self) -> Api<App> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies an App of the test's namespace; `spec` is laid over what fits the stand-in.
    pub async fn app(&self, name: &str, spec: Value) {
        let mut whole = json!({"appID": self.github.app_id(), "installationID": 67890, "baseURL": self.github.url()});
        for (field, value) in spec.as_object().expect("a map") {
            whole[field] = value.clone();
        }
        let object = json!({"apiVersion": "github.as-code.io/v1", "kind": "App",
            "metadata": {"name": name, "namespace": self.namespace}, "spec": whole});
        let params = PatchParams::apply("test").force();
        let applied = self.apps().patch(name, &params, &Patch::Apply(&object)).await;
        applied.expect("the App is accepted");
    }

    /// Writes a private key into a Secret.
    pub async fn key_secret(&self, name: &str, pem: &str) {
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "stringData": {"private-key.pem": pem}});
        let params = PatchParams::apply("test").force();
        let secrets: Api<Secret> = self.secrets();
        secrets
            .patch(name, &params, &Patch::Apply(&object))
            .await
            .expect("the Secret is written");
    }

    async fn app_status(&self, name: &str) -> AppStatus {
        self.apps()
            .get(name)
            .await
            .expect("the App exists")
            .status
            .unwrap_or_default()
    }

    pub async fn app_condition(&self, name: &str, kind: &str, status: &str, reason: &str) -> Condition {
        eventually(SOON, &format!("{name}: {kind}={status} {reason}"), async || {
            let now = self.app_status(name).await;
            match now.condition(kind) {
                Some(c) if c.status == status && (reason.is_empty() || c.reason == reason) => Ok(c.clone()),
                _ => Err(format!("{now:?}")),
            }
        })
        .await
    }

    pub fn good_pem(&self) -> String {
        self.github.key().expect("the App has a key").pkcs1_pem()
    }
}

pub fn of_app(name: &str) -> Value {
    json!({"appRef": {"name": name}, "permissions": {"contents": "read"}})
}

pub fn in_secret(name: &str) -> Value {
    json!({"provider": "secret", "keyRef": {"name": name}})
}

#[tokio::test]
async fn a_token_waits_for_its_app_and_goes_on_within_a_second_when_that_works() {
    let world = World::new().await;
    world.token("t", of_app("team")).await;
    world.condition("t", "Ready", "False", "AppNotFound").await;
    world.app("team", in_secret("key")).await;
    let wrong = world.app_condition("team", "Ready", "False", "KeyUnavailable").await;
    assert!(
        wrong.message.contains("key") && wrong.message.contains(&world.namespace),
        "{}",
        wrong.message
    );
    let waits = world.condition("t", "Ready", "False", "AppNotReady").await;
    assert!(
        waits.message.contains("spec.appRef") && waits.message.contains("team"),
        "{}",
        waits.message
    );
    assert_eq!(world.github.mint_count(), 0);

    world.key_secret("key", &world.good_pem()).await;
    world.app_condition("team", "Ready", "True", "").await;
    let since = Instant::now();
    world.ready("t").await;
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    world.good_token("t", None).await;
}

#[tokio::test]
async fn the_status_of_an_app_says_what_github_says() {
    let world = World::new().await;
    let key = world.github.key().expect("a key");
    world.key_secret("key", &key.pkcs8_pem()).await;
    world.app("team", in_secret("key")).await;
    world.app_condition("team", "Ready", "True", "").await;
    world.app_condition("team", "KeyValid", "True", "").await;
    let status = world.app_status("team").await;
    assert_eq!(status.fingerprint, Some(format!("SHA256:{}", key.fingerprint())));
    assert!(status.slug.is_some_and(|slug| !slug.is_empty()));
    let installation = world.github.installation(67890).expect("the installation");
    let shown = status
        .installations
        .iter()
        .find(|found| found.id == 67890)
        .expect("it is shown");
    assert_eq!(shown.account.as_deref(), Some(&*installation.account));
    assert!(shown.permissions.contains_key("contents"));

    // A key that is not this App's.
    let other = AppKey::generate().expect("a key");
    world.key_secret("other", &other.pkcs1_pem()).await;
    world.app("wrong", in_secret("other")).await;
    world
        .app_condition("wrong", "Ready", "False", "AppAuthenticationFailed")
        .await;
    eventually(SOON, "an Event says so, too", async || {
        let events = world.events("wrong").await;
        let told = events.iter().any(|(reason, _)| reason == "AppAuthenticationFailed");
        if told { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_new_key_is_taken_up_and_a_bad_one_leaves_the_former_in_use() {
    let world = World::new().await;
    world.key_secret("key", &world.good_pem()).await;
    world.app("team", in_secret("key")).await;
    world.token("t", of_app("team")).await;
    world.ready("t").await;
    let first = world.good_token("t", None).await;

    world
        .key_secret("key", "-----BEGIN RSA PRIVATE KEY-----\nnonsense")
        .await;
    let refused = world.app_condition("team", "KeyValid", "False", "InvalidKey").await;
    assert!(refused.message.contains("stays in use"), "{}", refused.message);
    world.app_condition("team", "Ready", "True", "").await;
    world.request("t", "1").await;
    let second = world.good_token("t", Some(&first)).await;

    let new = AppKey::generate().expect("a key");
    world.key_secret("key", &new.pkcs1_pem()).await;
    world
        .app_condition("team", "KeyValid", "False", "AppAuthenticationFailed")
        .await;
    let mints = world.github.mint_count();
    world.github.add_key(new.clone());
    world.key_secret("key", &new.pkcs8_pem()).await;
    world.app_condition("team", "KeyValid", "True", "").await;
    eventually(SOON, "the new key's fingerprint", async || {
        let found = world.app_status("team").await.fingerprint;
        if found == Some(format!("SHA256:{}", new.fingerprint())) {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await;
    assert_eq!(
        world.github.mint_count(),
        mints,
        "a new key is no reason for a new token"
    );
    assert_eq!(world.token_in("t").await, Some(second));
}

#[tokio::test]
async fn the_operators_keys_are_for_the_namespaces_that_are_allowed() {
    let world = World::new().await;
    let path = world
        .folder
        .write("tenant.pem", world.good_pem().as_bytes())
        .expect("a key");
    let path = path.display().to_string();
    world.app("team", json!({"provider": "file", "key": path})).await;
    world.token("t", of_app("team")).await;
    let refused = world.app_condition("team", "Ready", "False", "KeyNotAllowed").await;
    assert!(refused.message.contains("allowed_keys"), "{}", refused.message);
    let waits = world.condition("t", "Ready", "False", "AppNotReady").await;
    assert!(waits.message.contains("allowed_keys"), "{}", waits.message);

    // Not by a detour, and not as bytes.
    let detour = format!("{}/../{}", world.folder.path().display(), "tenant.pem");
    world.app("detour", json!({"provider": "file", "key": detour})).await;
    world.app_condition("detour", "Ready", "False", "InvalidSpec").await;
    world.key_secret("path", &path).await;
    world.app("bytes", in_secret("path")).await;
    world.app_condition("bytes", "Ready", "False", "InvalidKey").await;
    assert_eq!(world.github.mint_count(), 0);

    world.configure_also(&format!("allowed_keys:\n  \"{}\": [\"{path}\"]", world.namespace));
    world.app_condition("team", "Ready", "True", "").await;
    world.ready("t").await;
    world.app_condition("detour", "Ready", "False", "InvalidSpec").await;
}

#[tokio::test]
async fn an_installation_is_found_by_its_owner_and_found_again_after_a_reinstallation() {
    let world = World::new().await;
    let owner = world
        .github
        .installation(67890)
        .expect("the installation")
        .account
        .clone();
    world.key_secret("key", &world.good_pem()).await;
    let by_owner =
        json!({"provider": "secret", "keyRef": {"name": "key"}, "installationID": null, "owner": owner.to_uppercase()});
    world.app("team", by_owner).await;
    world.token("t", of_app("team")).await;
    world
        .token("own", json!({"owner": owner, "permissions": {"contents": "read"}}))
        .await;
    world.ready("t").await;
    world.ready("own").await;
    let first = world.good_token("t", None).await;

    let new = world.github.reinstall(67890).expect("it is installed anew");
    assert_ne!(new, 67890);
    world.request("t", "1").await;
    world.request("own", "1").await;
    let wait = Duration::from_secs(60);
    eventually(wait, "tokens of the new installation", async || {
        let mints = world.github.mints();
        let of_new = mints.iter().filter(|mint| mint.installation == new).count();
        if of_new >= 2 { Ok(()) } else { Err(format!("{of_new}")) }
    })
    .await;
    world.good_token("t", Some(&first)).await;

    world.token("nobody", json!({"owner": "nobody-here"})).await;
    let missing = world
        .condition("nobody", "Ready", "False", "InstallationNotFound")
        .await;
    assert!(
        missing.message.contains("nobody-here") && !missing.message.contains(&owner.to_lowercase()),
        "{}",
        missing.message
    );
}

#[tokio::test]
async fn one_apps_trouble_is_nobody_elses_and_a_restart_changes_nothing() {
    let mut world = World::new().await;
    let monitor = world.monitor();
    world.key_secret("key", &world.good_pem()).await;
    world.app("good", in_secret("key")).await;
    // Nobody answers there: every call hangs until its timeout.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let dead = format!("http://{}", listener.local_addr().expect("an address"));
    world
        .app(
            "dead",
            json!({"provider": "secret", "keyRef": {"name": "key"}, "baseURL": dead}),
        )
        .await;
    for n in 0..5 {
        world.token(&format!("dead-{n}"), of_app("dead")).await;
    }
    for n in 0..5 {
        world.token(&format!("good-{n}"), of_app("good")).await;
        world.ready(&format!("good-{n}")).await;
    }
    world.token("startup", json!({})).await;
    world.ready("startup").await;
    let (mints, before) = (world.github.mint_count(), world.all_tokens().await);
    let versions = async || -> Vec<_> {
        let all = world.tokens().list(&Default::default()).await.expect("Tokens");
        let good = all
            .items
            .into_iter()
            .filter(|token| !token.metadata.name.clone().unwrap_or_default().starts_with("dead"));
        good.map(|token| token.metadata.resource_version).collect()
    };
    let settled = versions().await;
    world.operator.restart().await.expect("the operator starts again");
    world.token("after", of_app("good")).await;
    world.ready("after").await;
    assert_eq!(world.github.mint_count(), mints + 1);
    let mut now = world.all_tokens().await;
    now.remove("after");
    assert_eq!(now, before);
    let all = world.tokens().list(&Default::default()).await.expect("Tokens");
    let still: Vec<_> = all
        .items
        .into_iter()
        .filter(|token| {
            let name = token.metadata.name.clone().unwrap_or_default();
            !name.starts_with("dead") && name != "after"
        })
        .map(|token| token.metadata.resource_version)
        .collect();
    assert_eq!(still, settled, "a restart writes nothing");
    nothing_expired(monitor).await;
    drop(listener);
}

#[tokio::test]
async fn the_tokens_of_an_app_that_is_gone_say_so_and_are_still_revoked() {
    let world = World::new().await;
    world.key_secret("key", &world.good_pem()).await;
    world.app("team", in_secret("key")).await;
    world.token("t", of_app("team")).await;
    world.ready("t").await;
    let token = world.good_token("t", None).await;
    world
        .apps()
        .delete("team", &DeleteParams::default())
        .await
        .expect("the App goes");
    world.condition("t", "Ready", "False", "AppNotFound").await;
    assert_eq!(
        world.token_in("t").await,
        Some(token.clone()),
        "the token in the Secret stays"
    );
    world.delete("t").await;
    eventually(SOON, "the token is revoked", async || {
        match world.github.token_state(&token) {
            lab::github::TokenState::Revoked => Ok(()),
            state => Err(format!("{state:?}")),
        }
    })
    .await;
}
