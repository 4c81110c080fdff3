//! What the API server refuses by the CRDs' rules, and what the operator does where those rules are not in force.

use github_token_manager::api::crd;
use kube::api::{Patch, PatchParams};
use lab::cluster::Cluster;
use lab::github::{Installation, Repository, Settings};
use serde_json::{Value, json};

use super::fails;
use crate::world::World;

/// The API server's words about a Token of this spec.
async fn refusal(world: &World, spec: &Value) -> String {
    let object = json!({"apiVersion": "github.as-code.io/v1", "kind": "Token",
        "metadata": {"name": "refused", "namespace": world.namespace}, "spec": spec});
    let params = PatchParams::apply("test").force();
    let result = world.tokens().patch("refused", &params, &Patch::Apply(&object)).await;
    result.err().unwrap_or_else(|| panic!("accepted: {spec}")).to_string()
}

fn names(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("repository-{number}")).collect()
}

/// An installation with as many repositories as one request may name.
fn many_repositories() -> Settings {
    let repositories = names(500).into_iter().zip(1..);
    let repositories = repositories.map(|(name, id)| Repository {
        id,
        name,
        private: true,
    });
    Settings {
        installations: vec![Installation {
            repositories: repositories.collect(),
            ..Installation::default()
        }],
        ..Settings::default()
    }
}

#[tokio::test]
async fn the_api_server_refuses_what_cannot_be_right_and_says_what_would_be() {
    let world = World::with(crate::world::cluster(), many_repositories(), |operator| operator).await;
    let bounds = "refreshInterval must be between 1m and 55m";
    let cases = [
        (json!({"refreshInterval": "59s"}), bounds),
        (json!({"refreshInterval": "56m"}), bounds),
        (json!({"refreshInterval": "soon"}), "refreshInterval"),
        (
            json!({"retryInterval": "2h"}),
            "retryInterval must be between 1s and 1h",
        ),
        (json!({"revokePreviousAfter": "1m"}), "must be at least 10m"),
        (json!({"repositories": names(501)}), "must have at most 500 items"),
        (
            json!({"repositories": ["octo-org/alpha"]}),
            "write 'name' instead of 'owner/name'",
        ),
        (json!({"permissions": {}}), "permissions must not be empty"),
        (json!({"permissions": {"contents": 5}}), "spec.permissions.contents"),
        (
            json!({"secret": {"basicAuth": true, "format": "netrc"}}),
            "remove one of the two",
        ),
        (json!({"secret": {"format": "yaml"}}), "supported values"),
        (
            json!({"secret": {"format": "template"}}),
            "template must be set if and only if",
        ),
        (json!({"installationID": -1}), "should be greater than or equal to"),
    ];
    for (spec, words) in cases {
        let text = refusal(&world, &spec).await;
        assert!(text.contains(words), "{spec}: {text}");
    }
    assert_eq!(world.github.mint_count(), 0);

    world.token("most", json!({"repositories": names(500)})).await;
    world.ready("most").await;
    let granted = world.github.mints()[0].granted.repositories.clone();
    assert_eq!(granted.map(|ids| ids.len()), Some(500));
}

/// CRDs of the same kinds, under which any spec is accepted: as if an older version were installed.
fn lax_crds() -> String {
    let mut crds = crd::all();
    for crd in &mut crds {
        for version in &mut crd.spec.versions {
            let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
            version.schema = Some(serde_json::from_value(schema).expect("a schema"));
        }
    }
    let documents = crds.iter().map(|crd| serde_json::to_string(crd).expect("JSON"));
    documents.collect::<Vec<_>>().join("\n---\n")
}

async fn raw(world: &World, name: &str, spec: Value) {
    let yaml = json!({"apiVersion": "github.as-code.io/v1", "kind": "Token",
        "metadata": {"name": name, "namespace": world.namespace}, "spec": spec});
    world
        .cluster
        .apply(&yaml.to_string())
        .await
        .expect("anything is accepted");
}

#[tokio::test]
async fn where_the_rules_are_not_in_force_the_operator_says_the_same_and_no_object_holds_up_another() {
    let cluster = Cluster::builder().with_crds(lax_crds());
    let world = World::with(cluster, many_repositories(), |operator| operator).await;
    let invalid: [(&str, Value, &[&str]); 9] = [
        ("text", json!("spec"), &["cannot be read"]),
        ("list", json!({"permissions": ["contents"]}), &["cannot be read"]),
        ("number", json!({"refreshInterval": 30}), &["cannot be read"]),
        ("format", json!({"secret": {"format": "yaml"}}), &["yaml"]),
        (
            "slash",
            json!({"repositories": ["octo-org/alpha"]}),
            &["spec.repositories", "'octo-org/alpha'", "write 'name'"],
        ),
        (
            "many",
            json!({"repositories": names(501)}),
            &["spec.repositories: 501", "at most 500"],
        ),
        (
            "none",
            json!({"permissions": {}}),
            &["spec.permissions: {}", "leave the field out"],
        ),
        (
            "id",
            json!({"installationID": -7}),
            &["spec.installationID: -7", "from 1"],
        ),
        (
            "soon",
            json!({"refreshInterval": "soon"}),
            &["spec.refreshInterval: 'soon'", "'45m'"],
        ),
    ];
    for (name, spec, _) in &invalid {
        raw(&world, name, spec.clone()).await;
    }
    raw(&world, "steady", json!({})).await;
    let value = world.good_token("steady", None).await;
    for (name, _, parts) in &invalid {
        raw_fails(&world, name, parts).await;
    }
    assert_eq!(world.github.mint_count(), 1, "only the good one");

    // An interval out of bounds is brought to the nearest bound, with a warning.
    raw(&world, "short", json!({"refreshInterval": "2s"})).await;
    world.good_token("short", None).await;
    let warning = world.condition("short", "Warning", "True", "IntervalOutOfBounds").await;
    for part in ["spec.refreshInterval: '2s'", "60s is used"] {
        assert!(warning.message.contains(part), "{}", warning.message);
    }

    // What became unreadable keeps its Secret, and goes on when it is mended.
    raw(&world, "steady", json!({"refreshInterval": []})).await;
    raw_fails(&world, "steady", &["cannot be read"]).await;
    assert_eq!(world.token_in("steady").await.as_deref(), Some(&*value));
    raw(&world, "steady", json!({"retryInterval": "1m"})).await;
    world.condition("steady", "Ready", "True", "Issued").await;
    assert_eq!(world.token_in("steady").await.as_deref(), Some(&*value));
    assert_eq!(world.github.mint_count(), 2);
}

/// As [`fails`], for an object that the typed client cannot read.
async fn raw_fails(world: &World, name: &str, parts: &[&str]) {
    let text = lab::wait::eventually(crate::world::SOON, name, async || {
        let args = [
            "get",
            "token.github.as-code.io",
            name,
            "-n",
            &world.namespace,
            "-o",
            "json",
        ];
        let object = world.cluster.kubectl(&args).await.map_err(|error| error.to_string())?;
        let object: Value = serde_json::from_str(&object).map_err(|error| error.to_string())?;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions
            .iter()
            .find(|c| c["type"] == "Ready" && c["reason"] == "InvalidSpec");
        match ready {
            Some(ready) if !object["status"]["nextAttemptAt"].is_null() => Ok(ready["message"].to_string()),
            _ => Err(object["status"].to_string()),
        }
    });
    let text = text.await;
    for part in parts {
        assert!(text.contains(part), "{name}: no {part:?} in {text}");
    }
    let events = world.events(name).await;
    assert!(events.iter().any(|(reason, _)| reason == "InvalidSpec"), "{events:?}");
}

#[tokio::test]
async fn a_status_that_cannot_be_read_is_written_anew_and_its_token_stays() {
    let cluster = Cluster::builder().with_crds(lax_crds());
    let mut world = World::with(cluster, Settings::default(), |operator| operator).await;
    raw(&world, "demo", json!({})).await;
    let token = world.settled("demo").await;
    for (status, running) in [
        (json!(7), true),
        (json!({"installationAccessToken": "x"}), false),
        (json!({"conditions": [{"type": "Ready"}]}), true),
    ] {
        if !running {
            world.operator.kill();
        }
        let put = json!([{"op": "replace", "path": "/status", "value": status}]).to_string();
        let edit = ["patch", "token.github.as-code.io", "demo", "--subresource=status"];
        let edit = [&edit[..], &["-n", &world.namespace, "--type=json", "-p", &put]].concat();
        world.cluster.kubectl(&edit).await.expect("anything is accepted");
        if !running {
            world.operator.restart().await.unwrap();
        }
        assert_eq!(mended(&world).await, lab::github::hashed(&token), "{status}");
    }
    assert_eq!(world.token_in("demo").await, Some(token));
    assert_eq!(world.github.mint_count(), 1);
    assert_eq!(world.events("demo").await, []);
}

/// The hash in the status of `demo`, once that says that all is well.
async fn mended(world: &World) -> String {
    lab::wait::eventually(crate::world::SOON, "the status is mended", async || {
        let token = world.tokens().get("demo").await.map_err(|error| error.to_string())?;
        let status = token.status.unwrap_or_default();
        let ready = status.condition("Ready").is_some_and(|ready| ready.status == "True");
        status
            .hashed_token
            .clone()
            .filter(|_| ready)
            .ok_or(format!("{status:?}"))
    })
    .await
}

#[tokio::test]
async fn an_app_that_does_not_exist_is_named() {
    let world = World::new().await;
    world.token("demo", json!({"appRef": {"name": "nope"}})).await;
    let missing = format!("no App {}/nope", world.namespace);
    fails(
        &world,
        "demo",
        "AppNotFound",
        &["spec.appRef", &missing, "leave appRef out"],
    )
    .await;
    world.token("demo", json!({})).await;
    world.ready("demo").await;
}
