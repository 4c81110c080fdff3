//! `tests/golden/pods`: for each pod what is done to it, as it was last looked at.

use std::path::Path;

use super::*;
use crate::golden::assert_golden;

#[test]
fn every_pod_gets_what_was_looked_at() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pods");
    let mut cases: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    cases.sort();
    assert!(cases.len() > 70, "{cases:?}");
    for case in cases {
        let text = std::fs::read_to_string(folder.join(&case).join("pod.json")).unwrap();
        let (decided, warnings) = decide(&serde_json::from_str(&text).unwrap());
        let answer = match decided {
            Ok(injection) => {
                json!({"reason": injection.reason.as_str(), "patch": injection.patch, "warnings": warnings})
            }
            Err(refusal) => {
                json!({"refused": refusal.reason.as_str(), "message": refusal.message, "warnings": warnings})
            }
        };
        let text = serde_json::to_string_pretty(&answer).unwrap() + "\n";
        assert_golden(&format!("tests/golden/pods/{case}/answer.json"), &text);
    }
}
