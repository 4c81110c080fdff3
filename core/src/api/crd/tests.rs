use serde_json::{Value, json};

use super::*;

/// Every place in a schema, with its path.
fn walk<'a>(path: &str, schema: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    found.push((path.to_owned(), schema));
    let properties = schema["properties"].as_object().into_iter().flatten();
    for (name, property) in properties {
        walk(&format!("{path}.{name}"), property, found);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            walk(&format!("{path}{mark}"), &schema[key], found);
        }
    }
}

fn schemas() -> Vec<(String, Value)> {
    let crds = all().into_iter().map(|crd| serde_json::to_value(crd).unwrap());
    crds.map(|crd| {
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        (kind, crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone())
    })
    .collect()
}

/// Calls `check` with every place of every schema.
fn each(check: impl Fn(&str, &Value)) {
    for (kind, schema) in schemas() {
        let mut found = Vec::new();
        walk(&kind, &schema, &mut found);
        assert!(found.len() > 30, "{kind} has only {} places", found.len());
        for (path, schema) in found {
            check(&path, schema);
        }
    }
}

fn spec_of(kind: &str) -> Value {
    let all = schemas();
    let (_, schema) = all.iter().find(|(name, _)| name == kind).unwrap();
    schema["properties"]["spec"].clone()
}

#[test]
fn every_field_explains_itself() {
    each(|path, schema| {
        let is_element = path.ends_with("[]") || path.ends_with("{}");
        let text = schema["description"].as_str().unwrap_or_default();
        assert!(is_element || text.len() > 8, "{path} has no description");
        assert!(is_element || text.ends_with(['.', '`']), "{path}: {text}");
    });
}

#[test]
fn every_schema_is_structural() {
    // https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
    each(|path, schema| {
        let kind = schema["type"].as_str();
        assert!(
            kind.is_some() || schema["x-kubernetes-int-or-string"] == true,
            "{path} has no type"
        );
        assert_eq!(
            schema["properties"].is_object() || schema["additionalProperties"].is_object(),
            kind == Some("object"),
            "{path}"
        );
        assert_eq!(schema["items"].is_object(), kind == Some("array"), "{path}");
        for key in [
            "$ref",
            "definitions",
            "patternProperties",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
            "uniqueItems",
        ] {
            assert!(schema[key].is_null(), "{path} has {key}");
        }
    });
}

#[test]
fn nothing_that_is_required_may_be_null_and_nothing_required_is_missing() {
    each(|path, schema| {
        for name in schema["required"].as_array().into_iter().flatten() {
            let property = &schema["properties"][name.as_str().unwrap()];
            assert!(property.is_object(), "{path} requires {name}, which it does not have");
            assert_ne!(property["nullable"], true, "{path}.{name}");
            assert!(
                property["default"].is_null(),
                "{path}.{name} is required, so its default is of no use"
            );
        }
        assert!(
            schema["default"].is_null() || schema["nullable"] != true,
            "{path} has a default, so it is never null"
        );
    });
}

#[test]
fn lists_maps_and_texts_of_a_spec_are_bounded_where_their_rules_cost() {
    // The API server refuses a CRD whose rules could cost too much.
    each(|path, schema| {
        if !schema["x-kubernetes-validations"].is_array() {
            return;
        }
        match schema["type"].as_str() {
            Some("array") => assert!(schema["maxItems"].is_u64(), "{path}"),
            Some("object") if schema["additionalProperties"].is_object() => {
                assert!(schema["maxProperties"].is_u64(), "{path}");
            }
            _ => {}
        }
    });
}

#[test]
fn every_rule_has_a_message_and_stands_once() {
    each(|path, schema| {
        let rules = schema["x-kubernetes-validations"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        for (at, rule) in rules.iter().enumerate() {
            assert!(
                rule["message"].as_str().is_some_and(|text| text.len() > 20),
                "{path}: {rule}"
            );
            assert!(!rules[..at].contains(rule), "{path}: {rule} stands twice");
        }
    });
}

#[test]
fn intervals_have_a_format_a_default_and_their_bounds_in_words() {
    for kind in ["Token", "ClusterToken"] {
        let spec = spec_of(kind);
        for (field, default, bounds) in [
            ("refreshInterval", json!("30m"), ["1m to 55m", "between 1m and 55m"]),
            ("retryInterval", json!("5m"), ["1s to 1h", "between 1s and 1h"]),
            ("revokePreviousAfter", Value::Null, ["10m or more", "at least 10m"]),
        ] {
            let schema = &spec["properties"][field];
            assert_eq!(schema["format"], "duration", "{kind}.{field}");
            assert_eq!(schema["default"], default, "{kind}.{field}");
            let text = schema["description"].as_str().unwrap();
            let message = schema["x-kubernetes-validations"][0]["message"].as_str().unwrap();
            assert!(text.contains(bounds[0]), "{text}");
            assert!(message.contains(bounds[1]), "{message}");
        }
    }
}

#[test]
fn a_token_needs_nothing_and_a_cluster_token_the_namespace_of_its_secret() {
    let (token, cluster_token) = (spec_of("Token"), spec_of("ClusterToken"));
    assert_eq!(token["required"], Value::Null);
    assert_eq!(token["default"], json!({}));
    assert_eq!(cluster_token["required"], json!(["secret"]));
    assert_eq!(cluster_token["properties"]["secret"]["required"], json!(["namespace"]));
}

#[test]
fn a_manifest_of_the_peers_may_say_that_no_installation_is_set() {
    for kind in ["Token", "ClusterToken"] {
        assert_eq!(
            spec_of(kind)["properties"]["installationID"]["minimum"],
            json!(0.0),
            "{kind}"
        );
    }
}

#[test]
fn conditions_are_a_map_by_type_as_server_side_apply_merges_them() {
    for (kind, schema) in schemas().into_iter().filter(|(kind, _)| kind != "TokenPolicy") {
        let conditions = &schema["properties"]["status"]["properties"]["conditions"];
        assert_eq!(conditions["x-kubernetes-list-type"], "map", "{kind}");
        assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]), "{kind}");
    }
}

#[test]
fn people_find_their_way_names_categories_and_columns() {
    let wanted = [
        ("ght", "Namespaced"),
        ("ghct", "Cluster"),
        ("gha", "Namespaced"),
        ("ghtp", "Cluster"),
    ];
    for (crd, (short, scope)) in all().into_iter().zip(wanted) {
        let names = crd.spec.names;
        assert_eq!(names.short_names, Some(vec![short.to_owned()]));
        assert_eq!(names.categories, Some(vec!["github".to_owned()]));
        assert_eq!(crd.spec.scope, scope);
        let version = crd.spec.versions.into_iter().next().unwrap();
        assert!(version.subresources.is_some_and(|sub| sub.status.is_some()));
        let columns = version.additional_printer_columns.unwrap_or_default();
        let columns: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let wanted: &[&str] = match short {
            "gha" => &["Ready", "Reason", "Slug", "Provider", "Key valid", "Age"],
            "ghtp" => &["Enforcement", "Tokens", "Last refusal", "Age"],
            _ => &["Ready", "Secret", "Expires", "Next refresh", "Age"],
        };
        for wanted in wanted {
            assert!(columns.contains(wanted), "{columns:?}");
        }
    }
}

#[test]
fn the_explanation_of_the_format_names_them_all() {
    for kind in ["Token", "ClusterToken"] {
        let format = &spec_of(kind)["properties"]["secret"]["properties"]["format"];
        let text = format["description"].as_str().unwrap();
        let names = format["enum"].as_array().unwrap();
        assert_eq!(names.len(), 9, "{names:?}");
        for name in names {
            assert!(
                text.contains(&format!("`{}`", name.as_str().unwrap())),
                "{name} is not in: {text}"
            );
        }
    }
}
