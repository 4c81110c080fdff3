//! AdmissionReview bodies, up to the answer: what is let in only grows, and a second run adds nothing.
#![no_main]

use std::collections::BTreeMap;

use github_token_manager::api::{ClusterToken, Token, TokenPolicy};
use github_token_manager::domain::intent::{Intent, Key};
use github_token_manager::domain::pod::{Pod, SecretFacts, TokenFacts, Warnings, asks, inject};
use github_token_manager::domain::policy::Policy;
use github_token_manager::domain::review::{Answer, Request, read_object, read_pod};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Every Token that is asked for exists.
fn known(token: &Key, namespace: &str) -> TokenFacts {
    TokenFacts {
        deleting: false,
        secret: Ok(SecretFacts::presumed(token, namespace)),
        not_ready: None,
    }
}

fn decide(request: &Request<'_, Pod<'_>>) -> Answer {
    let mut warnings = Warnings::default();
    let Some(pod) = &request.object else {
        return Answer::default();
    };
    let decided = asks(pod.annotations(), &request.namespace, &mut warnings).and_then(|asks| {
        let facts = asks
            .iter()
            .map(|ask| (ask.token.clone(), known(&ask.token, &request.namespace)));
        let facts: BTreeMap<Key, TokenFacts> = facts.collect();
        inject(pod, &request.namespace, &asks, &facts, &mut warnings)
    });
    match decided {
        Ok(injection) => Answer {
            patch: Some(injection.patch),
            warnings: warnings.into_texts(),
            refusal: None,
        },
        Err(refusal) => Answer {
            refusal: Some(refusal.message),
            warnings: warnings.into_texts(),
            patch: None,
        },
    }
}

/// As one of our kinds: whatever it is, it is read or refused.
fn read_as_ours(body: &[u8]) {
    let Ok(request) = read_object(body) else { return };
    for object in request.object.iter().chain(&request.old_object) {
        let _ = object.read::<TokenPolicy>().map(|policy| Policy::flaw(&policy.spec));
        let _ = object.read::<Token>().and_then(|token| Intent::new(&token));
        let _ = object.read::<ClusterToken>().and_then(|token| Intent::new(&token));
    }
}

fuzz_target!(|body: &[u8]| {
    read_as_ours(body);
    let Ok(request) = read_pod(body) else {
        return;
    };
    let answer = decide(&request);
    let written = answer.write(&request.uid).expect("JSON");
    let _: Value = serde_json::from_slice(&written).expect("JSON");
    let Some(patch) = &answer.patch else { return };
    let operations = std::str::from_utf8(patch.json()).expect("a text");
    assert!(!operations.contains("$("), "Kubernetes would expand it");
    let operations: json_patch::Patch = serde_json::from_str(operations).expect("RFC 6902");
    // A number that nobody reads may be out of range.
    let Ok(mut review) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    let Some(object) = review
        .pointer_mut("/request/object")
        .filter(|object| object.is_object())
    else {
        return;
    };
    // A list that is null is made; everything else that a pod lacks was read as empty.
    if json_patch::patch(object, &operations).is_err() {
        assert!(
            object.get("metadata").is_none_or(|meta| !meta.is_object())
                || object.get("spec").is_none_or(|spec| !spec.is_object())
        );
        return;
    }
    let again = serde_json::to_vec(&review).expect("JSON");
    let again = read_pod(&again).expect("it was read before");
    let again = decide(&again);
    assert_eq!(again.refusal, None);
    assert!(
        again.patch.is_none_or(|patch| patch.is_empty()),
        "a second run adds something"
    );
});
