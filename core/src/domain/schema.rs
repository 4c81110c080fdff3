//! A value and its schema, walked together.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

use super::quote;

/// What stands directly below a value.
pub(super) struct Below<'a> {
    /// Where.
    pub path: String,
    /// The field's name; none for an item of a list.
    pub field: Option<&'a str>,
    /// The value there.
    pub value: &'a Value,
    /// Its schema, if it has one.
    pub schema: Option<&'a JSONSchemaProps>,
}

/// The fields, or the items, of the `value` that stands at `path`.
pub(super) fn below<'a>(path: &str, value: &'a Value, schema: &'a JSONSchemaProps) -> Vec<Below<'a>> {
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (&'a String, &'a Value)| Below {
                path: format!("{path}.{}", quote(name)),
                field: Some(name),
                value,
                schema: property(schema, name).or_else(|| of_others(schema)),
            };
            fields.iter().map(field).collect()
        }
        Value::Array(items) => {
            let item = |(index, value): (usize, &'a Value)| Below {
                path: format!("{path}[{index}]"),
                field: None,
                value,
                schema: of_items(schema),
            };
            items.iter().enumerate().map(item).collect()
        }
        _ => Vec::new(),
    }
}

/// The schema of a field that a schema names.
pub(super) fn property<'a>(schema: &'a JSONSchemaProps, name: &str) -> Option<&'a JSONSchemaProps> {
    schema.properties.as_ref()?.get(name)
}

/// The schema of a list's items.
pub(super) fn of_items(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(schema)) => Some(schema),
        _ => None,
    }
}

/// The schema of the fields that a schema does not name.
fn of_others(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(schema)) => Some(schema),
        _ => None,
    }
}
