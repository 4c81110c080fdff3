//! The webhook's configurations, as a cluster's admin installs them.

use std::{fs, path::Path};

use crate::error::{During, Error};

/// The folder with their manifests.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../webhook-config");

/// The manifests of webhook-config, first the mutating one, calling this port of loopback: the lab's API server reaches no Services.
///
/// # Errors
/// When a manifest cannot be read, or names another Service.
pub fn configurations(port: u16) -> Result<String, Error> {
    let of = |file: &str, route: &str| {
        let path = Path::new(FOLDER).join(file);
        let text = fs::read_to_string(&path).during(|| format!("read {}", path.display()))?;
        let service = format!(
            "      service:\n        name: github-token-manager-webhook\n        namespace: github-token-manager\n        \
             path: {route}\n        port: 443\n"
        );
        if !text.contains(&service) {
            let wanted = format!("{} has not the Service\n{service}", path.display());
            return Err(Error::Usage(wanted));
        }
        Ok(text.replace(&service, &format!("      url: https://127.0.0.1:{port}{route}\n")))
    };
    let (mutating, validating) = (of("mutating.yaml", "/inject")?, of("validating.yaml", "/validate")?);
    Ok(format!("{mutating}---\n{validating}"))
}
