//! The thin edge: reads the file and the environment, and nothing else.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::{Config, ConfigError, Environment, Flags, Warning, parse};

/// Where the configuration is looked for when no `--config` is given: the Secret `gtm-config` is mounted there.
pub const DEFAULT_PATH: &str = "/config/gtm.yaml";

/// Where Kubernetes puts the namespace of a pod's service account.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The namespace of an operator that runs outside of a cluster.
const DEFAULT_NAMESPACE: &str = "github-token-manager";

/// Variables that are ours without beginning with `GTM_`.
const ALIASES: &[&str] = &[
    "GITHUB_APP_ID",
    "GITHUB_INSTALLATION_ID",
    "KMS_PROVIDER",
    "KMS_KEY",
    "GITHUB_PRIVATE_KEY",
    "POD_NAMESPACE",
];

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read, or was named and does not exist.
    #[error(
        "--config {path}: {error}: give a readable file, or leave --config and GTM_CONFIG out to use the other variables alone"
    )]
    Unreadable {
        /// The file.
        path: String,
        /// Why not.
        error: io::Error,
    },
    /// Something in it, or in the environment or the flags, is wrong.
    #[error(transparent)]
    Wrong(#[from] ConfigError),
}

/// Reads the configuration. Only a file that was not asked for by name may be absent.
///
/// # Errors
/// See [`LoadError`].
pub fn load(
    path: Option<&Path>,
    environment: &Environment,
    flags: &Flags,
) -> Result<(Config, Vec<Warning>), LoadError> {
    let file = path.unwrap_or(Path::new(DEFAULT_PATH));
    let text = match std::fs::read_to_string(file) {
        Ok(text) => Some(text),
        Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(LoadError::Unreadable {
                path: file.display().to_string(),
                error,
            });
        }
    };
    Ok(parse(text.as_deref(), environment, flags)?)
}

/// The variables of this process that mean something to the configuration.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment for the configuration"
)]
pub fn environment() -> Environment {
    let ours = |name: &String| name.starts_with("GTM_") || ALIASES.contains(&name.as_str());
    Environment(
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| ours(name))
            .collect(),
    )
}

/// All variables of this process, for the key services: each has names of its own for credentials and addresses.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment for the key services"
)]
pub fn variables() -> BTreeMap<String, String> {
    let texts =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    texts.collect()
}

/// The operator's own namespace: the flag, `POD_NAMESPACE`, the service account's, `github-token-manager`.
#[must_use]
pub fn namespace(flag: Option<&str>, environment: &Environment) -> String {
    let file = || std::fs::read_to_string(NAMESPACE_FILE).ok();
    choose_namespace(flag, environment.get("POD_NAMESPACE"), file)
}

fn choose_namespace(flag: Option<&str>, variable: Option<&str>, file: impl FnOnce() -> Option<String>) -> String {
    let given = flag.or(variable).map(str::to_owned);
    given
        .or_else(file)
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_is_the_flags_then_the_pods_then_the_service_accounts_then_the_default() {
        let file = || Some("of-file\n".to_owned());
        assert_eq!(choose_namespace(Some("of-flag"), Some("of-pod"), file), "of-flag");
        assert_eq!(choose_namespace(None, Some("of-pod"), file), "of-pod");
        assert_eq!(choose_namespace(None, None, file), "of-file");
        assert_eq!(choose_namespace(None, None, || None), "github-token-manager");
        assert_eq!(
            choose_namespace(None, None, || Some("\n".to_owned())),
            "github-token-manager"
        );
    }

    #[test]
    fn a_file_that_is_named_must_exist() {
        let missing = Path::new("/nonexistent/gtm.yaml");
        let error = load(Some(missing), &Environment::default(), &Flags::default()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("--config /nonexistent/gtm.yaml: No such file"),
            "{error}"
        );
    }
}
