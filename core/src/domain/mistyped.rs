//! Values that are not what their field takes. The API server refuses them, unless its kinds are older.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde_json::Value;

use super::quote;
use super::schema::below;

/// What is said of each value that is not what its schema asks for, and of each that is missing; `path` is where `value` stands.
#[must_use]
pub fn mistyped_values(path: &str, value: &Value, schema: &JSONSchemaProps) -> Vec<String> {
    let mut found = Vec::new();
    visit(path, value, schema, &mut found);
    found
}

fn visit(path: &str, value: &Value, schema: &JSONSchemaProps, found: &mut Vec<String>) {
    if value.is_null() && schema.nullable == Some(true) {
        return;
    }
    if let Some(wanted) = wanted(value, schema) {
        // The object as a whole has no path.
        let (path, shown) = (path.trim_start_matches('.'), shown(value));
        let colon = if path.is_empty() { "" } else { ": " };
        return found.push(format!("{path}{colon}{shown} {wanted}"));
    }
    if let Value::Object(fields) = value {
        let missing = schema.required.iter().flatten();
        let missing = missing.filter(|name| !fields.contains_key(*name));
        found.extend(missing.map(|name| format!("{path}.{name} is missing").trim_start_matches('.').to_owned()));
    }
    for part in below(path, value, schema) {
        if let Some(schema) = part.schema {
            visit(&part.path, part.value, schema, found);
        }
    }
}

/// What the value should be instead, if it is something else.
fn wanted(value: &Value, schema: &JSONSchemaProps) -> Option<String> {
    let (fits, cure) = match schema.type_.as_deref()? {
        "array" => (value.is_array(), "is no list: write one, such as [a, b]"),
        "object" => (value.is_object(), "is no map: write one, such as {a: b}"),
        "string" => (value.is_string(), "is no text: write one, between quotes"),
        "boolean" => (
            value.is_boolean(),
            "is neither true nor false: write one of them, without quotes",
        ),
        "integer" => (
            value.is_i64() || value.is_u64(),
            "is no whole number: write one, such as 1, without quotes",
        ),
        _ => return None,
    };
    if !fits {
        return Some(cure.to_owned());
    }
    let known = schema.enum_.as_ref()?;
    if known.iter().any(|known| known.0 == *value) {
        return None;
    }
    let known: Vec<_> = known.iter().filter_map(|known| known.0.as_str()).collect();
    Some(format!("is unknown: write one of {}", known.join(", ")))
}

/// A longer text may be a key that was written into the wrong field; in bytes.
const LONGEST_SHOWN: usize = 64;

/// The value, as far as it is of use.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.len() > LONGEST_SHOWN => "a long text".to_owned(),
        Value::String(text) => format!("'{}'", quote(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::crd;

    fn told(kind: &str, object: &Value) -> String {
        mistyped_values("", object, &crd::schema_of(kind).expect("a kind")).join("; ")
    }

    #[test]
    fn a_value_that_its_field_does_not_take_is_told_with_the_field_and_what_it_takes() {
        for (spec, message) in [
            (
                json!({"repositories": "fleet"}),
                "spec.repositories: 'fleet' is no list: write one, such as [a, b]",
            ),
            (
                json!({"repositories": ["a", 5]}),
                "spec.repositories[1]: 5 is no text: write one, between quotes",
            ),
            (
                json!({"permissions": ["contents"]}),
                "spec.permissions: a list is no map: write one, such as {a: b}",
            ),
            (
                json!({"permissions": {"contents": true}}),
                "spec.permissions.contents: true is no text: write one, between quotes",
            ),
            (
                json!({"installationID": "12"}),
                "spec.installationID: '12' is no whole number: write one, such as 1, without quotes",
            ),
            (
                json!({"secret": {"basicAuth": "yes"}}),
                "spec.secret.basicAuth: 'yes' is neither true nor false: write one of them, without quotes",
            ),
            (json!({"appRef": {}}), "spec.appRef.name is missing"),
            (json!("all"), "spec: 'all' is no map: write one, such as {a: b}"),
        ] {
            assert_eq!(told("Token", &json!({"spec": spec})), message);
        }
        let unknown = told("Token", &json!({"spec": {"secret": {"format": "yaml"}}}));
        assert!(
            unknown.starts_with("spec.secret.format: 'yaml' is unknown: write one of token, basicAuth, "),
            "{unknown}"
        );
        assert_eq!(told("ClusterToken", &json!({})), "spec is missing");
        assert_eq!(told("Token", &json!([])), "a list is no map: write one, such as {a: b}");
    }

    #[test]
    fn a_secret_in_a_value_is_not_shown() {
        let token = format!("ghs_{}", "a".repeat(36));
        let key = format!("-----BEGIN RSA PRIVATE KEY-----\n{}", "a".repeat(64));
        for secret in [token, key] {
            let told = told("App", &json!({"spec": {"provider": "secret", "keyRef": secret}}));
            assert!(told.contains("is no map") && !told.contains("aaaa"), "{told}");
        }
    }

    #[test]
    fn what_is_left_open_is_not_mistyped() {
        let spec = json!({"installationID": 0, "owner": null, "permissions": {"anything": "read"}, "unknown": 5,
            "secret": {"labels": {"a/b": "c"}, "format": "netrc"}});
        assert_eq!(told("Token", &json!({"metadata": 5, "spec": spec})), "");
    }
}
