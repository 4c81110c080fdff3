//! `tests/golden/pods`: for each pod what is done to it, as it was last looked at.

use super::*;
use lab::golden::{assert_golden, cases};

#[test]
fn every_pod_gets_what_was_looked_at() {
    let cases = cases("tests/golden/pods", "pod.json");
    assert!(cases.len() > 70, "{cases:?}");
    for (case, text) in cases {
        let (decided, warnings) = decide(&serde_json::from_str(&text).unwrap());
        let answer = match decided {
            Ok(injection) => {
                let patch: Value = serde_json::from_slice(injection.patch.json()).unwrap();
                json!({"reason": injection.reason.as_str(), "patch": patch, "warnings": warnings})
            }
            Err(refusal) => {
                json!({"refused": refusal.reason.as_str(), "message": refusal.message, "warnings": warnings})
            }
        };
        let text = serde_json::to_string_pretty(&answer).unwrap() + "\n";
        assert_golden(&format!("tests/golden/pods/{case}/answer.json"), &text);
    }
}
