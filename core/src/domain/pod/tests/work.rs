//! What a review takes grows with what is sent, and not by as much again for each token.

use std::time::{Duration, Instant};

use super::*;

/// How long such a pod takes, at best.
#[expect(clippy::disallowed_methods, reason = "the time is what is tested")]
fn takes(tokens: usize, annotations: &[(&str, String)], container: &Value) -> Duration {
    let mut all = serde_json::Map::new();
    for id in 0..tokens {
        all.insert(format!("github.as-code.io/token.t{id}"), "ci".into());
        for (name, value) in annotations {
            let value = value.replace("ID", &id.to_string());
            all.insert(format!("github.as-code.io/{name}.t{id}"), value.into());
        }
    }
    let pod = json!({"metadata": {"annotations": all}, "spec": {"containers": vec![container; 20]}}).to_string();
    let once = || {
        let began = Instant::now();
        let view: Pod<'_> = serde_json::from_str(&pod).unwrap();
        let mut warnings = Warnings::default();
        let asks = asks(view.annotations(), NAMESPACE, &mut warnings).unwrap();
        let injection = inject(&view, NAMESPACE, &asks, &facts(), &mut warnings).unwrap();
        assert_eq!(injection.reason, Reason::Injected);
        began.elapsed()
    };
    (0..5).map(|_| once()).min().unwrap()
}

#[test]
fn mounts_are_looked_at_once_however_many_tokens_there_are() {
    let mount = |n: usize| json!({"name": "v", "mountPath": format!("/{n}{}", "/".repeat(40))});
    let container = json!({"name": "app", "volumeMounts": (0..256).map(mount).collect::<Vec<_>>()});
    let annotations = [("inject", "file".to_owned())];
    let (one, most) = (takes(1, &annotations, &container), takes(16, &annotations, &container));
    println!("{one:?}, {most:?}");
    assert!(most < 3 * one, "{one:?} with one token, {most:?} with 16");
}

#[test]
fn variables_are_not_looked_through_once_for_each_name() {
    let variable = |n: usize| json!({"name": format!("V{n}"), "value": "x".repeat(1000)});
    let container = json!({"name": "app", "env": (0..100).map(variable).collect::<Vec<_>>()});
    let names: Vec<String> = (0..64).map(|n| format!("TOKEN_ID_{n}")).collect();
    let annotations = |names: &[String]| [("inject", "env".to_owned()), ("env", names.join(","))];
    let one = takes(1, &annotations(&names[..1]), &container);
    let most = takes(8, &annotations(&names[..40]), &container);
    println!("{one:?}, {most:?}");
    assert!(most < 3 * one, "{one:?} with one name, {most:?} with 320");
}

#[test]
fn however_long_an_annotation_or_a_name_is_what_is_said_of_it_is_short() {
    let long = "x\n".repeat(60_000);
    let told = |annotations: Value, container: Value| -> Vec<String> {
        let pod = json!({"metadata": {"annotations": annotations}, "spec": {"containers": [container]}}).to_string();
        let view: Pod<'_> = serde_json::from_str(&pod).unwrap();
        let mut warnings = Warnings::default();
        let decided = asks(view.annotations(), NAMESPACE, &mut warnings)
            .and_then(|asks| inject(&view, NAMESPACE, &asks, &facts(), &mut warnings));
        warnings
            .into_texts()
            .into_iter()
            .chain(decided.err().map(|refusal| refusal.message))
            .collect()
    };
    let app = || json!({"name": "app"});
    let mut all: Vec<Vec<String>> = crate::api::names::pod::ALL
        .iter()
        .flat_map(|word| {
            let annotation = |name: String| {
                let mut annotations = json!({"github.as-code.io/token": "ci"});
                annotations[name] = long.as_str().into();
                told(annotations, app())
            };
            [
                annotation(format!("github.as-code.io/{word}")),
                annotation(format!("github.as-code.io/{word}.{long}")),
            ]
        })
        .collect();
    let asked = |more: Value| {
        let mut annotations = json!({"github.as-code.io/token": "ci"});
        for (name, value) in more.as_object().unwrap() {
            annotations[format!("github.as-code.io/{name}")] = value.clone();
        }
        annotations
    };
    let variable = |value: &str| json!({"name": &long, "env": [{"name": "GH_TOKEN", "value": value}]});
    all.extend([
        told(asked(json!({&*long: ""})), app()),
        told(asked(json!({"token": format!("{long}/ci")})), app()),
        told(asked(json!({"containers": "other"})), json!({"name": &long})),
        told(asked(json!({"inject": "env", "env-conflict": "deny"})), variable(&long)),
        told(asked(json!({"inject": "env"})), variable(&long)),
        told(asked(json!({})), json!({"name": &long, "volumeMounts": [{"name": &long, "mountPath": format!("/var/run/secrets/github.as-code.io/default/{long}")}]})),
    ]);
    for (at, told) in all.iter().enumerate() {
        assert!(!told.is_empty(), "{at}");
        let longest = told.iter().map(String::len).max();
        assert!(longest < Some(2_000), "{at}: {longest:?} bytes");
    }
}
