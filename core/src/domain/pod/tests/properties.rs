//! What holds for every pod, however it is made.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn variable() -> impl Strategy<Value = Value> {
    let name = select(vec![
        "GH_TOKEN",
        "GITHUB_TOKEN_FILE",
        "GIT_CONFIG_KEY_0",
        "GIT_CONFIG_VALUE_0",
        "OTHER",
    ]);
    let literal = (name.clone(), "[a-z$() ]{0,6}").prop_map(|(name, value)| json!({"name": name, "value": value}));
    let count = "[0-9]{0,2}".prop_map(|value| json!({"name": "GIT_CONFIG_COUNT", "value": value}));
    let reference = select(vec!["GH_TOKEN", "GIT_CONFIG_COUNT"])
        .prop_map(|name| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}));
    let unknown = Just(json!({"name": "N", "futureField": {"a": 1}}));
    prop_oneof![literal, count, reference, unknown]
}

fn container() -> impl Strategy<Value = Value> {
    let name = select(vec!["app", "other", "istio-proxy", "github-token-default"]);
    let mount = (
        select(vec!["data", "config", "github-token-default"]),
        select(vec![
            "/data",
            "/etc/app/",
            "/var/run/secrets/github.as-code.io",
            "/var/run/secrets/github.as-code.io/default",
        ]),
        any::<bool>(),
    );
    let mount = mount.prop_map(|(name, path, ro)| json!({"name": name, "mountPath": path, "readOnly": ro}));
    (
        name,
        option::of(vec(variable(), 0..4)),
        option::weighted(0.4, vec(mount, 0..2)),
    )
        .prop_map(|(name, env, mounts)| {
            let mut container = json!({"name": name, "image": "x"});
            env.into_iter().for_each(|env| container["env"] = env.into());
            mounts
                .into_iter()
                .for_each(|mounts| container["volumeMounts"] = mounts.into());
            container
        })
}

fn annotations() -> impl Strategy<Value = Vec<(String, String)>> {
    let word = select(crate::api::names::pod::ALL.to_vec());
    let id = select(vec!["", "", ".docs", ".default"]);
    let good = select(vec![
        "ci",
        "docs",
        "fresh",
        "own",
        "file,git,env",
        "env",
        "git",
        "*",
        "app",
        "/data/token",
        "0440",
        "GH_TOKEN,X",
        "keep",
        "override",
        "deny",
        "github.com",
        "git.example.com:8443",
        "true",
        "wait",
        "ignore",
    ]);
    let value = prop_oneof![6 => good.prop_map(str::to_owned), 1 => ".{0,12}"];
    vec(
        (word, id, value).prop_map(|(word, id, value)| (format!("github.as-code.io/{word}{id}"), value)),
        0..6,
    )
}

fn pod() -> impl Strategy<Value = Value> {
    let volume = prop_oneof![
        Just(json!({"name": "data", "emptyDir": {}})),
        Just(json!({"name": "config", "configMap": {"name": "c"}})),
        Just(json!({"name": "future", "futureSource": {"x": [1]}})),
    ];
    let spec = (
        vec(container(), 1..4),
        option::of(vec(container(), 0..2)),
        option::of(vec(volume, 0..3)),
        option::of(0..3000i64),
        select(vec!["Never", "Always"]),
    );
    (annotations(), any::<bool>(), spec).prop_map(|(pairs, opted, (containers, init, volumes, group, restart))| {
        let mut all: serde_json::Map<String, Value> = pairs.into_iter().map(|(k, v)| (k, v.into())).collect();
        if opted {
            all.insert("github.as-code.io/token".into(), "ci".into());
        }
        all.insert("example.com/other".into(), "stays".into());
        let mut spec = json!({"containers": containers, "restartPolicy": restart, "future": {"k": null}});
        init.into_iter().for_each(|init| spec["initContainers"] = init.into());
        volumes.into_iter().for_each(|volumes| spec["volumes"] = volumes.into());
        group
            .into_iter()
            .for_each(|group| spec["securityContext"] = json!({"fsGroup": group}));
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "p-", "annotations": all}, "spec": spec})
    })
}

/// Whether everything of `before` is in `after`, in its order.
fn is_kept(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before
            .iter()
            .all(|(name, value)| after.get(name).is_some_and(|now| is_kept(value, now))),
        (Value::Array(before), Value::Array(after)) => {
            let mut after = after.iter();
            before.iter().all(|value| after.any(|now| is_kept(value, now)))
        }
        (before, after) => before == after,
    }
}

/// The values of the variables that the node sets: of two, the later one counts; `$(` expands.
fn environment(container: &Value) -> BTreeMap<String, String> {
    let env = container["env"].as_array().cloned().unwrap_or_default();
    let pair = |item: Value| {
        Some((
            item["name"].as_str()?.to_owned(),
            item["value"].as_str().unwrap_or("").to_owned(),
        ))
    };
    env.into_iter().filter_map(pair).collect()
}

/// Whether a container's count of git's settings is not in its text.
fn counts_elsewhere(container: &Value) -> bool {
    let mut env = container["env"].as_array().into_iter().flatten().rev();
    let count = env.find(|variable| variable["name"] == "GIT_CONFIG_COUNT");
    count.is_some_and(|variable| !variable["valueFrom"].is_null())
}

/// Whether git, which reads as many settings as it is told, finds ours: the reset, and the helper right after it.
fn is_set_up(env: &BTreeMap<String, String>) -> bool {
    let count: usize = env
        .get("GIT_CONFIG_COUNT")
        .and_then(|count| count.parse().ok())
        .unwrap_or(0);
    let setting = |at: usize| {
        let name = env.get(&format!("GIT_CONFIG_KEY_{at}"))?;
        let is_ours = name == "credential.https://github.com.helper";
        env.get(&format!("GIT_CONFIG_VALUE_{at}")).filter(|_| is_ours)
    };
    let helper = |value: &String| value.starts_with("!f() ") && value.contains("/default/token'");
    (1..count).any(|at| setting(at - 1).is_some_and(String::is_empty) && setting(at).is_some_and(helper))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, max_global_rejects: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn a_patch_applies_changes_nothing_and_a_second_run_adds_nothing(pod in pod()) {
        if let (Ok(injection), _) = decide(&pod) {
            let after = patched(&pod, &injection);
            prop_assert!(is_kept(&pod, &after), "{after:#}");
            let (again, _) = decide(&after);
            prop_assert_eq!(again.map(|again| again.patch), Ok(Patch::default()));
        }
    }

    #[test]
    fn nothing_that_is_added_is_expanded_by_kubernetes(pod in pod()) {
        if let (Ok(injection), _) = decide(&pod) {
            let patch = std::str::from_utf8(injection.patch.json()).unwrap();
            prop_assert!(!patch.contains("$("), "{}", patch);
        }
    }

    #[test]
    fn git_finds_all_of_its_settings(mut pod in pod()) {
        pod["metadata"]["annotations"] = json!({"github.as-code.io/token": "ci", "github.as-code.io/containers": "*"});
        let (decided, warnings) = decide(&pod);
        // One with a mount in the way is refused; if all were, too many would be left out.
        prop_assume!(decided.is_ok());
        let after = patched(&pod, &decided.unwrap());
        for list in ["initContainers", "containers"] {
            for at in 0..after["spec"][list].as_array().map_or(0, Vec::len) {
                let env = environment(&after["spec"][list][at]);
                if counts_elsewhere(&pod["spec"][list][at]) {
                    prop_assert!(warnings.iter().any(|warning| warning.contains("git is not set up in it")));
                } else {
                    prop_assert!(is_set_up(&env), "{env:?}");
                }
            }
        }
    }

    #[test]
    fn no_value_of_an_annotation_panics(word in select(crate::api::names::pod::ALL.to_vec()), value in "\\PC{0,40}|[/.$'\"\n(){}a-z]{0,40}") {
        let name = format!("github.as-code.io/{word}");
        let pod = json!({"metadata": {"annotations": {"github.as-code.io/token": "ci", name: value}}, "spec": {"containers": [{"name": "app"}]}});
        let _ = decide(&pod);
    }
}
