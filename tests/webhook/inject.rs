//! Pods that ask for a token, through a real API server.

use kube::ResourceExt;
use kube::api::{Api, ListParams};
use lab::github::Settings;
use lab::pod::environment;
use lab::wait::eventually;
use serde_json::json;

use crate::world::{SOON, World, cluster, note, pod};

#[tokio::test]
async fn a_pod_with_one_annotation_gets_its_token_and_one_without_gets_nothing() {
    let world = World::new().await;
    world.token("ci", json!({})).await;
    world.ready("ci").await;
    let created = world.create(&pod("one", &[("token", "ci")], json!({}))).await.unwrap();
    let env = environment(&created);
    let value = |name: &str| {
        env.iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(
        value("GITHUB_TOKEN_FILE"),
        Some("/var/run/secrets/github.as-code.io/default/token")
    );
    assert_eq!(value("GIT_CONFIG_COUNT"), Some("2"));
    assert_eq!(
        note(&created).unwrap(),
        r#"{"default":{"kind":"Token","name":"ci","secret":"ci"}}"#
    );
    let volumes = created.spec.as_ref().unwrap().volumes.clone().unwrap();
    assert_eq!(volumes[0].projected.as_ref().unwrap().default_mode, Some(0o444));

    let plain = world.create(&pod("plain", &[], json!({}))).await.unwrap();
    assert!(plain.spec.unwrap().volumes.is_none() && plain.metadata.annotations.is_none());

    let mut generated = pod("x", &[("token", "ci")], json!({}));
    (generated.metadata.name, generated.metadata.generate_name) = (None, Some("made-".into()));
    let generated = world.create(&generated).await.unwrap();
    assert!(generated.name_any().starts_with("made-") && note(&generated).is_some());

    let dry = world.dry_run(&pod("dry", &[("token", "ci")], json!({}))).await.unwrap();
    assert_eq!(
        dry.spec.unwrap().containers[0].env,
        created.spec.unwrap().containers[0].env
    );
    assert!(world.pods().get_opt("dry").await.unwrap().is_none());
}

#[tokio::test]
async fn a_token_and_its_pod_are_applied_together_and_again_without_a_change() {
    let world = World::new().await;
    // The API server merges a list's items of one name under server-side apply, so there the container has no count of its own.
    for (server_side, env) in [
        ("false", "[{name: GIT_CONFIG_COUNT, value: '0'}, {name: A, value: b}]"),
        ("true", "[]"),
    ] {
        let manifest = format!(
            "apiVersion: github.as-code.io/v1\nkind: Token\nmetadata: {{name: ci-{server_side}, namespace: {0}}}\n---\n\
             apiVersion: v1\nkind: Pod\nmetadata:\n  name: job\n  namespace: {0}\n  annotations:\n    github.as-code.io/token: ci-{server_side}\n\
             spec:\n  containers:\n  - name: app\n    image: example/app:1\n    env: {env}\n",
            world.namespace
        );
        let apply = ["apply", &format!("--server-side={server_side}"), "-f", "-"];
        world.cluster.kubectl_with_input(&apply, &manifest).await.unwrap();
        let first = world.pods().get("job").await.unwrap();
        assert!(note(&first).is_some());
        world.cluster.kubectl_with_input(&apply, &manifest).await.unwrap();
        let second = world.pods().get("job").await.unwrap();
        assert_eq!(first.spec, second.spec);
        world
            .cluster
            .kubectl(&["-n", &world.namespace, "delete", "pod", "job", "--now"])
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn what_is_already_there_is_never_injected_twice_and_the_result_passes_a_dry_run() {
    let world = World::new().await;
    world.token("ci", json!({})).await;
    let spec = json!({"initContainers": [{"name": "sync", "image": "x", "restartPolicy": "Always"}],
        "containers": [{"name": "app", "image": "x", "env": [{"name": "GIT_CONFIG_COUNT", "value": "1"},
            {"name": "GIT_CONFIG_KEY_0", "value": "core.pager"}, {"name": "GIT_CONFIG_VALUE_0", "value": "cat"}]}]});
    let asked = [("token", "ci"), ("inject", "env,git"), ("env-conflict", "override")];
    let created = world.create(&pod("one", &asked, spec)).await.unwrap();
    let mut again = created.clone();
    again.metadata.name = Some("two".into());
    (again.metadata.resource_version, again.metadata.uid, again.status) = (None, None, None);
    let again = world.dry_run(&again).await.unwrap();
    assert_eq!(again.spec, created.spec);
}

#[tokio::test]
async fn a_refusal_names_the_annotation_and_the_cure_and_tenants_see_it_too() {
    let world = World::new().await;
    world.token("ci", json!({})).await;
    let cases = [
        (("token", "other/ci"), "names another namespace"),
        (("mount-path", "/proc"), "would hide, or lie in, /proc"),
        (("containers", "nobody"), "has no container 'nobody'; it has: app"),
        (("inject", "$(x)"), "'$(x)' is none of: file, git, env"),
    ];
    for ((key, value), expected) in cases {
        let error = world
            .create(&pod("p", &[("token", "ci"), (key, value)], json!({})))
            .await
            .unwrap_err();
        assert!(error.contains(expected) && error.contains(key), "{error}");
    }
    // A tenant who may make pods, and nothing else, gets a token by its name alone, and cannot read its Secret.
    let role = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: pods, namespace: {0}}}\n\
         rules: [{{apiGroups: [''], resources: [pods], verbs: [create, get]}}]\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: pods, namespace: {0}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: pods}}\nsubjects: [{{kind: User, name: tenant, apiGroup: rbac.authorization.k8s.io}}]\n",
        world.namespace
    );
    world.cluster.apply(&role).await.unwrap();
    let tenant = world.cluster.kubeconfig_for("tenant", &[]).unwrap();
    let tenant = lab::cluster::client(&tenant).await.unwrap();
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(tenant.clone(), &world.namespace);
    let created = pods
        .create(&Default::default(), &pod("tenants", &[("token", "ci")], json!({})))
        .await
        .unwrap();
    assert!(note(&created).is_some());
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(tenant.clone(), &world.namespace);
    assert!(secrets.get("ci").await.unwrap_err().to_string().contains("forbidden"));
    let tokens: Api<github_token_manager::api::Token> = Api::namespaced(tenant, &world.namespace);
    assert!(tokens.get("ci").await.unwrap_err().to_string().contains("forbidden"));
}

#[tokio::test]
async fn a_deployments_pods_are_refused_with_an_event_on_their_owner_and_come_when_the_token_does() {
    let world = World::with(cluster().with_workloads(), Settings::default(), |operator| operator).await;
    let deployment = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: {}}}\nspec:\n  replicas: 2\n  selector: {{matchLabels: {{app: web}}}}\n  \
         template:\n    metadata:\n      labels: {{app: web}}\n      annotations: {{github.as-code.io/token: ci}}\n    \
         spec: {{containers: [{{name: app, image: example/app:1}}]}}\n",
        world.namespace
    );
    world.cluster.apply(&deployment).await.unwrap();
    let event = eventually(SOON, "an event on the ReplicaSet", async || {
        let ours = world
            .events()
            .await?
            .into_iter()
            .find(|event| event.reason.as_deref() == Some("TokenMissing"));
        ours.ok_or("none").map_err(str::to_owned)
    })
    .await;
    assert_eq!(event.regarding.unwrap().kind.as_deref(), Some("ReplicaSet"));
    assert!(event.note.unwrap().contains("Token ci does not exist"));
    world.token("ci", json!({})).await;
    let both = ListParams::default().labels("app=web");
    let found = eventually(std::time::Duration::from_secs(60), "both pods", async || {
        let all = world.pods().list(&both).await.map_err(|error| error.to_string())?;
        if all.items.len() == 2 {
            Ok(all.items)
        } else {
            Err(format!("{}", all.items.len()))
        }
    })
    .await;
    assert!(found.iter().all(|pod| note(pod).is_some()));
    let metrics = world.operator.metrics().await.unwrap();
    let patched = [("operation", "inject"), ("outcome", "patched"), ("reason", "Injected")];
    let refused = [
        ("operation", "inject"),
        ("outcome", "refused"),
        ("reason", "TokenMissing"),
    ];
    assert!(metrics.value("github_webhook_reviews_total", &refused) >= Some(1.0));
    assert!(metrics.value("github_webhook_reviews_total", &patched) >= Some(2.0));
}

#[tokio::test]
async fn a_pod_waits_for_a_token_that_is_not_ready_and_one_that_may_wait_for_a_missing_one() {
    let world = World::new().await;
    world
        .token("never", json!({"repositories": ["no-such-repository"]}))
        .await;
    let waits = world
        .create(&pod("waits", &[("token", "never")], json!({})))
        .await
        .unwrap();
    let volume = waits.spec.unwrap().volumes.unwrap().remove(0).projected.unwrap();
    let secret = volume.sources.unwrap().remove(0).secret.unwrap();
    assert_eq!(
        (secret.name.as_str(), secret.optional),
        ("never", None),
        "the reference holds the pod"
    );
    let missing = world
        .create(&pod("later", &[("token", "later"), ("on-missing", "wait")], json!({})))
        .await
        .unwrap();
    assert!(note(&missing).is_some());
    let ignored = world
        .create(&pod(
            "ignored",
            &[("token", "later"), ("on-missing", "ignore")],
            json!({}),
        ))
        .await
        .unwrap();
    assert!(note(&ignored).is_none());
}

#[tokio::test]
async fn a_pod_of_a_namespace_that_is_being_deleted_gets_the_api_servers_own_answer() {
    let world = World::with(cluster().with_controller_manager(), Settings::default(), |operator| {
        operator
    })
    .await;
    world.token("ci", json!({})).await;
    world.ready("ci").await;
    let held = json!({"metadata": {"name": "held", "namespace": world.namespace, "finalizers": ["example.com/held"]}, "data": {}});
    let maps: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(world.client.clone(), &world.namespace);
    maps.create(&Default::default(), &serde_json::from_value(held).unwrap())
        .await
        .unwrap();
    world
        .cluster
        .kubectl(&["delete", "namespace", &world.namespace, "--wait=false"])
        .await
        .unwrap();
    let error = world
        .create(&pod("late", &[("token", "ci")], json!({})))
        .await
        .unwrap_err();
    assert!(
        error.contains("being terminated") || error.contains("being deleted"),
        "{error}"
    );
}
