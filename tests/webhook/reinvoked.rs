//! A second mutating webhook that adds a container, as service meshes do, and sets the fsGroup, before ours and after; and what happens to a pod later.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use github_token_manager::domain::authority::{Life, Terms};
use github_token_manager::webhook::certificate::Signer;
use github_token_manager::webhook::server;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::rotation::now;
use crate::world::{World, note, pod};

/// Adds a container to each pod that lacks it, and an fsGroup.
async fn add_proxy(body: Bytes) -> Vec<u8> {
    let review: Value = serde_json::from_slice(&body).unwrap();
    let containers = review["request"]["object"]["spec"]["containers"].as_array();
    let there = containers.is_some_and(|all| all.iter().any(|one| one["name"] == "proxy"));
    let proxy = json!({"name": "proxy", "image": "example/proxy:1"});
    let add = json!([{"op": "add", "path": "/spec/containers/-", "value": proxy},
        {"op": "add", "path": "/spec/securityContext", "value": {"fsGroup": 1000}}]);
    let patch = if there { json!([]) } else { add };
    let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {
        "uid": review["request"]["uid"], "allowed": true, "patchType": "JSONPatch",
        "patch": ByteString(serde_json::to_vec(&patch).unwrap())}});
    serde_json::to_vec(&answer).unwrap()
}

/// Starts such a webhook and registers it under this name: webhooks are called in the order of their configurations' names.
async fn mesh(world: &World, name: &str) -> DropGuard {
    let terms = Terms::default();
    let life = Life::new(now(), terms.leaf, terms.backdate);
    let signer = Signer::generate(life).unwrap();
    let leaf = signer.leaf(life, &["127.0.0.1".to_owned()]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/mutate", listener.local_addr().unwrap());
    let (stop, routes) = (
        CancellationToken::new(),
        Router::new().route("/mutate", post(add_proxy)),
    );
    let stopped = stop.clone();
    tokio::spawn(async move {
        let (_keep, certificate) = watch::channel(Some(Arc::new(leaf)));
        let tls = server::tls(certificate).unwrap();
        server::serve(listener, tls, routes, stopped).await;
    });
    let bundle = ByteString(signer.certificate.into_bytes());
    let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name}, "webhooks": [{
            "name": "proxy.example.com", "clientConfig": {"url": url, "caBundle": bundle}, "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "reinvocationPolicy": "IfNeeded",
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]}]});
    world.cluster.apply(&configuration.to_string()).await.unwrap();
    stop.drop_guard()
}

fn containers(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().map_or(&[], |spec| &spec.containers)
}

/// What of ours is in a container: the names of its variables, and its mounts' paths.
fn given(container: &Container) -> (Vec<&str>, Vec<&str>) {
    let env = container.env.iter().flatten().map(|one| one.name.as_str()).collect();
    let mounts = container.volume_mounts.iter().flatten();
    (env, mounts.map(|one| one.mount_path.as_str()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_another_webhook_adds_gets_the_token_too_whichever_is_called_first() {
    // A file's mode is by the pod's fsGroup as we are called first.
    for (name, mode) in [("aa-mesh", 0o440), ("zz-mesh", 0o444)] {
        let world = World::new().await;
        world.token("ci", json!({})).await;
        let alone = world
            .create(&pod("alone", &[("token", "ci")], json!({})))
            .await
            .unwrap();
        let _mesh = mesh(&world, name).await;
        let created = lab::wait::eventually(crate::world::SOON, "the other webhook is called", async || {
            let created = world.dry_run(&pod("both", &[("token", "ci")], json!({}))).await?;
            if containers(&created).len() == 2 {
                Ok(created)
            } else {
                Err("one container".to_owned())
            }
        })
        .await;
        let [app, proxy] = containers(&created) else {
            panic!("{created:?}")
        };
        assert_eq!((app.name.as_str(), proxy.name.as_str()), ("app", "proxy"));
        assert_eq!(
            given(app),
            given(&containers(&alone)[0]),
            "{name}: once, as without the other"
        );
        assert_eq!(given(proxy), given(app), "{name}");
        assert_eq!(note(&created), note(&alone));
        let mut volumes = alone.spec.unwrap().volumes;
        let ours = volumes.iter_mut().flatten();
        ours.filter_map(|volume| volume.projected.as_mut())
            .for_each(|projected| projected.default_mode = Some(mode));
        assert_eq!(created.spec.unwrap().volumes, volumes);

        // Named ones only: what another webhook adds is none of them.
        let asked = [("token", "ci"), ("containers", "app")];
        let named = world.dry_run(&pod("named", &asked, json!({}))).await.unwrap();
        let [app, proxy] = containers(&named) else {
            panic!("{named:?}")
        };
        assert!(
            !given(app).0.is_empty() && given(proxy).0.is_empty(),
            "{name}: {named:?}"
        );
    }
}

#[tokio::test]
async fn a_pod_that_lives_is_changed_without_us_and_keeps_what_it_was_given() {
    let world = World::new().await;
    world.token("ci", json!({})).await;
    let created = world.create(&pod("one", &[("token", "ci")], json!({}))).await.unwrap();
    // Neither an update, nor a debugging container, nor the opposite of what was asked for, needs the operator.
    let port = world.port.number();
    let World {
        operator,
        client,
        namespace,
        cluster,
        ..
    } = world;
    drop(operator);
    assert!(
        std::net::TcpStream::connect(("127.0.0.1", port)).is_err(),
        "nobody serves"
    );
    let pods: kube::Api<Pod> = kube::Api::namespaced(client, &namespace);
    let merge = async |change: Value| {
        let changed = pods.patch("one", &PatchParams::default(), &Patch::Merge(&change)).await;
        changed.expect("the API server asks nobody")
    };
    merge(json!({"metadata": {"labels": {"stage": "two"}}})).await;
    merge(json!({"spec": {"activeDeadlineSeconds": 3600}})).await;
    let images = json!({"spec": {"containers": [{"name": "app", "image": "example/app:2"}]}});
    let strategic = Patch::Strategic(&images);
    pods.patch("one", &PatchParams::default(), &strategic)
        .await
        .expect("another image");
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "example/debug:1"}]}});
    pods.patch_ephemeral_containers("one", &PatchParams::default(), &Patch::Strategic(&debug))
        .await
        .expect("a debugging container");
    let last = merge(json!({"metadata": {"annotations": {"github.as-code.io/token": null}}})).await;
    assert!(!last.annotations().contains_key("github.as-code.io/token"));
    assert_eq!(containers(&last)[0].image.as_deref(), Some("example/app:2"));
    assert_eq!(given(&containers(&last)[0]), given(&containers(&created)[0]));
    assert_eq!(note(&last), note(&created));
    drop(cluster);
}
