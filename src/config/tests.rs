//! What a configuration may say, and what each wrong one is told.

use std::num::NonZeroU32;

use super::*;
use crate::github::Limits;

mod places;
mod wrong;

const PEM: &str = "-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0LWtleS1ieXRlcw==\n-----END RSA PRIVATE KEY-----";

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment(
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    )
}

fn of_file(text: &str) -> Result<(Config, Vec<Warning>), ConfigError> {
    parse(Some(text), &Environment::default(), &Flags::default())
}

fn of_variables(variables: &[(&str, &str)]) -> Config {
    parse(None, &environment(variables), &Flags::default())
        .expect("a good configuration")
        .0
}

fn good(text: &str) -> Config {
    of_file(text).expect("a good configuration").0
}

fn app(text: &str) -> AppConfig {
    good(text).app.expect("an App")
}

#[test]
fn the_peers_own_example_is_read_as_it_is_meant() {
    let config = good("app_id: 1234\ninstallation_id: 4567890\nprovider: file\nkey: /config/private.key\n");
    let expected = AppConfig {
        identity: AppIdentity::AppId(1234),
        installation_id: Some(4_567_890),
        owner: None,
        key: KeySource::File("/config/private.key".into()),
        validate_key: false,
    };
    assert_eq!(config.app, Some(expected));
    assert_eq!(config.base_url.to_string(), "https://api.github.com");
    assert_eq!(config.api_version, "2022-11-28");
    assert_eq!(config.rate_limit, RateLimit::Auto);
}

#[test]
fn no_configuration_at_all_is_a_configuration_without_an_app() {
    for text in [
        None,
        Some(""),
        Some("\n# nothing\n"),
        Some("{}"),
        Some("app_id:\nkey: null\n"),
        Some("provider: file"),
    ] {
        let (config, warnings) = parse(text, &Environment::default(), &Flags::default()).expect("nothing is wrong");
        assert_eq!((config.app, warnings), (None, vec![]), "{text:?}");
    }
}

#[test]
fn json_is_read_as_yaml_is_and_numbers_may_be_texts() {
    let yaml = app("app_id: 1234\ninstallation_id: 5\nkey: /k\nvalidate_key: true");
    assert_eq!(
        app(r#"{"app_id": "1234", "installation_id": "5", "key": "/k", "validate_key": "true"}"#),
        yaml
    );
}

#[test]
fn keys_are_read_in_upper_case_too_as_the_peer_does() {
    assert_eq!(app("App_ID: 1\nKEY: /k").identity, AppIdentity::AppId(1));
}

#[test]
fn every_alias_of_the_peer_is_read() {
    let config = of_variables(&[
        ("GITHUB_APP_ID", "1"),
        ("GITHUB_INSTALLATION_ID", "2"),
        ("KMS_PROVIDER", "file"),
        ("GITHUB_PRIVATE_KEY", PEM),
    ]);
    let app = config.app.expect("an App");
    assert_eq!((app.identity, app.installation_id), (AppIdentity::AppId(1), Some(2)));
    assert_eq!(app.key, KeySource::Pem(PemText::new(PEM)));
    let both = of_variables(&[("GTM_APP_ID", "1"), ("KMS_KEY", "/kms"), ("GITHUB_PRIVATE_KEY", PEM)]);
    assert_eq!(both.app.expect("an App").key, KeySource::File("/kms".into()));
}

#[test]
fn an_empty_variable_counts_as_absent() {
    assert_eq!(
        of_variables(&[("GTM_APP_ID", ""), ("GTM_KEY", ""), ("GTM_BASE_URL", "")]),
        of_variables(&[])
    );
}

#[test]
fn blanks_around_a_value_are_none_of_it() {
    for (key, value) in [
        ("app_id", "7"),
        ("client_id", "Iv1"),
        ("installation_id", "8"),
        ("owner", "my-org"),
        ("provider", "aws"),
        ("key", "alias/gtm"),
        ("validate_key", "true"),
        ("base_url", "https://ghe.example/api/v3"),
        ("api_version", "2026-03-10"),
        ("ca_bundle", "/etc/ca.pem"),
        ("rate_limit", "off"),
        ("probe_tokens", "true"),
    ] {
        let rest = "app_id: 1\nprovider: aws\nkey: alias/a\n".replace(&format!("{key}: "), "other: ");
        let expected = good(&format!("{rest}{key}: {value}"));
        assert_eq!(good(&format!("{rest}{key}: |\n  {value}\n\n")), expected, "{key}");
        let variable = format!("GTM_{}", key.to_uppercase());
        let given = environment(&[(&variable, &format!(" {value}\r\n"))]);
        let (config, _) = parse(Some(&rest), &given, &Flags::default()).expect(key);
        let bare = environment(&[(&variable, value)]);
        let (expected, _) = parse(Some(&rest), &bare, &Flags::default()).expect(key);
        assert_eq!(config, expected, "{key}");
    }
    let ended = format!("{PEM}\n\n");
    let config = of_variables(&[("GTM_APP_ID", "1"), ("GITHUB_PRIVATE_KEY", &ended)]);
    assert_eq!(config.app.expect("an App").key, KeySource::Pem(PemText::new(PEM)));
    assert_eq!(
        of_variables(&[("GTM_APP_ID", "\n"), ("GTM_KEY", " ")]),
        of_variables(&[])
    );
}

#[test]
fn a_pem_on_one_line_with_written_line_ends_is_the_same_key() {
    let one_line = PEM.replace('\n', "\\n");
    let config = of_variables(&[("GTM_APP_ID", "1"), ("GTM_KEY", &one_line)]);
    assert_eq!(config.app.expect("an App").key, KeySource::Pem(PemText::new(PEM)));
}

#[test]
fn a_pem_in_the_file_is_the_key_itself() {
    let indented = PEM.replace('\n', "\n  ");
    assert_eq!(
        app(&format!("app_id: 1\nkey: |\n  {indented}\n")).key,
        KeySource::Pem(PemText::new(PEM))
    );
}

#[test]
fn a_secret_is_named_with_or_without_its_key() {
    let secret = |name: &str, key: &str| KeySource::Secret {
        name: name.to_owned(),
        key: key.to_owned(),
    };
    assert_eq!(
        app("app_id: 1\nprovider: secret\nkey: my-app").key,
        secret("my-app", "private-key.pem")
    );
    assert_eq!(
        app("app_id: 1\nprovider: secret\nkey: my-app/tls.key").key,
        secret("my-app", "tls.key")
    );
}

#[test]
fn a_client_id_is_the_issuer_where_there_is_one() {
    let both = app("app_id: 1\nclient_id: Iv23liX\nowner: my-org\nkey: /k");
    assert_eq!(
        (both.identity.issuer(), both.identity.app_id()),
        (Issuer::ClientId("Iv23liX".to_owned()), Some(1))
    );
    assert_eq!(both.owner.as_deref(), Some("my-org"));
    assert_eq!(
        app("client_id: Iv1.0123\nkey: /k").identity,
        AppIdentity::ClientId("Iv1.0123".to_owned())
    );
    assert_eq!(app("app_id: 7\nkey: /k").identity.issuer(), Issuer::AppId(7));
}

#[test]
fn a_rate_limit_has_five_spellings() {
    let limits = |mints_per_minute, concurrent| RateLimit::Fixed {
        mints_per_minute: NonZeroU32::new(mints_per_minute),
        concurrent: NonZeroU32::new(concurrent),
    };
    for (text, expected) in [
        ("auto", RateLimit::Auto),
        ("off", RateLimit::Off),
        ("false", RateLimit::Off),
        ("0", RateLimit::Off),
        ("'0'", RateLimit::Off),
        ("300", limits(300, 0)),
        ("'300'", limits(300, 0)),
        ("{mints_per_minute: 300, concurrent: 20}", limits(300, 20)),
        ("{concurrent: '20'}", limits(0, 20)),
    ] {
        assert_eq!(good(&format!("rate_limit: {text}")).rate_limit, expected, "{text}");
    }
    assert_eq!(
        of_variables(&[("GTM_RATE_LIMIT", "{concurrent: 20}")]).rate_limit,
        limits(0, 20)
    );
    assert_eq!(of_variables(&[("GTM_RATE_LIMIT", "off")]).rate_limit, RateLimit::Off);
}

#[test]
fn auto_keeps_githubs_limits_where_github_runs_the_api_and_none_elsewhere() {
    for (url, limited) in [
        ("https://api.github.com", true),
        ("https://api.acme.ghe.com", true),
        ("https://github.acme.com/api/v3", false),
        ("https://api.github.com.evil.example", false),
        ("http://127.0.0.1:8080", false),
        ("https://notghe.com", false),
    ] {
        let url: BaseUrl = url.parse().expect("a URL");
        let limits = |per_minute, concurrent| Limits {
            per_minute: NonZeroU32::new(per_minute),
            concurrent: NonZeroU32::new(concurrent),
        };
        let github = if limited { limits(180, 100) } else { limits(0, 0) };
        assert_eq!(RateLimit::Auto.limits_for(&url), github, "{url}");
        assert_eq!(RateLimit::Off.limits_for(&url), limits(0, 0));
        let own = good("rate_limit: 7").rate_limit;
        assert_eq!(own.limits_for(&url), limits(7, 100));
        let own = good("rate_limit: {concurrent: 7}").rate_limit;
        assert_eq!(own.limits_for(&url), limits(180, 7));
    }
}

#[test]
fn allowed_keys_are_a_map_of_lists_in_the_file_and_in_the_variable() {
    let expected = BTreeMap::from([(
        "team-*".to_owned(),
        vec!["alias/team-*".to_owned(), "alias/x".to_owned()],
    )]);
    assert_eq!(
        good("allowed_keys:\n  team-*: [alias/team-*, alias/x]").allowed_keys,
        expected
    );
    let variable = r#"{"team-*": ["alias/team-*", "alias/x"]}"#;
    assert_eq!(of_variables(&[("GTM_ALLOWED_KEYS", variable)]).allowed_keys, expected);
}

#[test]
fn a_base_url_loses_its_trailing_slash_and_a_ca_bundle_is_a_path_or_a_pem() {
    assert_eq!(
        good("base_url: https://ghe.example/api/v3/").base_url.to_string(),
        "https://ghe.example/api/v3"
    );
    assert_eq!(
        good("base_url: http://127.0.0.1:8080").base_url.to_string(),
        "http://127.0.0.1:8080"
    );
    assert_eq!(
        good("ca_bundle: /etc/ca.pem").ca_bundle,
        Some(CaBundle::File("/etc/ca.pem".into()))
    );
    let pem = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----";
    let config = of_variables(&[("GTM_CA_BUNDLE", &pem.replace('\n', "\\n"))]);
    assert_eq!(config.ca_bundle, Some(CaBundle::Pem(pem.to_owned())));
}

#[test]
fn an_unknown_key_is_a_warning_that_names_the_nearest_known_one() {
    for (key, nearest) in [
        ("app-id", "app_id"),
        ("appID", "app_id"),
        ("installationId", "installation_id"),
        ("clientid", "client_id"),
        ("baseURL", "base_url"),
        ("ratelimits", "rate_limit"),
        ("keys", "key"),
    ] {
        let (config, warnings) = of_file(&format!("{key}: 1")).expect("only a warning");
        assert_eq!(config.app, None, "{key}");
        assert_eq!(warnings.len(), 1, "{key}");
        assert_eq!(
            warnings[0],
            Warning::UnknownKey {
                key: key.to_owned(),
                nearest: Some(nearest)
            },
            "{key}"
        );
    }
}

#[test]
fn a_reload_sees_a_change_of_any_key_and_nothing_where_nothing_changed() {
    let text = format!("app_id: 1\nkey: '{}'\n", PEM.replace('\n', "\\n"));
    assert_eq!(good(&text), good(&format!("# a comment\n{text}")));
    assert_ne!(good(&text), good(&text.replace("c2Vjc", "T3RoZ")));
    for more in [
        "validate_key: true",
        "owner: x",
        "rate_limit: 5",
        "base_url: https://x",
        "allowed_keys: {a: [b]}",
    ] {
        assert_ne!(good(&text), good(&format!("{text}{more}")), "{more}");
    }
}

#[test]
fn a_file_is_empty_that_says_nothing_known_whatever_the_environment_says() {
    for text in ["", "{}", "# app_id: 1", "nonsense: 1"] {
        assert!(good(text).file_is_empty, "{text}");
    }
    assert!(of_variables(&[("GTM_RATE_LIMIT", "off")]).file_is_empty);
    assert!(!good("rate_limit: auto").file_is_empty);
}

#[test]
fn debug_of_a_configuration_shows_no_key() {
    let config = of_variables(&[("GTM_APP_ID", "1"), ("GTM_KEY", PEM)]);
    let shown = format!("{config:?} {:#?}", config.app);
    assert!(shown.contains("REDACTED") && !shown.contains("c2Vjc"), "{shown}");
}
