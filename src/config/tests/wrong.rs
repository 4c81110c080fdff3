//! What each wrong configuration is told.

use super::*;

/// Each wrong value by itself: the file, the key that the message must begin with, the value as it is shown, the cure.
const WRONG: &[(&str, &str, &str, &str)] = &[
    (
        "app_id: abc",
        "app_id in the configuration file",
        "\"abc\" is no ID",
        "such as 123456",
    ),
    ("app_id: 0", "app_id", "0 is no ID", "above 0"),
    ("app_id: -5", "app_id", "-5 is no ID", "above 0"),
    ("app_id: 1.5", "app_id", "1.5 is no ID", "whole number"),
    ("app_id: [1]", "app_id", "a list is no ID", "App's settings page"),
    ("app_id: {a: 1}", "app_id", "a map is no ID", "App's settings page"),
    ("app_id: true", "app_id", "true is no ID", "whole number"),
    ("app_id: 99999999999999999999", "app_id", "is no ID", "whole number"),
    (
        "installation_id: my-org",
        "installation_id",
        "\"my-org\" is no ID",
        "installation's URL",
    ),
    ("client_id: [a]", "client_id", "a list is no client ID", "such as Iv"),
    (
        "client_id: 'Iv1 2'",
        "client_id",
        "\"Iv1 2\" is no client ID",
        "settings page",
    ),
    ("owner: my/org", "owner", "\"my/org\" is no account", "such as my-org"),
    ("owner: -x", "owner", "\"-x\" is no account", "login"),
    (
        "provider: kms",
        "provider",
        "\"kms\" is no provider",
        "file, secret, aws",
    ),
    ("provider: aws\nkey: 'key/1'", "key", "names no key", "alias/NAME"),
    (
        "provider: azure\nkey: http://v.vault.azure.net/keys/k",
        "key",
        "names no key",
        "https://VAULT.vault.azure.net/keys/KEY",
    ),
    (
        "provider: gcp\nkey: my-key",
        "key",
        "names no key",
        "projects/P/locations/L",
    ),
    ("provider: vault\nkey: transit/", "key", "names no key", "MOUNT/KEY"),
    ("provider: 1", "provider", "1 is no provider", "file, secret, aws"),
    ("key: 5", "key", "must be a text", "/config/private-key.pem"),
    ("key: ' '", "key", "neither a path nor a PEM", "/config/private-key.pem"),
    ("key: \"a\\nb\"", "key", "neither a path nor a PEM", "or the PEM itself"),
    (
        "key: '-----BEGIN CERTIFICATE-----'",
        "key",
        "not a whole private key",
        "Generate a private key",
    ),
    (
        "key: '-----BEGIN RSA PRIVATE KEY----- MIIE'",
        "key",
        "not a whole private key",
        "to the END line",
    ),
    (
        "provider: secret\nkey: My_App",
        "key",
        "does not name a Secret",
        "NAME or NAME/KEY",
    ),
    (
        "provider: secret\nkey: a/b/c",
        "key",
        "does not name a Secret",
        "private-key.pem by default",
    ),
    ("provider: secret\nkey: a/", "key", "does not name a Secret", "NAME/KEY"),
    (
        "validate_key: maybe",
        "validate_key",
        "\"maybe\" is neither true nor false",
        "one of them",
    ),
    ("validate_key: 3", "validate_key", "3 is neither", "one of them"),
    (
        "base_url: ghe.example/api/v3",
        "base_url",
        "\"ghe.example/api/v3\" has no scheme",
        "write https://ghe.example/api/v3",
    ),
    (
        "base_url: ftp://x",
        "base_url",
        "\"ftp://x\" is neither https nor http",
        "https://api.github.com",
    ),
    (
        "base_url: 'https://'",
        "base_url",
        "\"https://\" is not a URL",
        "https://api.github.com",
    ),
    (
        "base_url: 'https://u:hidden@x'",
        "base_url",
        "a user name or a password",
        "remove everything between",
    ),
    (
        "base_url: 'https://x/?a=b'",
        "base_url",
        "has a query",
        "remove everything from ?",
    ),
    (
        "base_url: https://github.com",
        "base_url",
        "is not GitHub's API root",
        "write https://api.github.com",
    ),
    ("base_url: 5", "base_url", "5 is no URL", "https://api.github.com"),
    (
        "ca_bundle: 5",
        "ca_bundle",
        "5 is no CA bundle",
        "a PEM file of certificates",
    ),
    (
        "ca_bundle: '-----BEGIN PUBLIC KEY-----'",
        "ca_bundle",
        "neither a path nor a certificate",
        "PEM file",
    ),
    (
        "ca_bundle: '-----BEGIN PRIVATE KEY-----'",
        "ca_bundle",
        "holds a private key",
        "PEM file of certificates",
    ),
    (
        "allowed_keys: [a]",
        "allowed_keys",
        "a list is no map",
        "namespace patterns",
    ),
    ("allowed_keys: team", "allowed_keys", "\"team\" is no map", "such as"),
    (
        "allowed_keys: {Team A: [x]}",
        "allowed_keys",
        "\"Team A\" is no namespace pattern",
        "such as",
    ),
    (
        "allowed_keys: {a: x}",
        "allowed_keys",
        "\"a\" has no list",
        "lists of key patterns",
    ),
    (
        "allowed_keys: {a: ['']}",
        "allowed_keys",
        "\"a\" has no list",
        "lists of key patterns",
    ),
    (
        "api_version: v3",
        "api_version",
        "\"v3\" is no version",
        "such as 2022-11-28",
    ),
    (
        "api_version: 2022",
        "api_version",
        "2022 is no version",
        "such as 2022-11-28",
    ),
    (
        "api_version: 2022-13-01",
        "api_version",
        "is no version",
        "such as 2022-11-28",
    ),
    (
        "rate_limit: fast",
        "rate_limit",
        "\"fast\" is no rate limit",
        "auto, off",
    ),
    ("rate_limit: true", "rate_limit", "true is no rate limit", "such as 180"),
    ("rate_limit: -1", "rate_limit", "-1 is no limit", "from 1 to 100000"),
    (
        "rate_limit: 100001",
        "rate_limit",
        "100001 is no limit",
        "from 1 to 100000",
    ),
    (
        "rate_limit: {mints: 5}",
        "rate_limit",
        "\"mints\" is no limit",
        "mints_per_minute and concurrent",
    ),
    (
        "rate_limit: {concurrent: 0}",
        "rate_limit",
        "concurrent: 0 is no limit",
        "from 1 to 100000",
    ),
    ("rate_limit: [1]", "rate_limit", "a list is no rate limit", "auto, off"),
    ("- app_id", "configuration file", "must be a map", "app_id: 1234"),
    ("just a text", "configuration file", "must be a map", "app_id: 1234"),
    (
        "app_id: [",
        "configuration file",
        "is not YAML or JSON (line ",
        "key: value",
    ),
    (
        "app_id: 1\napp_id: 2",
        "configuration file",
        "app_id is given twice (line 2",
        "keep one",
    ),
    (
        "MIIE: 1\nMIIE: 2",
        "configuration file",
        "a key is given twice (line 2",
        "keep one",
    ),
    (
        "app_id: 1\nApp_Id: 2",
        "configuration file",
        "app_id is given twice",
        "keep one",
    ),
    (
        "a: 1\n---\nb: 2",
        "configuration file",
        "it holds several documents",
        "keep one",
    ),
];

#[test]
fn every_wrong_value_is_told_with_its_key_its_value_and_the_cure() {
    for (text, key, value, cure) in WRONG {
        let error = of_file(text).expect_err(text).to_string();
        let line = error
            .lines()
            .find(|line| line.contains(value))
            .unwrap_or_else(|| panic!("{text}: {error}"));
        assert!(line.starts_with(key), "{text}: {line}");
        assert!(line.contains(cure), "{text}: {line}");
        assert!(!line.contains("hidden") && !line.contains("MIIE"), "{line}");
    }
}

#[test]
fn a_key_without_its_first_line_is_no_path_and_is_not_shown() {
    let body = "MIIEpAIBAAKCAQEA".repeat(100);
    for key in [body.clone(), format!("----BEGIN RSA PRIVATE KEY----- {body}")] {
        for field in ["key", "ca_bundle"] {
            let error = of_file(&format!("app_id: 1\n{field}: '{key}'"))
                .expect_err(field)
                .to_string();
            let line = error.lines().find(|line| line.starts_with(field)).expect(field);
            assert!(line.contains(" path"), "{line}");
            assert!(!error.contains("MIIE"), "{error}");
        }
    }
}

#[test]
fn a_part_of_an_app_is_told_what_is_missing() {
    for (text, missing) in [
        ("app_id: 1", "key: it is missing"),
        ("client_id: x", "key: it is missing"),
        ("key: /k", "app_id: it is missing"),
        ("installation_id: 1", "app_id: it is missing"),
        ("installation_id: 1\nkey: /k", "app_id: it is missing"),
        ("owner: x\napp_id: 1", "key: it is missing"),
        ("app_id: 1\nprovider: secret", "NAME or NAME/KEY"),
    ] {
        let error = of_file(text).expect_err(text).to_string();
        assert!(error.contains(missing), "{text}: {error}");
    }
}

#[test]
fn all_problems_are_told_at_once_each_on_its_line() {
    let error = of_file("app_id: x\nprovider: kms\nrate_limit: fast")
        .unwrap_err()
        .to_string();
    assert_eq!(error.lines().count(), 4, "{error}");
    assert!(
        error.lines().any(|line| line.starts_with("key: it is missing")),
        "{error}"
    );
}

#[test]
fn a_wrong_value_is_told_with_the_variable_or_flag_that_gave_it() {
    let error = parse(None, &environment(&[("GITHUB_APP_ID", "x")]), &Flags::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("app_id in the environment (GITHUB_APP_ID): \"x\" is no ID"),
        "{error}"
    );
    let flags = Flags {
        app_id: Some("y".to_owned()),
        ..Flags::default()
    };
    let error = parse(None, &environment(&[("GITHUB_APP_ID", "1")]), &flags)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("app_id (--app-id): \"y\" is no ID"), "{error}");
}

#[test]
fn a_key_in_the_wrong_place_is_never_repeated() {
    let body = "c2VjcmV0LWtleS1ieXRlcw==";
    for key in [
        "app_id",
        "owner",
        "provider",
        "client_id",
        "base_url",
        "ca_bundle",
        "validate_key",
        "rate_limit",
    ] {
        let variable = format!("GTM_{}", key.to_uppercase());
        let error = parse(None, &environment(&[(&variable, PEM)]), &Flags::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains(key) && !error.contains(body), "{error}");
    }
    for text in [
        format!("app_id: 1\nkey: |\n{PEM}\n"),
        format!("key: {PEM}"),
        format!("{body}{body}{body}: x"),
    ] {
        let told = match of_file(&text) {
            Err(error) => format!("{error} {error:?}"),
            Ok((_, warnings)) => warnings.iter().map(Warning::to_string).collect(),
        };
        assert!(!told.contains(body), "{told}");
    }
}
