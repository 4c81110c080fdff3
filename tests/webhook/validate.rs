//! Tokens before they are stored.

use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use lab::wait::eventually;
use serde_json::{Value, json};

use github_token_manager::api::{Token, TokenPolicy};

use crate::policy::refused;
use crate::world::{SOON, World, pod};

/// What `kubectl apply` says about a Token, on both of its outputs.
async fn apply(world: &World, name: &str, spec: &Value) -> Result<String, String> {
    let object = json!({"apiVersion": "github.as-code.io/v1", "kind": "Token", "metadata": {"name": name, "namespace": world.namespace}, "spec": spec});
    apply_object(world, &object).await
}

pub async fn apply_object(world: &World, object: &Value) -> Result<String, String> {
    let program = world.cluster.kubectl_program();
    let mut command = tokio::process::Command::new(program);
    command
        .args(["apply", "-f", "-"])
        .env("KUBECONFIG", world.cluster.kubeconfig_path());
    command.env("KUBECACHEDIR", world.cluster.folder().join("kubectl-warnings"));
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut input, object.to_string().as_bytes())
        .await
        .unwrap();
    drop(input);
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

#[tokio::test]
async fn what_the_controller_would_refuse_is_not_stored_and_what_looks_wrong_is_said() {
    let world = World::new().await;
    eventually(SOON, "the API server reaches /validate", async || {
        let said = apply(&world, "probe", &json!({"permissions": {"contnets": "read"}})).await;
        if matches!(&said, Ok(said) if said.contains("did you mean 'contents'?")) {
            return Ok(());
        }
        // What is stored is not looked at again unless its spec changes.
        world
            .cluster
            .kubectl(&["delete", "tokens", "--all", "-n", &world.namespace])
            .await
            .map_err(|e| e.to_string())?;
        Err(format!("{said:?}"))
    })
    .await;
    let refused = apply(
        &world,
        "t",
        &json!({"secret": {"format": "template", "template": {"k": "{{ .tokn }}"}}}),
    )
    .await;
    assert!(
        refused
            .unwrap_err()
            .contains("spec.secret.template['k']: '{{ .tokn }}' is not known")
    );
    for (spec, text) in [
        (
            json!({"secret": {"labels": {"a b": "c"}}}),
            "spec.secret.labels: 'a b' is no label's name",
        ),
        (
            json!({"secret": {"annotations": {"a b": "c"}}}),
            "spec.secret.annotations: 'a b' is no annotation's name",
        ),
        (
            json!({"appRef": {"name": "team/app"}}),
            "spec.appRef.name: 'team/app' is no name",
        ),
    ] {
        let said = apply(&world, "t", &spec).await.unwrap_err();
        assert!(said.contains(text), "{said}");
    }
    let said = apply(
        &world,
        "wide",
        &json!({"permissions": {"members": "read"}, "repositories": ["alpha"]}),
    )
    .await;
    assert!(said.unwrap().contains("reaches the whole organization"));
    let said = apply(&world, "app", &json!({"appRef": {"name": "nobody"}}))
        .await
        .unwrap();
    assert!(said.contains("there is no App") && said.contains("nobody"), "{said}");

    let policy = json!({"apiVersion": "github.as-code.io/v1", "kind": "TokenPolicy", "metadata": {"name": "p"},
        "spec": {"permissions": {"contnets": "read", "*": "write"}, "namespaceSelector": {"matchLabels": {"no": "such"}}}});
    let said = apply_object(&world, &policy).await.unwrap();
    assert!(said.contains("did you mean 'contents'?"), "{said}");
    let policy = json!({"apiVersion": "github.as-code.io/v1", "kind": "TokenPolicy", "metadata": {"name": "q"},
        "spec": {"namespaceSelector": {"matchLabels": {"team": "web "}}}});
    let said = apply_object(&world, &policy).await.unwrap_err();
    assert!(
        said.contains("spec.namespaceSelector.matchLabels.team: 'web\\u{20}' is no label's value"),
        "{said}"
    );

    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    let foreign = serde_json::from_value(json!({"metadata": {"name": "foreign"}})).unwrap();
    secrets.create(&PostParams::default(), &foreign).await.unwrap();
    let said = apply(&world, "foreign", &json!({})).await.unwrap();
    assert!(
        said.contains("the Secret") && said.contains("exists and is not managed by this operator"),
        "{said}"
    );
    world.token("first", json!({})).await;
    world.ready("first").await;
    let said = apply(&world, "second", &json!({"secret": {"name": "first"}}))
        .await
        .unwrap();
    let told = format!("exists and belongs to Token {}/first", world.namespace);
    assert!(said.contains(&told), "{said}");
    assert_eq!(
        apply(&world, "good", &json!({"permissions": {"contents": "read"}}))
            .await
            .unwrap(),
        ""
    );
}

#[tokio::test]
async fn an_object_that_was_stored_without_us_can_always_be_labelled_and_removed() {
    let world = World::new().await;
    let port = world.port.number();
    world.operator.kill();
    let wrong = json!({"secret": {"labels": {"a b": "c"}, "format": "template", "template": {"k": "{{ .tokn }}"}}});
    apply(&world, "wrong", &wrong).await.unwrap();
    let _again = world.replica(port).start().await.unwrap();
    world.answers().await;
    let tokens: Api<Token> = Api::namespaced(world.client.clone(), &world.namespace);
    let label = json!({"metadata": {"labels": {"a": "b"}, "finalizers": ["example.com/x"]}});
    tokens
        .patch("wrong", &PatchParams::default(), &Patch::Merge(&label))
        .await
        .unwrap();
    tokens.delete("wrong", &DeleteParams::default()).await.unwrap();
    let free = json!({"metadata": {"finalizers": null}});
    tokens
        .patch("wrong", &PatchParams::default(), &Patch::Merge(&free))
        .await
        .unwrap();
    eventually(SOON, "it is gone", async || match tokens.get_opt("wrong").await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test]
async fn a_policy_that_only_warns_is_told_and_counted_and_lets_the_token_in() {
    let world = World::new().await;
    let limit = json!({"enforcement": "audit", "permissions": {"*": "read"}});
    world.policy("read-only", limit).await;
    let wish = json!({"permissions": {"issues": "write"}});
    eventually(SOON, "a warning", async || {
        let said = apply(&world, "more", &wish).await?;
        // Another spec is looked at again.
        apply(&world, "more", &json!({"permissions": {"issues": "read"}})).await.unwrap();
        let told = "Warning: TokenPolicy read-only: spec.permissions.issues: 'write' is more than 'read'; this will be refused once it is enforced";
        if said.contains(told) { Ok(()) } else { Err(said) }
    })
    .await;
    let metrics = world.operator.metrics().await.unwrap();
    let counted = |outcome, reason| {
        let labels = [("operation", "validate"), ("outcome", outcome), ("reason", reason)];
        metrics.value("github_webhook_reviews_total", &labels)
    };
    assert_eq!(counted("allowed", "PolicyWarns"), Some(1.0));
    assert_eq!(counted("refused", "PolicyForbids").unwrap_or(0.0), 0.0);
    let told = |status: &github_token_manager::api::TokenPolicyStatus| {
        let last = status.last_refusal.as_ref();
        last.is_some_and(|last| last.message.contains("'write' is more than 'read'"))
    };
    world.observed("read-only", "the last that it would refuse", told).await;
}

#[tokio::test]
async fn an_app_that_no_policy_allows_is_refused_before_the_token_is_stored() {
    let world = World::new().await;
    world.policy("own-app", json!({"apps": ["operator", "team-a/*"]})).await;
    let text = "TokenPolicy own-app: spec.appRef: the App 'team-b/theirs' is none of: operator, team-a/*";
    let place = world.namespace.as_str();
    let text = text.replace("team-b", place);
    let theirs = json!({"appRef": {"name": "theirs"}});
    refused(&world, theirs.clone(), &text).await;
    let said = apply(&world, "theirs", &theirs).await.unwrap_err();
    assert!(said.contains(&text), "{said}");
    assert_eq!(apply(&world, "own", &json!({})).await.unwrap(), "");
    let tokens: Api<Token> = Api::namespaced(world.client.clone(), place);
    assert!(tokens.get_opt("theirs").await.unwrap().is_none());
}

/// A pod of a ReplicaSet of which there is no more than the name; its Token does not exist.
fn owned(owner: &str) -> k8s_openapi::api::core::v1::Pod {
    let mut pod = pod("owned", &[("token", "nowhere")], json!({}));
    let owner =
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true}]);
    pod.metadata.owner_references = serde_json::from_value(owner).unwrap();
    pod
}

#[tokio::test]
async fn a_refused_dry_run_leaves_nothing() {
    let world = World::new().await;
    let limit = json!({"permissions": {"*": "read"}, "repositories": ["alpha"]});
    world.policy("narrow", limit).await;
    let wish = json!({"permissions": {"issues": "write"}});
    // This asks by dry run.
    refused(&world, wish.clone(), "TokenPolicy narrow: ").await;
    world.dry_run(&owned("drily")).await.unwrap_err();
    world.create(&owned("really")).await.unwrap_err();
    let told = eventually(SOON, "the Event of the one that was meant", async || {
        let about = world
            .events()
            .await?
            .into_iter()
            .filter_map(|event| event.regarding?.name);
        let about: Vec<String> = about.collect();
        if about.is_empty() {
            Err("none".to_owned())
        } else {
            Ok(about)
        }
    })
    .await;
    assert_eq!(told, ["really"]);
    // The status of policies is written within two seconds.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let policies: Api<TokenPolicy> = Api::all(world.client.clone());
    let status = policies.get("narrow").await.unwrap().status.unwrap_or_default();
    assert_eq!((status.last_refusal, status.selected_tokens), (None, 0));
    let tokens: Api<Token> = Api::namespaced(world.client.clone(), &world.namespace);
    assert!(tokens.list(&Default::default()).await.unwrap().items.is_empty());
    assert_eq!(world.github.mint_count(), 0);
    world.try_token("meant", wish).await.unwrap_err();
    world
        .observed("narrow", "a refusal that was meant", |status| {
            status.last_refusal.is_some()
        })
        .await;
}

#[tokio::test]
async fn a_reviews_line_in_the_log_says_where_whose_and_why_and_no_secret() {
    let world = World::new().await;
    world.token("ci", json!({})).await;
    world.ready("ci").await;
    let env = json!([{"name": "PASSWORD", "value": "of-the-container"}]);
    let spec = json!({"containers": [{"name": "app", "image": "x", "env": env}]});
    let mut given = pod("given", &[("token", "ci"), ("inject", "env,git")], spec);
    given.metadata.owner_references = owned("web").metadata.owner_references;
    world.create(&given).await.unwrap();
    world.create(&owned("later")).await.unwrap_err();
    let mut copied = pod("copied", &[("status", "of another pod")], json!({}));
    copied.metadata.owner_references = owned("former").metadata.owner_references;
    let copied = world.create(&copied).await.unwrap();
    assert_eq!(copied.metadata.annotations.unwrap()["github.as-code.io/status"], "{}");
    apply(
        &world,
        "wrong",
        &json!({"secret": {"format": "template", "template": {"k": "{{ .tokn }}"}}}),
    )
    .await
    .unwrap_err();
    let logs = world.operator.logs();
    let line = |message: &str, owner: &str| {
        let lines = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut lines = lines.filter(|line| line["namespace"] == world.namespace.as_str());
        let found = lines.find(|line| {
            let said = line["message"].as_str().is_some_and(|said| said.starts_with(message));
            said && (owner.is_empty() || line["owner"] == owner)
        });
        found.unwrap_or_else(|| panic!("no {message:?} of {owner:?}: {logs}"))
    };
    let patched = line("a pod gets its token", "ReplicaSet web");
    assert_eq!(
        (&patched["reason"], &patched["warnings"]),
        (&json!("Injected"), &json!(1))
    );
    let emptied = line("a pod gets no token, and its status says so", "ReplicaSet former");
    assert_eq!(emptied["reason"], "NotRequested");
    let without = line("a pod is refused: Token nowhere does not exist", "ReplicaSet later");
    assert_eq!(without["reason"], "TokenMissing");
    let stored = line("refused: spec.secret.template['k']", "");
    let fields = (&stored["kind"], &stored["name"], &stored["reason"]);
    assert_eq!(fields, (&json!("Token"), &json!("wrong"), &json!("InvalidTemplate")));
    for line in [&patched, &emptied, &without, &stored] {
        assert_eq!(line["level"], "INFO", "{line}");
    }
    let token = world.secret_token("ci").await.unwrap();
    assert!(!logs.contains(&token) && !logs.contains("of-the-container"), "{logs}");
}

#[tokio::test]
async fn a_tenant_who_may_write_tokens_writes_no_policies_and_is_held_to_them() {
    let world = World::new().await;
    let namespace = &world.namespace;
    let role = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: tokens, namespace: {namespace}}}\n\
         rules: [{{apiGroups: [github.as-code.io], resources: [tokens], verbs: ['*']}}]\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: tokens, namespace: {namespace}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: tokens}}\n\
         subjects: [{{kind: User, name: tenant, apiGroup: rbac.authorization.k8s.io}}]\n"
    );
    world.cluster.apply(&role).await.unwrap();
    world.policy("read-only", json!({"permissions": {"*": "read"}})).await;
    refused(
        &world,
        json!({"permissions": {"contents": "write"}}),
        "is more than 'read'",
    )
    .await;
    let tenant = world.cluster.kubeconfig_for("tenant", &[]).unwrap();
    let client = lab::cluster::client(&tenant).await.unwrap();
    let tokens: Api<Token> = Api::namespaced(client.clone(), namespace);
    let token = |level: &str| {
        let object = json!({"metadata": {"name": level}, "spec": {"permissions": {"contents": level}}});
        serde_json::from_value(object).unwrap()
    };
    tokens.create(&PostParams::default(), &token("read")).await.unwrap();
    world.ready("read").await;
    let held = |said: String| {
        assert!(
            said.contains("TokenPolicy read-only: spec.permissions.contents"),
            "{said}"
        )
    };
    let created = tokens.create(&PostParams::default(), &token("write")).await;
    held(created.unwrap_err().to_string());
    // Nor by another way: what is stored already, and what is not the namespace's own, are held to the same.
    let more = Patch::Merge(json!({"spec": {"permissions": {"contents": "write"}}}));
    let changed = tokens.patch("read", &PatchParams::default(), &more).await;
    held(changed.unwrap_err().to_string());
    let shared = |level: &str| {
        json!({"apiVersion": "github.as-code.io/v1", "kind": "ClusterToken", "metadata": {"name": "shared"},
            "spec": {"permissions": {"contents": level}, "secret": {"namespace": namespace}}})
    };
    held(apply_object(&world, &shared("write")).await.unwrap_err());
    apply_object(&world, &shared("read")).await.unwrap();
    held(apply_object(&world, &shared("write")).await.unwrap_err());
    // Neither the policy, nor what is observed of it or of the Token, nor any other namespace is theirs.
    let forbidden = |result: kube::Result<()>| {
        result
            .unwrap_err()
            .to_string()
            .contains("is forbidden: User \"tenant\"")
    };
    let wide = Patch::Merge(json!({"spec": {"permissions": {"*": "write"}}}));
    let allowed = Patch::Merge(json!({"status": {"conditions": []}}));
    let params = PatchParams::default();
    let policies: Api<TokenPolicy> = Api::all(client.clone());
    assert!(forbidden(policies.patch("read-only", &params, &wide).await.map(drop)));
    assert!(forbidden(
        policies.delete("read-only", &DeleteParams::default()).await.map(drop)
    ));
    let other = serde_json::from_value(json!({"metadata": {"name": "mine"}, "spec": {}})).unwrap();
    assert!(forbidden(
        policies.create(&PostParams::default(), &other).await.map(drop)
    ));
    assert!(forbidden(
        tokens.patch_status("read", &params, &allowed).await.map(drop)
    ));
    let elsewhere: Api<Token> = Api::namespaced(client, "default");
    assert!(forbidden(
        elsewhere.create(&PostParams::default(), &token("read")).await.map(drop)
    ));
}
