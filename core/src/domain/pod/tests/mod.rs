//! Pods in, patches out.

mod again;
mod golden;
mod properties;
mod secret;
mod work;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::api::{Condition, Format, Time, TokenStatus, condition};
use crate::domain::intent::{Intent, Key, Kind, SecretKey};
use crate::domain::{Problem, fixtures};

/// The namespace of every pod here.
const NAMESPACE: &str = "team-a";

fn key(kind: Kind, name: &str) -> Key {
    let namespace = (kind == Kind::Token).then(|| NAMESPACE.into());
    Key {
        kind,
        namespace,
        name: name.into(),
    }
}

fn status(ready: bool) -> TokenStatus {
    let condition = Condition {
        kind: condition::READY.into(),
        status: if ready { "True" } else { "False" }.into(),
        reason: if ready { "Issued" } else { "GitHubUnavailable" }.into(),
        message: String::new(),
        last_transition_time: Time::from(jiff::Timestamp::UNIX_EPOCH),
        observed_generation: None,
    };
    TokenStatus {
        conditions: vec![condition],
        ..TokenStatus::default()
    }
}

fn known(spec: Value, ready: bool, deleting: bool) -> TokenFacts {
    let read: Result<Intent, Problem> = Intent::new(&fixtures::token(spec));
    TokenFacts::new(&read, &status(ready), deleting)
}

/// The Tokens of the tests' cluster.
fn facts() -> BTreeMap<Key, TokenFacts> {
    let named = |name: &str| json!({"secret": {"name": name}});
    let format = |format: &str| json!({"secret": {"name": "a-secret", "format": format}});
    let own = json!({"secret": {"name": "own", "format": "template",
        "template": {"header": "Bearer {{ .token }}", "plain": "{{.token}}"}}});
    let shared = |namespace: &str| {
        let object = fixtures::cluster_token(json!({"secret": {"namespace": namespace}}));
        TokenFacts::new(&Intent::new(&object), &status(true), false)
    };
    let tokens = [
        ("ci", known(json!({}), true, false)),
        ("docs", known(named("docs-token"), true, false)),
        ("flux", known(format("basicAuth"), true, false)),
        ("netrc", known(format("netrc"), true, false)),
        ("own", known(own, true, false)),
        ("fresh", known(json!({}), false, false)),
        ("going", known(named("gone-soon"), true, true)),
        ("wrong", known(json!({"permissions": {}}), false, false)),
    ];
    let mut all: BTreeMap<Key, TokenFacts> = tokens
        .into_iter()
        .map(|(name, facts)| (key(Kind::Token, name), facts))
        .collect();
    all.insert(key(Kind::ClusterToken, "shared"), shared(NAMESPACE));
    all.insert(key(Kind::ClusterToken, "elsewhere"), shared("team-b"));
    all
}

/// What happens to a pod, and what is said about it.
fn decide(pod: &Value) -> (Result<Injection, Refusal>, Vec<String>) {
    let text = pod.to_string();
    let view: Pod<'_> = serde_json::from_str(&text).unwrap();
    let mut warnings = Warnings::default();
    let asks = asks(&view.metadata.annotations, NAMESPACE, &mut warnings);
    let decided = asks.and_then(|asks| inject(&view, NAMESPACE, &asks, &facts(), &mut warnings));
    (decided, warnings.into_texts())
}

/// The pod as it is after its patch.
fn patched(pod: &Value, injection: &Injection) -> Value {
    let mut after = pod.clone();
    let patch: json_patch::Patch = serde_json::from_slice(injection.patch.json()).unwrap();
    json_patch::patch(&mut after, &patch).unwrap();
    after
}

#[test]
fn each_format_says_where_the_bare_token_is() {
    for format in Format::ALL.into_iter().filter(|format| *format != Format::Template) {
        let facts = known(json!({"secret": {"format": format.as_str()}}), true, false);
        let key = facts.secret.unwrap().token_key;
        let expected = match format.as_str() {
            "token" => Some("token"),
            "basicAuth" | "argoCDRepoCreds" => Some("password"),
            _ => None,
        };
        assert_eq!(key.as_deref(), expected, "{}", format.as_str());
    }
}

#[test]
fn a_thousand_annotations_are_one_warning() {
    let name = |n: usize| (format!("github.as-code.io/x{n}"), Value::from("y"));
    let mut all: serde_json::Map<String, Value> = (0..1000).map(name).collect();
    all.insert("github.as-code.io/token".into(), "ci".into());
    let pod = json!({"metadata": {"annotations": all}, "spec": {"containers": [{"name": "app"}]}});
    let (decided, warnings) = decide(&pod);
    assert_eq!(decided.unwrap().reason, Reason::Injected);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("997 more"), "{warnings:?}");
}

/// A pod of these annotations and this spec that is refused; the message.
fn refused(annotations: &Value, spec: &Value) -> String {
    let mut pod = json!({"metadata": {"annotations": {"github.as-code.io/token": "ci"}}, "spec": spec});
    for (name, value) in annotations.as_object().unwrap() {
        pod["metadata"]["annotations"][format!("github.as-code.io/{name}")] = value.clone();
    }
    decide(&pod).0.unwrap_err().message
}

#[test]
fn lists_that_are_too_long_are_named_with_their_limit() {
    let list = |count: usize| (0..count).map(|n| json!({"name": format!("x{n}")})).collect::<Vec<_>>();
    let app = json!([{"name": "app"}]);
    let mut variables = list(4096);
    variables.push(json!({"name": "GIT_CONFIG_COUNT"}));
    for (spec, text) in [
        (
            json!({"containers": list(257)}),
            "spec.containers has more than 256 entries",
        ),
        (
            json!({"containers": app, "initContainers": list(257)}),
            "spec.initContainers has more than 256",
        ),
        (
            json!({"containers": app, "volumes": list(1025)}),
            "spec.volumes has more than 1024",
        ),
        (
            json!({"containers": [{"name": "app", "volumeMounts": list(257)}]}),
            "volumeMounts or volumeDevices of container 'app' has more than 256",
        ),
        (
            json!({"containers": [{"name": "app", "volumeDevices": list(257)}]}),
            "volumeMounts or volumeDevices of container 'app' has more than 256",
        ),
        (
            json!({"containers": [{"name": "app", "env": variables}]}),
            "env of container 'app' has more than 4096",
        ),
    ] {
        let message = refused(&json!({}), &spec);
        assert!(message.contains(text), "{message}");
    }
    let most = json!({"containers": list(256), "initContainers": list(256), "volumes": list(1024)});
    let pod = json!({"metadata": {"annotations": {"github.as-code.io/token": "ci"}}, "spec": most});
    assert_eq!(decide(&pod).0.unwrap().reason, Reason::Injected);
}

#[test]
fn a_device_leaves_no_room_where_it_is_nor_below_it() {
    let at =
        |path: &str| json!({"containers": [{"name": "app", "volumeDevices": [{"name": "v", "devicePath": path}]}]});
    for path in ["/data/token", "/data//token/", "/data", "/data/token/raw"] {
        let message = refused(&json!({"mount-path": "/data/token"}), &at(path));
        let told =
            format!("container 'app' has a device at '{path}', which leaves no room for the token at /data/token");
        assert!(message.contains(&told), "{message}");
    }
    let pod = json!({"metadata": {"annotations": {"github.as-code.io/token": "ci"}}, "spec": at("/data")});
    assert_eq!(decide(&pod).0.unwrap().reason, Reason::Injected);
}

#[test]
fn nothing_is_put_below_what_the_node_mounts_read_only() {
    let below = |source: &Value| {
        let mut volume = source.clone();
        volume["name"] = json!("v");
        json!({"volumes": [volume], "containers": [{"name": "app", "volumeMounts": [{"name": "v", "mountPath": "/data"}]}]})
    };
    for source in [
        json!({"image": {"reference": "x"}}),
        json!({"persistentVolumeClaim": {"claimName": "x", "readOnly": true}}),
        json!({"nfs": {"server": "x", "path": "/", "readOnly": true}}),
        json!({"csi": {"driver": "x", "readOnly": true}}),
        json!({"hostPath": {"path": "/x", "type": "File"}}),
        json!({"hostPath": {"path": "/x", "type": "Socket"}}),
        json!({"configMap": {"name": "x"}}),
    ] {
        let message = refused(&json!({"mount-path": "/data/token"}), &below(&source));
        assert!(message.contains("a mount at '/data'"), "{source}: {message}");
    }
    for source in [
        json!({"emptyDir": {}}),
        json!({"persistentVolumeClaim": {"claimName": "x"}}),
        json!({"persistentVolumeClaim": {"claimName": "x", "readOnly": false}}),
        json!({"hostPath": {"path": "/x"}}),
        json!({"hostPath": {"path": "/x", "type": "DirectoryOrCreate"}}),
        // Of a sort that comes after us.
        json!({"future": [1, "readOnly"], "configMap": null}),
    ] {
        let annotations = json!({"github.as-code.io/token": "ci", "github.as-code.io/mount-path": "/data/token"});
        let pod = json!({"metadata": {"annotations": annotations}, "spec": below(&source)});
        assert_eq!(decide(&pod).0.unwrap().reason, Reason::Injected, "{source}");
    }
}

#[test]
fn files_of_every_container_are_no_place_for_a_token() {
    let app = json!({"containers": [{"name": "app"}]});
    for file in [
        "/etc/hosts",
        "/etc/resolv.conf",
        "/etc/hostname",
        "/etc/passwd",
        "/etc/group",
        "/etc/shadow",
    ] {
        for path in [file, &format!("{file}/token")] {
            let message = refused(&json!({"mount-path": path}), &app);
            let told = format!("'{path}' would hide, or lie in, {file}: choose a folder of its own");
            assert!(message.contains(&told), "{message}");
        }
    }
}

#[test]
fn blanks_around_a_value_are_not_part_of_it() {
    let values = |blank: &str| {
        let all = [
            ("token", "ci"),
            ("inject", "file, env"),
            ("containers", "app"),
            ("mount-path", "/data/token"),
            ("file-mode", "0440"),
            ("env", "A, B"),
            ("env-conflict", "deny"),
            ("on-missing", "wait"),
            ("git-hosts", "github.com"),
            ("git-ssh-rewrite", "true"),
        ];
        let named = all.map(|(name, value)| {
            (
                format!("github.as-code.io/{name}"),
                format!("{blank}{value}{blank}").into(),
            )
        });
        serde_json::Map::from_iter(named)
    };
    let asked = |values: serde_json::Map<String, Value>| {
        let text = json!({"metadata": {"annotations": values}}).to_string();
        let pod: Pod<'_> = serde_json::from_str(&text).unwrap();
        asks(&pod.metadata.annotations, NAMESPACE, &mut Warnings::default()).unwrap()
    };
    assert_eq!(asked(values(" \n")), asked(values("")));
    let message = refused(
        &json!({"git-ssh-rewrite": " tr ue"}),
        &json!({"containers": [{"name": "app"}]}),
    );
    assert!(message.contains("'tr ue' is neither true nor false"), "{message}");
}

#[test]
fn annotations_that_no_pod_may_have_are_named() {
    let long = "a,".repeat(140_000);
    let message = refused(&json!({"containers": long}), &json!({"containers": [{"name": "app"}]}));
    assert!(
        message.contains("annotation github.as-code.io/containers: with it") && message.contains("262144 bytes"),
        "{message}"
    );
}

#[test]
fn a_patch_that_could_not_be_stored_is_refused() {
    let hosts: Vec<String> = (0..64).map(|n| format!("host{n}.example.com")).collect();
    let annotations = json!({"git-hosts": hosts.join(","), "git-ssh-rewrite": "true"});
    let list: Vec<Value> = (0..256).map(|n| json!({"name": format!("x{n}")})).collect();
    let message = refused(&annotations, &json!({"containers": list}));
    assert!(
        message.contains("longer than 1048576 bytes") && message.contains("git-hosts"),
        "{message}"
    );
}

#[test]
fn a_host_with_the_port_of_https_is_the_host() {
    let annotations = json!({"git-hosts": "github.com", "token.docs": "docs", "git-hosts.docs": "github.com:0443"});
    let message = refused(&annotations, &json!({"containers": [{"name": "app"}]}));
    assert!(message.contains("are both for 'github.com'"), "{message}");
    let pod = json!({"metadata": {"annotations": {"github.as-code.io/token": "ci", "github.as-code.io/git-hosts": "github.com:443,github.com"}},
        "spec": {"containers": [{"name": "app"}]}});
    let text = decide(&pod).0.unwrap().patch;
    assert!(!String::from_utf8_lossy(text.json()).contains(":443"));
}

#[test]
fn what_is_wrong_with_a_cluster_token_is_not_told_to_every_namespace() {
    let mut all = facts();
    let wrong = fixtures::cluster_token(json!({"secret": {"namespace": "team-b"}, "permissions": {}}));
    let wrong = TokenFacts::new(&Intent::new(&wrong), &status(false), false);
    assert!(wrong.secret.is_err());
    all.insert(key(Kind::ClusterToken, "wrong"), wrong);
    let pod = r#"{"metadata": {"annotations": {"github.as-code.io/cluster-token": "wrong"}}, "spec": {"containers": [{"name": "app"}]}}"#;
    let view: Pod<'_> = serde_json::from_str(pod).unwrap();
    let mut warnings = Warnings::default();
    let asks = asks(view.annotations(), NAMESPACE, &mut warnings).unwrap();
    let message = inject(&view, NAMESPACE, &asks, &all, &mut warnings)
        .unwrap_err()
        .message;
    assert_eq!(
        message,
        "ClusterToken wrong is wrong, so it keeps no Secret: its condition says why"
    );
}

#[test]
fn more_tokens_than_fit_are_refused() {
    let one = |n: usize| (format!("github.as-code.io/token.t{n}"), Value::from("ci"));
    let all: serde_json::Map<String, Value> = (0..17).map(one).collect();
    let pod = json!({"metadata": {"annotations": all}, "spec": {"containers": [{"name": "app"}]}});
    let refusal = decide(&pod).0.unwrap_err();
    assert!(refusal.message.contains("17 tokens"), "{}", refusal.message);
}

#[test]
fn a_secret_of_another_namespace_is_never_referred_to_even_while_its_token_goes() {
    let mut all = facts();
    let shared = key(Kind::ClusterToken, "elsewhere");
    all.get_mut(&shared).unwrap().deleting = true;
    assert_eq!(
        all[&shared].secret.as_ref().unwrap().key,
        SecretKey {
            namespace: "team-b".into(),
            name: "shared".into()
        }
    );
    let pod = json!({
        "metadata": {"annotations": {"github.as-code.io/cluster-token": "elsewhere", "github.as-code.io/on-missing": "wait"}},
        "spec": {"containers": [{"name": "app"}]}});
    let text = pod.to_string();
    let view: Pod<'_> = serde_json::from_str(&text).unwrap();
    let mut warnings = Warnings::default();
    let asks = asks(&view.metadata.annotations, NAMESPACE, &mut warnings).unwrap();
    let refusal = inject(&view, NAMESPACE, &asks, &all, &mut warnings).unwrap_err();
    assert_eq!(refusal.reason, Reason::OtherNamespace);
    assert!(!refusal.message.contains("team-b"), "{}", refusal.message);
}

#[test]
fn a_name_that_is_spelled_with_escapes_is_the_same_name() {
    let pod = r#"{"metadata": {"annotations": {"github.as-code.io/token": "ci"}},
        "spec": {"containers": [{"name": "app", "env": [{"name": "GIT_CONFI\u0047_COUNT", "value": "7"}]}]}}"#;
    let view: Pod<'_> = serde_json::from_str(pod).unwrap();
    let mut warnings = Warnings::default();
    let asks = asks(view.annotations(), NAMESPACE, &mut warnings).unwrap();
    let injection = inject(&view, NAMESPACE, &asks, &facts(), &mut warnings).unwrap();
    let patch = std::str::from_utf8(injection.patch.json()).unwrap();
    assert!(
        patch.contains("GIT_CONFIG_KEY_7") && !patch.contains("GIT_CONFIG_KEY_0"),
        "{patch}"
    );
}

#[test]
fn variables_that_are_none_are_refused_and_not_quoted() {
    for env in [
        json!({"GIT_CONFIG_COUNT": "hunter2"}),
        json!("hunter2"),
        json!([{"name": "GH_TOKEN", "value": 2}, "GIT_CONFIG_"]),
    ] {
        let pod = json!({"metadata": {"annotations": {"github.as-code.io/token": "ci"}}, "spec": {"containers": [{"name": "app", "env": env}]}});
        let refusal = decide(&pod).0.unwrap_err();
        assert_eq!(refusal.reason, Reason::NotInjectable);
        assert_eq!(
            refusal.message,
            "env of container 'app' is no list of variables: correct it"
        );
    }
}
