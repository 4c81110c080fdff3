//! What a second run makes of a pod that another webhook changed after the first, and of one that was copied with what it got.

use super::*;

/// A change that another webhook makes.
type Change = fn(&mut Value);

/// A pod that got all that there is.
fn first() -> Value {
    let annotations = json!({"github.as-code.io/token": "ci", "github.as-code.io/inject": "file,git,env"});
    let pod = json!({"metadata": {"annotations": annotations},
        "spec": {"containers": [{"name": "app"}], "volumes": [{"name": "v", "emptyDir": {}}]}});
    patched(&pod, &decide(&pod).0.unwrap())
}

/// What comes of the first pod after this change.
fn after(change: Change) -> Result<Injection, Refusal> {
    let mut pod = first();
    change(&mut pod);
    decide(&pod).0
}

fn projected(pod: &mut Value) -> &mut Value {
    &mut pod["spec"]["volumes"][1]["projected"]
}

fn secret(pod: &mut Value) -> &mut Value {
    &mut projected(pod)["sources"][0]["secret"]
}

#[test]
fn what_another_webhook_fills_in_changes_nothing() {
    let changes: [Change; 8] = [
        |_| {},
        |pod| pod["spec"]["securityContext"] = json!({"fsGroup": 1000}),
        |pod| projected(pod)["defaultMode"] = json!(0o400),
        |pod| projected(pod)["defaultMode"] = Value::Null,
        |pod| secret(pod)["items"][0]["mode"] = json!(0o440),
        |pod| secret(pod)["optional"] = json!(false),
        |pod| secret(pod)["optional"] = Value::Null,
        |pod| {
            let variables = pod["spec"]["containers"][0]["env"].as_array_mut().unwrap();
            let tokens = variables
                .iter_mut()
                .filter_map(|item| item["valueFrom"]["secretKeyRef"].as_object_mut());
            tokens.for_each(|token| drop(token.insert("optional".into(), false.into())));
        },
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let injection = after(change).unwrap();
        assert_eq!(
            (injection.reason, injection.patch),
            (Reason::Injected, Patch::default()),
            "{at}"
        );
    }
}

#[test]
fn a_volume_with_something_else_is_told_with_what_it_has_and_what_is_wanted() {
    let changes: [(Change, &str); 7] = [
        (
            |pod| secret(pod)["name"] = json!("other"),
            "key 'token' of the Secret 'other' as 'token'",
        ),
        (
            |pod| secret(pod)["items"][0]["key"] = json!("pass\u{200b}"),
            "key 'pass\\u{200b}' of the Secret 'ci' as 'token'",
        ),
        (
            |pod| secret(pod)["items"][0]["path"] = json!("t"),
            "key 'token' of the Secret 'ci' as 't'",
        ),
        (
            |pod| secret(pod)["optional"] = json!(true),
            "key 'token' of the optional Secret 'ci' as 'token'",
        ),
        (
            |pod| projected(pod)["sources"] = json!([{"secret": {"name": "ci"}}]),
            "something else",
        ),
        (
            |pod| {
                let more = json!({"configMap": {"name": "c"}});
                projected(pod)["sources"].as_array_mut().unwrap().push(more);
            },
            "something else",
        ),
        (
            |pod| pod["spec"]["volumes"][1] = json!({"name": "github-token-default", "emptyDir": {}}),
            "something else",
        ),
    ];
    for (change, has) in changes {
        let refusal = after(change).unwrap_err();
        assert_eq!(refusal.reason, Reason::PodConflict);
        assert_eq!(
            refusal.message,
            format!(
                "the pod has a volume 'github-token-default' already, which holds {has} instead of key 'token' of the Secret 'ci' as \
                 'token': rename or remove it"
            )
        );
    }
}

#[test]
fn a_mount_that_leaves_no_room_is_refused_wherever_it_stands_in_the_list() {
    for path in [
        "/run/secrets",
        "/var/run/secrets/github.as-code.io",
        "/var/run/secrets/github.as-code.io/default/x",
    ] {
        for place in [0, 1] {
            let mut pod = first();
            let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap();
            mounts.insert(place, json!({"name": "v", "mountPath": path, "readOnly": true}));
            let message = decide(&pod).0.unwrap_err().message;
            let told = format!("has a mount at '{path}', which leaves no room for the token at /var/run/secrets/");
            assert!(message.contains(&told), "{place}: {message}");
        }
    }
    let below = after(|pod| {
        let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap();
        mounts.push(json!({"name": "v", "mountPath": "/run/secrets"}));
    });
    assert_eq!(below.map(|injection| injection.patch), Ok(Patch::default()));
}

#[test]
fn a_status_of_what_a_pod_did_not_get_is_emptied() {
    let own = json!([{"name": "GH_TOKEN", "value": "own"}, {"name": "GITHUB_TOKEN", "value": "own"}]);
    let pods = [
        (json!({}), json!([{"name": "app"}]), Reason::NotRequested),
        (
            json!({"token": "absent", "on-missing": "ignore"}),
            json!([{"name": "app"}]),
            Reason::TokenMissing,
        ),
        (
            json!({"token": "ci", "inject": "env"}),
            json!([{"name": "app", "env": own}]),
            Reason::NotInjectable,
        ),
        (
            json!({"token": "ci"}),
            json!([{"name": "istio-proxy"}]),
            Reason::NotInjectable,
        ),
    ];
    for (annotations, containers, reason) in pods {
        let named = |(name, value): (&String, &Value)| (format!("github.as-code.io/{name}"), value.clone());
        let all: serde_json::Map<_, _> = annotations.as_object().unwrap().iter().map(named).collect();
        let mut pod = json!({"metadata": {"annotations": all}, "spec": {"containers": containers}});
        let without = decide(&pod).0.unwrap();
        assert_eq!((without.reason, without.patch), (reason, Patch::default()));

        let name = "github.as-code.io/status";
        pod["metadata"]["annotations"][name] =
            json!(r#"{"default":{"kind":"Token","name":"prod","secret":"admin-token"}}"#);
        let injection = decide(&pod).0.unwrap();
        assert_eq!(injection.reason, reason);
        let now = patched(&pod, &injection);
        pod["metadata"]["annotations"][name] = json!("{}");
        assert_eq!(now, pod);
        assert!(decide(&now).0.unwrap().patch.is_empty(), "{now}");
    }
}
