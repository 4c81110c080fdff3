//! Fields that a kind does not have. The API server refuses them where it is asked to be strict, as kubectl does, and else drops them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrBool};
use serde_json::Value;

use super::nearest;
use super::schema::{below, of_items, property};

/// What is said of each field of `value` that its schema does not have; `path` is where the value stands.
#[must_use]
pub fn unknown_fields(path: &str, value: &Value, schema: &JSONSchemaProps) -> Vec<String> {
    let mut found = Vec::new();
    visit(path, value, schema, &mut found);
    found
}

fn visit(path: &str, value: &Value, schema: &JSONSchemaProps, found: &mut Vec<String>) {
    if value.is_object() && schema.x_kubernetes_preserve_unknown_fields == Some(true) {
        return;
    }
    let is_open = matches!(schema.additional_properties, Some(JSONSchemaPropsOrBool::Bool(true)));
    for part in below(path, value, schema) {
        match (part.schema, part.field) {
            (Some(schema), _) => visit(&part.path, part.value, schema, found),
            (None, Some(name)) if !is_open => found.push(told(&part.path, name, schema)),
            (None, _) => {}
        }
    }
}

/// The fields of `wanted` that the schema `served` does not have, without those below them; `path` is where both stand.
#[must_use]
pub fn lacking_fields(path: &str, wanted: &JSONSchemaProps, served: &JSONSchemaProps) -> Vec<String> {
    let mut found = Vec::new();
    compare(path, wanted, served, &mut found);
    found
}

fn compare(path: &str, wanted: &JSONSchemaProps, served: &JSONSchemaProps, found: &mut Vec<String>) {
    if served.x_kubernetes_preserve_unknown_fields == Some(true) {
        return;
    }
    for (name, wanted) in wanted.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        match property(served, name) {
            Some(served) => compare(&path, wanted, served, found),
            None => found.push(path),
        }
    }
    if let (Some(wanted), Some(served)) = (of_items(wanted), of_items(served)) {
        compare(&format!("{path}[]"), wanted, served, found);
    }
}

fn told(path: &str, name: &str, schema: &JSONSchemaProps) -> String {
    let known: Vec<_> = schema
        .properties
        .iter()
        .flat_map(|all| all.keys())
        .map(String::as_str)
        .collect();
    let all = known.join(", ");
    match nearest(name, known) {
        _ if all.is_empty() => format!("{path} is unknown: leave it out"),
        Some(meant) => format!("{path} is unknown: did you mean {meant}? There are {all}"),
        None => format!("{path} is unknown: there are {all}"),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaPropsOrArray;
    use serde_json::json;

    use super::*;
    use crate::api::crd;

    fn of(kind: &str, spec: &Value) -> Vec<String> {
        let schema = crd::schema_of(kind).expect("a kind");
        unknown_fields("spec", spec, property(&schema, "spec").expect("a spec"))
    }

    #[test]
    fn what_an_older_schema_lacks_is_told_once_for_all_that_is_below_it() {
        let ours = crd::schema_of("Token").expect("a kind");
        let mut older = ours.clone();
        let mut at = &mut older;
        for name in ["status", "conditions"] {
            at = at.properties.as_mut().and_then(|all| all.get_mut(name)).expect(name);
        }
        let Some(JSONSchemaPropsOrArray::Schema(item)) = &mut at.items else {
            panic!("no list")
        };
        item.properties.as_mut().expect("fields").remove("observedGeneration");
        let spec = older
            .properties
            .as_mut()
            .and_then(|all| all.get_mut("spec"))
            .expect("a spec");
        spec.properties.as_mut().expect("fields").remove("secret");
        let lacking = ["Token.spec.secret", "Token.status.conditions[].observedGeneration"];
        assert_eq!(lacking_fields("Token", &ours, &older), lacking);
        assert!(lacking_fields("Token", &older, &ours).is_empty(), "newer is as good");
    }

    #[test]
    fn a_field_that_a_kind_does_not_have_is_told_with_the_one_that_was_meant() {
        for (spec, path, meant) in [
            (
                json!({"permisions": {}}),
                "spec.permisions",
                "did you mean permissions?",
            ),
            (
                json!({"secret": {"fromat": "netrc"}}),
                "spec.secret.fromat",
                "mean format?",
            ),
            (
                json!({"appRef": {"name": "a", "nam": 1}}),
                "spec.appRef.nam",
                "mean name?",
            ),
            (
                json!({"secret": {"extraData": [{}, {"inlin": {}}]}}),
                "spec.secret.extraData[1].inlin",
                "mean inline?",
            ),
        ] {
            let told = of("Token", &spec).join("\n");
            let begins = told.starts_with(&format!("{path} is unknown: "));
            assert!(begins && told.contains(meant) && told.lines().count() == 1, "{told}");
        }
        assert!(of("Token", &json!({"permisions": {}}))[0].contains("There are appRef, installationID"));
        let unlike = &of("Token", &json!({"scope": {}}))[0];
        assert!(
            unlike.starts_with("spec.scope is unknown: there are appRef, "),
            "{unlike}"
        );
        assert_eq!(of("Token", &json!({"secret": {"namespace": "a"}})).len(), 1);
    }

    #[test]
    fn names_that_are_free_are_no_fields() {
        let spec = json!({"permissions": {"anything": "read"}, "secret": {"labels": {"a/b": "c"}, "namespace": "n",
            "template": {"x": "y"}, "extraData": [{"inline": {"K": "v"}}]}, "repositories": ["a"], "appRef": {"name": "a", "namespace": "b"}});
        assert_eq!(of("ClusterToken", &spec), Vec::<String>::new());
    }
}
