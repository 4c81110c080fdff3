//! Which cluster it is, and the client for it.

use std::path::{Path, PathBuf};

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use reqwest::header::{HeaderValue, USER_AGENT};

use crate::cluster::{self, ClusterError};
use crate::config::variables;

/// A client of the cluster that `KUBECONFIG`, `~/.kube/config` or the pod's service account leads to.
///
/// # Errors
/// A text that says what to set.
pub async fn connect() -> Result<Client, String> {
    connect_by(None).await
}

/// The same, or a client of the cluster of this kubeconfig.
///
/// # Errors
/// A text that says what to set.
pub async fn connect_by(path: Option<&Path>) -> Result<Client, String> {
    let file = path.map_or_else(of_environment, Kubeconfig::read_from);
    let proxied = file.as_ref().is_ok_and(names_a_proxy);
    let mut config = match (path, of_file(file).await) {
        (_, Ok(config)) => config,
        (Some(path), Err(error)) => {
            let (path, error) = (path.display(), told(&error));
            return Err(format!(
                "--kubeconfig {path}: {error}; give a readable kubeconfig with a current context"
            ));
        }
        (None, Err(error)) => Config::incluster().map_err(|pod| {
            let file = told(&error);
            format!("no cluster: {file}; {pod}; set KUBECONFIG, or run the operator in a pod with a service account")
        })?,
    };
    if !proxied {
        config.proxy_url = None;
    }
    let name = HeaderValue::from_static(concat!("github-token-manager/", env!("CARGO_PKG_VERSION")));
    config.headers.push((USER_AGENT, name));
    cluster::connect(config)
}

/// What helps whom the API server does not give what it was asked for; nothing where the error says it.
pub fn cure(error: &ClusterError, right: &str) -> String {
    match error {
        ClusterError::Forbidden(_) => format!("; ask for the right to {right}"),
        ClusterError::Unserved => "; where the kinds are not installed, gtm crds prints them".to_owned(),
        _ => String::new(),
    }
}

/// The kubeconfig that `KUBECONFIG` names, else the one of the home folder.
fn of_environment() -> Result<Kubeconfig, KubeconfigError> {
    let named = variables().remove("KUBECONFIG").unwrap_or_default();
    let named = paths(&named);
    if named.is_empty() {
        let home = std::env::home_dir().ok_or(KubeconfigError::FindPath)?;
        return Kubeconfig::read_from(home.join(".kube").join("config"));
    }
    let merge = |merged: Kubeconfig, path| merged.merge(Kubeconfig::read_from(path)?);
    named.into_iter().try_fold(Kubeconfig::default(), merge)
}

/// The files of a list that are there, as kubectl has it; where none is, the first, which is missed.
fn paths(list: &str) -> Vec<PathBuf> {
    let all = std::env::split_paths(list.trim()).filter(|path| !path.as_os_str().is_empty());
    let (there, mut absent): (Vec<_>, Vec<_>) = all.partition(|path| path.exists());
    if there.is_empty() {
        absent.truncate(1);
        return absent;
    }
    there
}

async fn of_file(file: Result<Kubeconfig, KubeconfigError>) -> Result<Config, KubeconfigError> {
    Config::from_custom_kubeconfig(file?, &KubeConfigOptions::default()).await
}

/// A kubeconfig holds credentials, and the parser's own words quote what is around the place.
fn told(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(error) => {
            let place = error.location().map_or_else(String::new, |place| {
                format!(" (line {}, column {})", place.line(), place.column())
            });
            format!("the kubeconfig is not YAML, or is none{place}")
        }
        other => other.to_string(),
    }
}

/// The proxy variables lead to GitHub. The client lends them to the cluster of a kubeconfig as well, even past `NO_PROXY`: there,
/// only what the kubeconfig itself says of its current cluster counts.
fn names_a_proxy(file: &Kubeconfig) -> bool {
    let named = || {
        let context = file.current_context.as_ref()?;
        let context = file.contexts.iter().find(|named| named.name == *context)?;
        let cluster = &context.context.as_ref()?.cluster;
        let cluster = file.clusters.iter().find(|named| named.name == *cluster)?;
        cluster.cluster.as_ref()?.proxy_url.as_ref()
    };
    named().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_kubeconfig_is_told_without_its_credentials() {
        for text in [
            "users:\n- name: u\n  user:\n    token: hidden\n    other: [",
            "users: hidden",
        ] {
            let error = told(&Kubeconfig::from_yaml(text).expect_err(text));
            assert!(error.contains("line ") && !error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn of_a_list_the_files_that_are_there_count_and_of_one_without_any_the_first_is_missed() {
        let folder = lab::process::Folder::new().expect("a folder");
        let there = |name: &str, text: &str| folder.write(name, text).expect("a file");
        let (one, two) = (
            there("one", "current-context: one"),
            there("two", "current-context: two"),
        );
        let absent = folder.path().join("absent");
        let list = |paths: &[&PathBuf]| {
            let joined = std::env::join_paths(paths).expect("a list");
            format!(" {}:\n", joined.to_str().expect("a text"))
        };
        assert_eq!(paths(&list(&[&absent, &one, &two])), [one, two]);
        assert_eq!(paths(&list(&[&absent, &folder.path().join("other")])), [absent]);
        assert!(paths(" \n").is_empty() && paths("").is_empty());
    }

    #[test]
    fn the_proxy_of_another_cluster_of_the_kubeconfig_is_none_of_this_one() {
        let text = "
            clusters:
            - {name: direct, cluster: {server: 'https://127.0.0.1:1'}}
            - {name: proxied, cluster: {server: 'https://127.0.0.1:2', proxy-url: 'http://127.0.0.1:3'}}
            contexts:
            - {name: here, context: {cluster: direct}}
            - {name: there, context: {cluster: proxied}}
            current-context: ";
        for (current, proxied) in [("here", false), ("there", true), ("nowhere", false)] {
            let file = Kubeconfig::from_yaml(&format!("{text}{current}")).expect("a kubeconfig");
            assert_eq!(names_a_proxy(&file), proxied, "{current}");
        }
    }
}
