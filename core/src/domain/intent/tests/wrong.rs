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
            json!({"secret": {"name": "a".repeat(254)}}),
            ["spec.secret.name", "is no name", "write lower-case"],
        ),
        (
            json!({"appRef": {"name": "team/app"}}),
            ["spec.appRef.name", "'team/app' is no name", "write lower-case"],
        ),
        (
            json!({"appRef": {"name": ".."}}),
            ["spec.appRef.name", "'..' is no name", "write lower-case"],
        ),
        (
            json!({"appRef": {"name": "App"}}),
            ["spec.appRef.name", "'App' is no name", "write lower-case"],
        ),
        (
            json!({"secret": {"labels": {"a b": "c"}}}),
            ["spec.secret.labels", "'a b' is no label's name", "write at most 63"],
        ),
        (
            json!({"secret": {"labels": {"": "x"}}}),
            ["spec.secret.labels", "'' is no label's name", "write at most 63"],
        ),
        (
            json!({"secret": {"labels": {"Example.com/team": "x"}}}),
            ["spec.secret.labels", "'Example.com/team' is no label's", "a DNS name"],
        ),
        (
            json!({"secret": {"labels": {"team": "a".repeat(64)}}}),
            ["spec.secret.labels: team: 'aaa", "is no label's value", "at most 63"],
        ),
        (
            json!({"secret": {"labels": {"team": "a "}}}),
            [
                "spec.secret.labels: team",
                "'a\\u{20}' is no label's value",
                "no blanks",
            ],
        ),
        (
            json!({"secret": {"annotations": {"a b": "c"}}}),
            ["spec.secret.annotations", "'a b' is no annotation's name", "write at"],
        ),
        (
            json!({"secret": {"annotations": {"a": "b".repeat(names::MOST_ANNOTATIONS)}}}),
            [
                "spec.secret.annotations: 253953 bytes",
                "room for 253952",
                "shorten them",
            ],
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

#[test]
fn labels_and_annotations_that_the_api_server_takes_are_taken() {
    let (other, text) = ("Example.com/b", " any text\n");
    let most = "b".repeat(names::MOST_ANNOTATIONS - 1 - other.len() - text.len());
    let spec = json!({"secret": {
        "labels": {"team": "", "example.com/Team": "a".repeat(63)},
        "annotations": {"a": most, other: text, "github.as-code.io/dropped anyway": "x"}}});
    let secret = intent(spec).secret;
    assert_eq!((secret.labels.len(), secret.annotations.len()), (2, 2));
}

#[test]
fn namespaces_that_a_cluster_token_names_are_namespaces() {
    let message = |spec: Value| Intent::new(&cluster_token(spec)).unwrap_err().message;
    for text in ["a.b", "Team", &"a".repeat(64)] {
        let told = format!("'{text}' is no namespace: write at most 63 lower-case");
        let own = message(json!({"secret": {"namespace": text}}));
        assert!(
            own.starts_with("spec.secret.namespace: ") && own.contains(&told),
            "{own}"
        );
        let app = message(json!({"appRef": {"name": "app", "namespace": text}, "secret": {"namespace": "team-a"}}));
        assert!(
            app.starts_with("spec.appRef.namespace: ") && app.contains(&told),
            "{app}"
        );
    }
}

#[test]
fn an_object_has_a_name_that_changes_no_url() {
    let named = |name: &str, begin: Option<&str>| {
        let mut object = token(json!({}));
        object.metadata.name = begin.is_none().then(|| name.to_owned());
        object.metadata.generate_name = begin.map(str::to_owned);
        Intent::new(&object)
    };
    for name in ["ci", &"a".repeat(253)] {
        assert_eq!(&*named(name, None).unwrap().secret.key.name, name);
    }
    assert!(named("", Some("ci-")).is_ok());
    for text in ["ci?x=", "../ci", "a/b"] {
        for problem in [named(text, None).unwrap_err(), named("", Some(text)).unwrap_err()] {
            let told = format!("metadata.name: '{text}' is no name: write lower-case letters");
            assert!(problem.message.starts_with(&told), "{}", problem.message);
        }
    }
}

#[test]
fn however_long_a_field_is_what_is_said_of_it_is_short() {
    let (long, many) = ("x\n".repeat(50_000), vec!["x".repeat(200); 400]);
    let (key, keys): (_, BTreeMap<String, &str>) = (
        json!({&*long: &long}),
        many.iter()
            .enumerate()
            .map(|(n, name)| (format!("{name}{n}"), "x"))
            .collect(),
    );
    for spec in [
        json!({"owner": &long, "installationID": 7}),
        json!({"appRef": {"name": &long}}),
        json!({"repositories": [format!("{long}/")]}),
        json!({"permissions": key}),
        json!({"permissions": keys}),
        json!({"permissions": {"contents": &long}}),
        json!({"permissions": {format!("organization_{long}"): "read"}, "repositories": ["web"]}),
        json!({"permissions": keys, "repositories": many}),
        json!({"refreshInterval": &long}),
        json!({"retryInterval": &long}),
        json!({"revokePreviousAfter": &long}),
        json!({"secret": {"name": &long}}),
        json!({"secret": {"labels": key}}),
        json!({"secret": {"labels": {"a": &long}}}),
        json!({"secret": {"annotations": key}}),
        json!({"secret": {"annotations": {"a": long.repeat(3)}}}),
        json!({"secret": {"extraData": [{"inline": key}, {"secret": {"name": &long}}, {"configMap": {"name": &long}}]}}),
        json!({"secret": {"format": "template", "template": key}}),
        json!({"secret": {"format": "template", "template": {"a": format!("{{{{ {long} }}}}")}}}),
        json!({"secret": {"format": "template", "template": {"a": format!("{{{{ {long}")}}}),
    ] {
        let told: Vec<String> = match Intent::new(&token(spec.clone())) {
            Ok(intent) => intent.warnings.into_iter().map(|warning| warning.message).collect(),
            Err(problem) => vec![problem.message],
        };
        let field = spec.to_string();
        assert!(!told.is_empty(), "{}", &field[..60]);
        let longest = told.iter().map(String::len).max();
        assert!(longest < Some(2_000), "{}: {longest:?} bytes", &field[..60]);
    }
}
