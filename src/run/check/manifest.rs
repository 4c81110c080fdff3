//! A Token or App that is not applied yet: what the API server would say of it, and what it asks for.

use kube::Resource as _;
use kube::api::DynamicObject;
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::api::{ClusterToken, Token, crd};
use crate::cluster::AppObject;
use crate::domain::intent::{Intent, TokenObject, invalid, unreadable};
use crate::domain::mistyped::mistyped_values;
use crate::domain::name::{NAMES, NAMESPACES, is_namespace, is_object_name};
use crate::domain::unknown::unknown_fields;
use crate::domain::{Problem, quote};

/// The namespace of what names none.
const PRESENT: &str = "default";

/// Reads the manifest of a Token or ClusterToken.
///
/// # Errors
/// A [`Problem`] with everything that the API server would refuse for its form, or the first thing that the operator would.
pub(super) fn of_manifest(mut manifest: Value) -> Result<Intent, Problem> {
    let kind = manifest.get("kind").and_then(Value::as_str).unwrap_or_default();
    let is_wide = kind == "ClusterToken";
    let wrong = malformed(kind, &manifest);
    if !wrong.is_empty() {
        return Err(invalid(wrong.join("; ")));
    }
    if is_wide {
        return read::<ClusterToken>(&manifest);
    }
    // A Token without a spec is a whole Token.
    if let Some(fields) = manifest.as_object_mut() {
        fields.entry("spec").or_insert_with(|| Value::Object(Map::new()));
    }
    place(&mut manifest);
    read::<Token>(&manifest)
}

fn read<T: TokenObject + DeserializeOwned>(manifest: &Value) -> Result<Intent, Problem> {
    Intent::new(&T::deserialize(manifest).map_err(|error| unreadable(&T::kind(&()), manifest, &error))?)
}

/// Reads the manifest of an App.
///
/// # Errors
/// A [`Problem`] with everything that the API server would refuse for its form.
pub(super) fn app(mut manifest: Value) -> Result<AppObject, Problem> {
    let wrong = malformed("App", &manifest);
    if !wrong.is_empty() {
        return Err(invalid(wrong.join("; ")));
    }
    place(&mut manifest);
    let object = DynamicObject::deserialize(&manifest).map_err(|error| unreadable("App", &manifest, &error))?;
    Ok(AppObject::new(object))
}

/// Whether the manifest is the App `name` of the namespace `place`.
pub(super) fn is_of(app: &Value, place: &str, name: &str) -> bool {
    let meta = |field: &str| app.get("metadata").and_then(|meta| meta.get(field)?.as_str());
    meta("name") == Some(name) && meta("namespace").unwrap_or(PRESENT) == place
}

/// As kubectl would: what names no namespace is applied to the present one, whose name makes no difference here.
fn place(manifest: &mut Value) {
    if let Some(meta) = manifest.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.entry("namespace").or_insert_with(|| PRESENT.into());
    }
}

/// What the object is called, for people.
pub(super) fn title(manifest: &Value) -> String {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(quote);
    let meta = |field| text(manifest.get("metadata").and_then(|meta| meta.get(field)));
    let kind = text(manifest.get("kind")).unwrap_or_default();
    let name = meta("name")
        .or_else(|| meta("generateName"))
        .unwrap_or_else(|| "without a name".to_owned());
    match meta("namespace") {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// What is wrong with the frame of the object, which fields there are not, and what others do not take.
fn malformed(kind: &str, manifest: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let version = Token::api_version(&());
    match manifest
        .get("apiVersion")
        .map(|given| given.as_str().unwrap_or("no text"))
    {
        Some(given) if given == version => {}
        Some(given) => wrong.push(format!("apiVersion: '{}' has no {kind}; write {version}", quote(given))),
        None => wrong.push(format!("apiVersion is missing; write {version}")),
    }
    let meta = |field| manifest.get("metadata").and_then(|meta| meta.get(field));
    match meta("name").map(|name| name.as_str().unwrap_or_default()) {
        Some(name) if is_object_name(name) => {}
        Some(name) => wrong.push(format!("metadata.name: '{}' is no name: {NAMES}", quote(name))),
        None if meta("generateName").is_some() => {}
        None => wrong.push(format!("metadata.name is missing: {NAMES}")),
    }
    match meta("namespace").map(|name| name.as_str().unwrap_or_default()) {
        Some(name) if !is_namespace(name) => wrong.push(format!(
            "metadata.namespace: '{}' is no namespace: {NAMESPACES}",
            quote(name)
        )),
        _ => {}
    }
    let Some(mut schema) = crd::schema_of(kind) else {
        return wrong;
    };
    // The frame is of every object, and not in the schema of a kind.
    let properties = schema.properties.get_or_insert_default();
    for field in ["apiVersion", "kind", "metadata"] {
        properties
            .entry(field.to_owned())
            .or_default()
            .x_kubernetes_preserve_unknown_fields = Some(true);
    }
    let unknown = unknown_fields("", manifest, &schema).into_iter();
    wrong.extend(unknown.map(|told| told.trim_start_matches('.').to_owned()));
    wrong.extend(mistyped_values("", manifest, &schema));
    wrong
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(manifest: &Value) -> String {
        of_manifest(manifest.clone()).map_or_else(|problem| problem.message, |intent| format!("good: {}", intent.key))
    }

    #[test]
    fn what_the_api_server_would_refuse_is_told_all_at_once() {
        let good = json!({"apiVersion": "github.as-code.io/v1", "kind": "Token", "metadata": {"name": "ci", "labels": {"a": "b"}}});
        assert!(told(&good).starts_with("good: "), "{}", told(&good));
        for (field, value, parts) in [
            (
                "apiVersion",
                json!("github.as-code.io/v1beta1"),
                ["'github.as-code.io/v1beta1' has no Token", "write github.as-code.io/v1"],
            ),
            (
                "apiVersion",
                json!("v1"),
                ["'v1' has no Token", "write github.as-code.io/v1"],
            ),
            (
                "metadata",
                json!({"name": "Not_A_Name"}),
                ["metadata.name: 'Not_A_Name'", "lower-case"],
            ),
            ("metadata", json!({}), ["metadata.name is missing", "lower-case"]),
            (
                "metadata",
                json!({"name": "ci", "namespace": "a/b"}),
                ["metadata.namespace: 'a/b'", "lower-case"],
            ),
            (
                "spec",
                json!({"permisions": {"contents": "read"}}),
                ["spec.permisions is unknown", "did you mean permissions?"],
            ),
            ("specs", json!({}), ["specs is unknown", "did you mean spec?"]),
            (
                "spec",
                json!({"repositories": "fleet"}),
                ["spec.repositories: 'fleet' is no list", "write one"],
            ),
        ] {
            let mut manifest = good.clone();
            manifest[field] = value;
            let told = told(&manifest);
            assert!(parts.iter().all(|part| told.contains(part)), "{told}");
        }
        let mut manifest = good;
        manifest["apiVersion"] = json!("v1");
        manifest["spec"] = json!({"a": 1, "b": 2, "owner": 3});
        assert_eq!(told(&manifest).matches("; ").count(), 4, "{}", told(&manifest));
    }
}
