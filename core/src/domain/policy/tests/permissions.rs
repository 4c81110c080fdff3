//! Names of permissions that GitHub may read as one that a policy limits.

use super::*;

#[test]
fn a_name_that_is_spelled_otherwise_has_the_limit_of_the_name() {
    let limits = json!({"permissions": {"contents": "read", " Issues": "read", "*": "write"}});
    for (name, shown) in [
        ("contents", "contents"),
        ("Contents", "Contents"),
        ("CONTENTS", "CONTENTS"),
        ("contents ", "contents\\u{20}"),
        ("\tcontents", "\\u{20}contents"),
        ("issues", "issues"),
    ] {
        let asked = |level: &str| refused(&[("p", limits.clone())], json!({"permissions": {name: level}}));
        assert_eq!(asked("read"), None, "{name}");
        let message = asked("write").unwrap();
        let told = format!("spec.permissions.{shown}: 'write' is more than 'read'");
        assert!(message.contains(&told), "{message}");
    }
    let others = json!({"permissions": {"pull_requests": "write", "content": "write"}});
    assert_eq!(refused(&[("p", limits)], others), None);
}

#[test]
fn a_blank_that_makes_a_name_another_one_is_shown() {
    let named = json!({"repositories": ["fleet ", "web-x"]});
    let message = refused(&[("p", json!({"repositories": ["fleet", "web-*"]}))], named).unwrap();
    assert!(
        message.contains("spec.repositories: 'fleet\\u{20}' is none of: fleet, web-*"),
        "{message}"
    );
}
