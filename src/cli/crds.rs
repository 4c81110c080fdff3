//! `gtm crds`: the CustomResourceDefinitions as YAML.

use std::io::Write as _;

use super::Failure;
use super::output::print;
use crate::api;

/// All CustomResourceDefinitions as one YAML stream, a document each.
///
/// # Errors
/// When one cannot be written as YAML.
pub fn yaml() -> Result<String, Failure> {
    let mut text = String::new();
    for crd in api::crd::all() {
        let document = serde_saphyr::to_string(&crd)
            .map_err(|error| Failure::Failed(format!("a CustomResourceDefinition is not YAML: {error}")))?;
        text.push_str("---\n");
        text.push_str(document.trim_end());
        text.push('\n');
    }
    Ok(text)
}

pub(super) fn run() -> Result<(), Failure> {
    let text = yaml()?;
    print(|to| to.write_all(text.as_bytes()))
}

#[cfg(test)]
mod tests;
