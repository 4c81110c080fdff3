//! A wrong configuration: exit code 2, and the key, the value and the cure.

use std::path::Path;

use lab::gtm::{Builder, Operator};
use lab::process::Folder;

use crate::world::SOON;

/// An operator without a cluster: what is wrong is found out before one is needed.
fn operator() -> Builder {
    Operator::builder(env!("CARGO_BIN_EXE_gtm"), Path::new("/nonexistent/kubeconfig"))
}

/// Starts it, and returns what it says when it has ended with exit code 2.
async fn refused(builder: Builder) -> String {
    let operator = builder.spawn().expect("it starts");
    let status = operator.process().wait(SOON).await.expect("it ends");
    assert_eq!(status.code(), Some(2), "{}", operator.logs());
    operator.logs()
}

#[tokio::test]
async fn every_wrong_key_of_the_file_ends_the_start_with_its_value_and_the_cure() {
    let folder = Folder::new().unwrap();
    let cases = [
        (
            "app_id: abc",
            "app_id in the configuration file: \"abc\"",
            "such as 123456",
        ),
        (
            "client_id: 'a b'",
            "client_id in the configuration file: \"a b\"",
            "settings page",
        ),
        (
            "installation_id: my-org",
            "installation_id in the configuration file: \"my-org\"",
            "installation's URL",
        ),
        (
            "owner: my/org",
            "owner in the configuration file: \"my/org\"",
            "such as my-org",
        ),
        (
            "provider: hsm",
            "provider in the configuration file: \"hsm\"",
            "give file, secret, aws, azure, gcp or vault",
        ),
        ("app_id: 1\nkey: ' '", "key in the configuration file", "give the path"),
        ("app_id: 1", "key: it is missing", "give the path"),
        (
            "validate_key: maybe",
            "validate_key in the configuration file: \"maybe\"",
            "give one of them",
        ),
        (
            "base_url: ghe.example/api/v3",
            "base_url in the configuration file: \"ghe.example/api/v3\" has no scheme",
            "write https://ghe.example/api/v3",
        ),
        (
            "base_url: https://github.com",
            "base_url in the configuration file",
            "write https://api.github.com",
        ),
        (
            "ca_bundle: [x]",
            "ca_bundle in the configuration file: a list",
            "a PEM file of certificates",
        ),
        (
            "allowed_keys: x",
            "allowed_keys in the configuration file: \"x\"",
            "a map of namespace patterns",
        ),
        (
            "rate_limit: fast",
            "rate_limit in the configuration file: \"fast\"",
            "auto, off",
        ),
        ("app_id: [", "configuration file: it is not YAML", "write `key: value`"),
    ];
    for (text, what, cure) in cases {
        let file = folder.write("gtm.yaml", text).unwrap();
        let said = refused(operator().config(&file)).await;
        assert!(said.contains(what) && said.contains(cure), "{text}: {said}");
    }
}

#[tokio::test]
async fn wrong_variables_flags_and_files_are_named_as_they_were_given() {
    let missing = Path::new("/nonexistent/gtm.yaml");
    let cases = [
        (
            operator().env("GTM_APP_ID", "abc"),
            "app_id in the environment (GTM_APP_ID): \"abc\"",
        ),
        (
            operator().env("GITHUB_INSTALLATION_ID", "x"),
            "installation_id in the environment (GITHUB_INSTALLATION_ID)",
        ),
        (
            operator().env("KMS_PROVIDER", "hsm"),
            "provider in the environment (KMS_PROVIDER): \"hsm\"",
        ),
        (
            operator().env("GTM_BASE_URL", "ghe.example"),
            "has no scheme: write https://ghe.example",
        ),
        (
            operator().config(missing),
            "--config /nonexistent/gtm.yaml: No such file",
        ),
        (operator().arg("--log-level=loud"), "--log-level"),
        (operator().arg("--log-format=xml"), "--log-format"),
        (operator().arg("--leader-elect=perhaps"), "--leader-elect"),
        (operator().arg("--unknown-flag"), "--unknown-flag"),
        (operator().env("GTM_LEADER_ELECT", "perhaps"), "perhaps"),
    ];
    for (builder, words) in cases {
        let said = refused(builder).await;
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[tokio::test]
async fn without_a_cluster_it_ends_with_1_and_says_where_it_looked() {
    let operator = operator().spawn().unwrap();
    let status = operator.process().wait(SOON).await.unwrap();
    assert_eq!(status.code(), Some(1), "{}", operator.logs());
    assert!(
        operator.logs().contains("set KUBECONFIG, or run the operator in a pod"),
        "{}",
        operator.logs()
    );
}

#[tokio::test]
async fn a_kubeconfig_that_is_none_ends_it_with_1_and_is_named() {
    let operator = operator().arg("--kubeconfig=/nonexistent").spawn().unwrap();
    let status = operator.process().wait(SOON).await.unwrap();
    let logs = operator.logs();
    assert_eq!(status.code(), Some(1), "{logs}");
    assert!(
        logs.contains("--kubeconfig /nonexistent: ") && logs.contains("No such file"),
        "{logs}"
    );
}
