//! What a cluster's admin allows, at admission and at every mint.

use std::time::Duration;

use github_token_manager::api::{Token, TokenPolicy};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use lab::github::{Settings, TokenState};
use lab::wait::eventually;
use serde_json::{Value, json};

use crate::validate::apply_object;
use crate::world::{SOON, World, cluster, read};

impl World {
    pub async fn policy(&self, name: &str, spec: Value) {
        let object = json!({"apiVersion": "github.as-code.io/v1", "kind": "TokenPolicy", "metadata": {"name": name}, "spec": spec});
        let policies: Api<TokenPolicy> = Api::all(self.client.clone());
        let params = PatchParams::apply("test").force();
        policies
            .patch(name, &params, &Patch::Apply(&object))
            .await
            .expect("the policy is accepted");
    }

    /// Stores a Token.
    pub async fn try_token(&self, name: &str, spec: Value) -> Result<(), String> {
        self.send_token(name, spec, &PatchParams::apply("test").force()).await
    }

    /// Whether a new Token with this spec would be stored: it can be asked again and again, where what is stored is not looked at
    /// again unless its spec changes.
    async fn would_store(&self, spec: Value) -> Result<(), String> {
        let params = PatchParams::apply("test").force().dry_run();
        self.send_token("would-be", spec, &params).await
    }

    async fn send_token(&self, name: &str, spec: Value, params: &PatchParams) -> Result<(), String> {
        let object = json!({"apiVersion": "github.as-code.io/v1", "kind": "Token",
            "metadata": {"name": name, "namespace": self.namespace}, "spec": spec});
        let tokens: Api<Token> = Api::namespaced(self.client.clone(), &self.namespace);
        let applied = tokens.patch(name, params, &Patch::Apply(&object)).await;
        applied.map(drop).map_err(|error| error.to_string())
    }

    pub async fn condition(&self, name: &str, kind: &str, reason: &str) -> String {
        let tokens: Api<Token> = Api::namespaced(self.client.clone(), &self.namespace);
        eventually(SOON, &format!("{name}: {kind} is {reason}"), async || {
            let status = tokens
                .get(name)
                .await
                .map_err(|error| error.to_string())?
                .status
                .unwrap_or_default();
            let found = status.condition(kind).filter(|condition| condition.reason == reason);
            found
                .map(|condition| condition.message.clone())
                .ok_or(format!("{status:?}"))
        })
        .await
    }

    pub async fn secret_token(&self, name: &str) -> Option<String> {
        let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let token = secrets.get_opt(name).await.unwrap()?.data?.remove("token")?;
        Some(String::from_utf8(token.0).unwrap())
    }

    pub async fn observed(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&github_token_manager::api::TokenPolicyStatus) -> bool,
    ) {
        let policies: Api<TokenPolicy> = Api::all(self.client.clone());
        eventually(SOON, what, async || {
            let status = policies
                .get(name)
                .await
                .map_err(|error| error.to_string())?
                .status
                .unwrap_or_default();
            if holds(&status) {
                Ok(())
            } else {
                Err(format!("{status:?}"))
            }
        })
        .await;
    }
}

/// Waits until a spec is refused with this text: the webhook hears of a policy a moment after it is stored.
pub async fn refused(world: &World, spec: Value, text: &str) {
    eventually(SOON, text, async || match world.would_store(spec.clone()).await {
        Err(error) if error.contains(text) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test]
async fn a_later_policy_ends_a_token_in_its_time_and_one_that_only_warns_does_not() {
    let world = World::new().await;
    world.token("ci", json!({"permissions": {"contents": "write"}})).await;
    world.ready("ci").await;
    let issued = world.secret_token("ci").await.unwrap();
    let limit =
        |enforcement: &str| json!({"enforcement": enforcement, "permissions": {"*": "read"}, "gracePeriod": "10s"});

    world.policy("read-only", limit("audit")).await;
    let warned = world.condition("ci", "Warning", "PolicyWarns").await;
    assert!(
        warned.contains("spec.permissions.contents: 'write' is more than 'read'"),
        "{warned}"
    );
    world
        .observed("read-only", "it counts", |status| {
            status.selected_tokens == 1 && status.violations == 1
        })
        .await;
    assert!(
        world
            .try_token("more", json!({"permissions": {"issues": "write"}}))
            .await
            .is_ok()
    );

    world.policy("read-only", limit("enforce")).await;
    refused(
        &world,
        json!({"permissions": {"issues": "write"}}),
        "TokenPolicy read-only: spec.permissions.issues: 'write' is more than 'read'",
    )
    .await;
    let told = world.condition("ci", "Ready", "PolicyForbids").await;
    assert!(told.contains("the Secret is removed at"), "{told}");
    eventually(SOON, "an event", async || {
        let all = world.events().await?;
        let mut about = all.iter().filter(|event| {
            event
                .regarding
                .as_ref()
                .is_some_and(|on| on.name.as_deref() == Some("ci"))
        });
        about
            .any(|event| event.reason.as_deref() == Some("PolicyForbids"))
            .then_some(())
            .ok_or("none".to_owned())
    })
    .await;
    // Not even when it is asked for.
    let minted = world.github.mint_count();
    let ask = json!({"metadata": {"annotations": {"github.as-code.io/refresh-requested-at": "now"}}});
    let tokens: Api<Token> = Api::namespaced(world.client.clone(), &world.namespace);
    tokens
        .patch("ci", &PatchParams::default(), &Patch::Merge(&ask))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.github.mint_count(), minted);
    assert_eq!(
        world.secret_token("ci").await.as_ref(),
        Some(&issued),
        "it stays for its grace"
    );
    eventually(SOON, "the Secret goes", async || {
        world.secret_token("ci").await.map_or(Ok(()), |_| Err("it is there"))
    })
    .await;
    eventually(SOON, "the token is revoked", async || {
        match world.github.token_state(&issued) {
            TokenState::Valid { .. } => Err("it is good"),
            _ => Ok(()),
        }
    })
    .await;
    world
        .observed("read-only", "the last refusal", |status| {
            status
                .last_refusal
                .as_ref()
                .is_some_and(|last| last.message.contains("'write' is more than 'read'"))
        })
        .await;
    let mints = world.github.mint_count();

    // What fits is issued at once, and when the policy goes, so is the rest.
    world.token("reads", json!({"permissions": {"contents": "read"}})).await;
    world.ready("reads").await;
    assert_eq!(world.github.mint_count(), mints + 1);
    let policies: Api<TokenPolicy> = Api::all(world.client.clone());
    policies.delete("read-only", &DeleteParams::default()).await.unwrap();
    world.ready("ci").await;
    assert_ne!(world.secret_token("ci").await.unwrap(), issued);
}

#[tokio::test]
async fn what_passed_by_the_webhook_is_not_issued_and_a_default_of_deny_stays_one() {
    let world = World::with(cluster(), Settings::default(), |operator| {
        operator.arg("--default-policy=deny")
    })
    .await;
    refused(&world, json!({}), "no TokenPolicy is about the namespace").await;
    let audits = json!({"apiVersion": "github.as-code.io/v1", "kind": "TokenPolicy", "metadata": {"name": "looks-on"},
        "spec": {"enforcement": "audit"}});
    let warned = apply_object(&world, &audits).await.unwrap();
    assert!(warned.contains("spec.enforcement: 'audit' allows nothing"), "{warned}");
    refused(&world, json!({}), "(only audits: looks-on), and the operator's").await;
    world
        .cluster
        .kubectl(&["delete", "validatingwebhookconfiguration", "github-token-manager"])
        .await
        .unwrap();
    eventually(SOON, "the webhook is passed by", async || {
        world.try_token("past", json!({})).await
    })
    .await;
    world.condition("past", "Forbidden", "PolicyForbids").await;
    assert_eq!((world.github.mint_count(), world.secret_token("past").await), (0, None));

    let label = json!({"metadata": {"labels": {"team": "a"}}});
    let selector = json!({"matchLabels": {"team": "a"}});
    world
        .policy(
            "team-a",
            json!({"namespaceSelector": selector, "repositories": ["alpha"], "gracePeriod": "0s"}),
        )
        .await;
    world.token("own", json!({"repositories": ["alpha"]})).await;
    world.condition("own", "Ready", "PolicyForbids").await;
    world
        .cluster
        .kubectl(&[
            "patch",
            "namespace",
            &world.namespace,
            "--type=merge",
            "-p",
            &label.to_string(),
        ])
        .await
        .unwrap();
    world.ready("own").await;
    world.condition("past", "Ready", "PolicyForbids").await;
    let policies: Api<TokenPolicy> = Api::all(world.client.clone());
    policies.delete("team-a", &DeleteParams::default()).await.unwrap();
    let told = world.condition("own", "Ready", "PolicyForbids").await;
    assert!(told.contains("--default-policy is deny"), "{told}");
    assert!(
        world.secret_token("own").await.is_some(),
        "no policy is left to name a shorter grace"
    );
}

#[tokio::test]
async fn the_examples_for_a_clusters_admin_do_what_they_say() {
    let world = World::new().await;
    let apply = async |file: &str| {
        world
            .cluster
            .apply(&read(&format!("webhook-config/examples/{file}.yaml")))
            .await
            .unwrap()
    };
    let gone = async || {
        drop(
            world
                .cluster
                .kubectl(&["delete", "tokenpolicies", "--all"])
                .await
                .unwrap(),
        )
    };
    let open = async || {
        let spec = json!({"permissions": {"contents": "write", "members": "read"}});
        eventually(SOON, "no policy any more", async || {
            world.would_store(spec.clone()).await
        })
        .await;
    };
    apply("read-only").await;
    refused(
        &world,
        json!({"permissions": {"contents": "write"}}),
        "is more than 'read'",
    )
    .await;
    gone().await;
    open().await;
    apply("no-organization-permissions").await;
    refused(
        &world,
        json!({"permissions": {"members": "read"}}),
        "reaches the whole organization",
    )
    .await;
    gone().await;
    open().await;
    apply("no-unscoped-tokens").await;
    refused(
        &world,
        json!({"permissions": {"contents": "read"}}),
        "spec.repositories is not set",
    )
    .await;
    gone().await;
    open().await;
    apply("strict").await;
    let scoped = |permissions: serde_json::Value| json!({"permissions": permissions, "repositories": ["web"]});
    for (spec, text) in [
        (json!({}), "spec.permissions is not set"),
        (
            json!({"permissions": {"contents": "write"}}),
            "spec.repositories is not set",
        ),
        (scoped(json!({"members": "read"})), "reaches the whole organization"),
        (
            scoped(json!({"Members": "read"})),
            "is not known to be a repository permission",
        ),
        (scoped(json!({"issues": "write"})), "is more than 'read'"),
        (
            json!({"permissions": {"contents": "read"}, "repositories": ["web"], "owner": "other"}),
            "spec.owner: 'other' says no ID",
        ),
    ] {
        refused(&world, spec, text).await;
    }
    world
        .would_store(scoped(json!({"contents": "write", "issues": "read"})))
        .await
        .unwrap();
    gone().await;
    open().await;
    apply("team-repositories").await;
    world
        .cluster
        .kubectl(&["label", "namespace", &world.namespace, "team=web"])
        .await
        .unwrap();
    let of = |repository: &str, more: serde_json::Value| {
        let mut spec = json!({"permissions": {"contents": "write"}, "repositories": [repository]});
        for (field, value) in more.as_object().unwrap() {
            spec[field] = value.clone();
        }
        spec
    };
    for (spec, text) in [
        (of("infra", json!({})), "'infra' is none of: web-*"),
        (json!({"repositories": ["web-shop"]}), "spec.permissions is not set"),
        (
            of("web-shop", json!({"permissions": {"members": "read"}})),
            "reaches the whole organization",
        ),
        (
            of("web-shop", json!({"owner": "other"})),
            "spec.owner: 'other' says no ID",
        ),
        (of("web-shop", json!({"installationID": 7})), "spec.installationID"),
    ] {
        refused(&world, spec, text).await;
    }
    world.try_token("own", of("web-shop", json!({}))).await.unwrap();
}
