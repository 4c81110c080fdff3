//! Values of a pod's annotations: the first byte chooses the key, the rest is the value.
#![no_main]

use std::collections::BTreeMap;

use github_token_manager::api::names::annotation::PREFIX;
use github_token_manager::api::names::pod::{ALL, INJECT, TOKEN};
use github_token_manager::domain::intent::Key;
use github_token_manager::domain::pod::{Annotations, Pod, SecretFacts, TokenFacts, Warnings, asks, inject};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let Ok(value) = std::str::from_utf8(rest) else { return };
    let key = ALL[usize::from(*first) % ALL.len()];
    let (token, inject_by) = (format!("{PREFIX}{TOKEN}"), format!("{PREFIX}{INJECT}"));
    let named = format!("{PREFIX}{key}");
    let annotations = Annotations::from([
        (token.as_str().into(), "ci".into()),
        (inject_by.as_str().into(), "file,git,env".into()),
        (named.as_str().into(), value.into()),
    ]);
    let pod: Pod<'_> =
        serde_json::from_str(r#"{"spec":{"containers":[{"name":"app","env":[{"name":"GH_TOKEN","value":"x"}]}]}}"#)
            .expect("a pod");
    let mut warnings = Warnings::default();
    let decided = asks(&annotations, "team", &mut warnings).and_then(|asks| {
        let facts = asks.iter().map(|ask| {
            let secret = Ok(SecretFacts::presumed(&ask.token, "team"));
            (
                ask.token.clone(),
                TokenFacts {
                    deleting: false,
                    secret,
                    not_ready: None,
                },
            )
        });
        inject(
            &pod,
            "team",
            &asks,
            &facts.collect::<BTreeMap<Key, TokenFacts>>(),
            &mut warnings,
        )
    });
    match decided {
        Ok(injection) => {
            let text = std::str::from_utf8(injection.patch.json()).expect("a text");
            assert!(!text.contains("$(") && !text.contains("/../"), "{text}");
        }
        Err(refusal) => {
            assert!(!refusal.message.is_empty() && refusal.message.len() < 4096 && !refusal.message.contains('\n'))
        }
    }
});
