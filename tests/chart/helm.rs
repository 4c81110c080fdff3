//! What the chart makes, as objects.

use std::path::{Path, PathBuf};

pub use lab::helm::{CHART, NAME, helm, template};
use serde_json::Value;

/// A path below the package's folder.
pub fn path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A file below the package's folder.
pub fn read(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The objects of manifests.
pub fn objects(yaml: &str) -> Vec<Value> {
    let texts = yaml.split("\n---").map(|text| text.trim_start_matches("---"));
    let read = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    texts.map(read).map(whole).filter(|object| !object.is_null()).collect()
}

/// YAML writes 1.0 and 1 for the same number.
fn whole(value: Value) -> Value {
    match value {
        Value::Number(number) => match number
            .as_f64()
            .filter(|number| number.fract() == 0.0 && number.abs() < 1e15)
        {
            Some(number) => Value::from(number as i64),
            None => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(whole).collect(),
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(name, value)| (name, whole(value))).collect()),
        other => other,
    }
}

/// The one object of this kind.
pub fn one(objects: &[Value], kind: &str) -> Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let object = found.next().unwrap_or_else(|| panic!("there is no {kind}"));
    assert!(found.next().is_none(), "there are several {kind}");
    object.clone()
}
