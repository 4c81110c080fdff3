//! The real Helm, and what it makes of the chart.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::process::Folder;
use crate::tools::Tool;

/// The release's name and namespace: what every object is called by default.
pub const NAME: &str = "github-token-manager";
/// The chart's folder.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/github-token-manager");

/// Environment by which Helm keeps in this folder what it would keep in the user's home.
#[must_use]
pub fn home(folder: &Path) -> [(&'static str, &Path); 3] {
    ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"].map(|name| (name, folder))
}

/// Runs Helm, without a cluster.
///
/// # Errors
/// What it said when it failed.
///
/// # Panics
/// When it cannot be built or started.
pub fn helm(arguments: &[&str]) -> Result<String, String> {
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    let program = HELM.get_or_init(|| Tool::Helm.find().expect("Helm"));
    let folder = Folder::new().expect("a folder");
    let output = Command::new(program)
        .args(arguments)
        .envs(home(folder.path()))
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
///
/// # Errors
/// What Helm said when it failed.
///
/// # Panics
/// As [`helm`].
pub fn template(values: &str, more: &[&str]) -> Result<String, String> {
    let folder = Folder::new().expect("a folder");
    let file = folder.write("values.yaml", values).expect("the values are written");
    let file = file.display().to_string();
    let mut arguments = vec!["template", NAME, CHART, "--namespace", NAME, "--values", &file];
    arguments.extend(more);
    helm(&arguments)
}
