use super::super::Command as Asked;
use super::*;

fn parsed(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Asked, String> {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let environment = Environment(variables.collect());
    let words = std::iter::once("gtm").chain(arguments.iter().copied());
    parse(words.map(OsString::from), &environment)
        .map(|cli| cli.command)
        .map_err(|error| error.to_string())
}

#[test]
fn blanks_around_a_variable_are_none_of_its_value() {
    let variables = [
        ("GTM_DEFAULT_POLICY", " deny\n"),
        ("GTM_WATCH_NAMESPACES", " team-a, team-b "),
        ("GTM_LEADER_ELECT", "false "),
        ("GTM_CONFIG", "/x.yaml\n"),
    ];
    let Ok(Asked::Manager(args)) = parsed(&["manager"], &variables) else {
        panic!("it is refused")
    };
    let options = args.options(&Environment::default());
    assert_eq!(options.default_policy, crate::domain::policy::DefaultPolicy::Deny);
    let both = ["team-a", "team-b"].map(str::to_owned);
    assert_eq!(options.scope, crate::cluster::Scope::new(&both));
    assert!(!options.leader_elect);
    assert_eq!(options.config_path, Some("/x.yaml".into()));
    // A flag wins over it all the same.
    let Ok(Asked::Manager(args)) = parsed(&["manager", "--default-policy=allow"], &variables) else {
        panic!("it is refused")
    };
    let options = args.options(&Environment::default());
    assert_eq!(options.default_policy, crate::domain::policy::DefaultPolicy::Allow);
}

#[test]
fn a_key_in_an_argument_is_never_shown_and_its_place_is() {
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEsecret==\n-----END RSA PRIVATE KEY-----";
    let body = "MIIEsecret".repeat(120);
    let inline = format!("--output={pem}");
    let cases: [(&[&str], &str); 8] = [
        (&["mint", "--key", pem], "what stands after --key"),
        (&["mint", pem], "an argument"),
        (&[pem], "what stands after"),
        (&["mint", "--output", &body], "what stands after --output"),
        (&["mint", &inline], "what stands after --output"),
        (&["mint", "--permission", &body], "what stands after --permission"),
        (&["check", "token", "a/b", &body], "an argument"),
        (&["app", "create", "--key-file", pem], "what stands after --key-file"),
    ];
    for (arguments, place) in cases {
        let Err(error) = parsed(arguments, &[]) else {
            panic!("{arguments:?} is accepted")
        };
        assert!(!error.contains("MIIE") && !error.contains("BEGIN"), "{error}");
        let known = error.contains(place) || arguments == [pem];
        assert!(known && error.contains("GTM_KEY"), "{place}: {error}");
    }
}
