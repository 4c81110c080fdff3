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
