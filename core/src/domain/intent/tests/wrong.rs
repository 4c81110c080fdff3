//! What a wrong spec is told.

use super::*;

#[test]
fn a_wrong_spec_names_the_field_the_value_and_the_cure() {
    let many = |entry: Value| Value::Array(vec![entry; 501]);
    for (spec, parts) in [
        (
            json!({"installationID": -7}),
            ["spec.installationID", "-7", "whole numbers from 1"],
        ),
        (
            json!({"installationID": 7, "owner": "acme"}),
            ["spec.owner: acme", "spec.installationID", "leave one of them out"],
        ),
        (
            json!({"repositoryIDs": [4, 0]}),
            ["spec.repositoryIDs", "0 is not an ID", "whole numbers from 1"],
        ),
        (
            json!({"repositories": ["acme/web"]}),
            [
                "spec.repositories",
                "'acme/web'",
                "write 'name' instead of 'owner/name'",
            ],
        ),
        (
            json!({"repositories": [""]}),
            ["spec.repositories", "''", "write 'name'"],
        ),
        (
            json!({"repositories": many(json!("r"))}),
            ["spec.repositories", "501 entries", "at most 500; leave the field out"],
        ),
        (
            json!({"repositoryIDs": many(json!(1))}),
            ["spec.repositoryIDs", "501 entries", "split the Token"],
        ),
        (
            json!({"permissions": {}}),
            ["spec.permissions", "{} is empty", "leave the field out"],
        ),
        (
            json!({"refreshInterval": "soon"}),
            ["spec.refreshInterval", "'soon'", "such as '1h30m', '45m' or '90s'"],
        ),
        (
            json!({"refreshInterval": ""}),
            ["spec.refreshInterval", "''", "such as '1h30m'"],
        ),
        (
            json!({"refreshInterval": "10"}),
            ["spec.refreshInterval", "'10'", "such as '1h30m'"],
        ),
        (
            json!({"retryInterval": "-5m"}),
            ["spec.retryInterval", "'-5m' is negative", "such as '1h30m'"],
        ),
        (
            json!({"revokePreviousAfter": "1 fortnight"}),
            ["spec.revokePreviousAfter", "'1 fortnight'", "such as '1h30m'"],
        ),
        (
            json!({"secret": {"name": "ci#"}}),
            ["spec.secret.name", "'ci#' is no name", "lower-case letters"],
        ),
        (
            json!({"secret": {"name": "../other"}}),
            ["spec.secret.name", "'../other'", "write lower-case"],
        ),
        (
            json!({"secret": {"basicAuth": true, "format": "netrc"}}),
            ["spec.secret", "format is 'netrc'", "remove one of the two"],
        ),
        (
            json!({"secret": {"format": "template"}}),
            ["spec.secret.template", "at least one key", "format is 'template'"],
        ),
        (
            json!({"secret": {"format": "template", "template": {}}}),
            ["spec.secret.template", "at least one key", "format is 'template'"],
        ),
        (
            json!({"secret": {"format": "netrc", "template": {"a": "b"}}}),
            ["spec.secret.template", "if and only if", "format is 'template'"],
        ),
    ] {
        let problem = refused(spec);
        assert_eq!(problem.reason, Reason::InvalidSpec, "{}", problem.message);
        assert!(!problem.retry.is_transient(), "{}", problem.message);
        for part in parts {
            assert!(
                problem.message.contains(part),
                "{part:?} is not in: {}",
                problem.message
            );
        }
    }
}

#[test]
fn a_wrong_template_has_a_reason_of_its_own() {
    for (key, text, part) in [
        ("a b", "x", "letters, digits"),
        ("key", "{{ .tokn }}", "known: .token"),
        ("key", "{{ .token", "not closed"),
    ] {
        let problem = refused(json!({"secret": {"format": "template", "template": {key: text}}}));
        assert_eq!(problem.reason, Reason::InvalidTemplate);
        let field = format!("spec.secret.template['{key}']");
        assert!(
            problem.message.contains(&field) && problem.message.contains(part),
            "{}",
            problem.message
        );
    }
}
