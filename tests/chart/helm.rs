//! The real Helm.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use lab::process::Folder;
use lab::tools::Tool;
use serde_json::Value;

/// The release's name and namespace: what every object is called by default.
pub const NAME: &str = "github-token-manager";

/// A path below the package's folder.
pub fn path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A file below the package's folder.
pub fn read(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Runs Helm; what it said when it failed.
pub fn helm(arguments: &[&str]) -> Result<String, String> {
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    let program = HELM.get_or_init(|| Tool::Helm.find().expect("Helm"));
    let home = Folder::new().expect("a folder");
    let output = Command::new(program)
        .args(arguments)
        .env("HELM_CACHE_HOME", home.path())
        .env("HELM_CONFIG_HOME", home.path())
        .env("HELM_DATA_HOME", home.path())
        .env_remove("KUBECONFIG")
        .output()
        .expect("Helm runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr))
    }
}

/// Renders the chart with these values (YAML) and further arguments.
pub fn template(values: &str, more: &[&str]) -> Result<String, String> {
    let folder = Folder::new().expect("a folder");
    let file = folder.write("values.yaml", values).expect("the values are written");
    let (chart, file) = (path("charts/github-token-manager"), file.display().to_string());
    let chart = chart.display().to_string();
    let mut arguments = vec!["template", NAME, &chart, "--namespace", NAME, "--values", &file];
    arguments.extend(more);
    helm(&arguments)
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
