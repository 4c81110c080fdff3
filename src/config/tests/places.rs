//! Which place counts, where several say something.

use super::*;

#[test]
fn the_flag_wins_over_the_variable_over_its_alias_over_the_file() {
    let file = "app_id: 1\nkey: /k";
    let alias = ("GITHUB_APP_ID", "2");
    let variable = ("GTM_APP_ID", "3");
    let flags = Flags {
        app_id: Some("4".to_owned()),
        ..Flags::default()
    };
    let id = |variables: &[_], flags: &Flags| {
        let (config, _) = parse(Some(file), &environment(variables), flags).expect("good");
        config.app.and_then(|app| app.identity.app_id())
    };
    assert_eq!(id(&[], &Flags::default()), Some(1));
    assert_eq!(id(&[alias], &Flags::default()), Some(2));
    assert_eq!(id(&[alias, variable], &Flags::default()), Some(3));
    assert_eq!(id(&[alias, variable], &flags), Some(4));
}

#[test]
fn of_two_keys_that_say_the_same_the_one_from_the_stronger_place_counts() {
    let file = "app_id: 1\nclient_id: Iv1\nkey: /k\n";
    let of = |installation: &str, variables: &[_], flags: Flags| {
        let text = format!("{file}{installation}");
        let (config, _) = parse(Some(&text), &environment(variables), &flags).expect(&text);
        config.app.expect("an App")
    };
    let given = |text: &str| Some(text.to_owned());
    let flags = |installation_id: Option<String>, owner: Option<String>| Flags {
        installation_id,
        owner,
        ..Flags::default()
    };
    let (id, owner) = ("installation_id: 5", "owner: mine");
    for (app, expected) in [
        (of(id, &[], flags(None, given("other"))), (None, given("other"))),
        (
            of(id, &[("GTM_OWNER", "other")], Flags::default()),
            (None, given("other")),
        ),
        (
            of(owner, &[("GITHUB_INSTALLATION_ID", "7")], Flags::default()),
            (Some(7), None),
        ),
        (
            of(id, &[("GTM_OWNER", "other")], flags(given("9"), None)),
            (Some(9), None),
        ),
        (
            of(
                "",
                &[("GTM_OWNER", "other"), ("GITHUB_INSTALLATION_ID", "7")],
                Flags::default(),
            ),
            (None, given("other")),
        ),
    ] {
        assert_eq!((app.installation_id, app.owner), expected);
    }
    let (config, warnings) = of_file(&format!("{file}{id}\n{owner}")).expect("only a warning");
    let app = config.app.expect("an App");
    assert_eq!(
        (app.installation_id, app.owner, warnings),
        (Some(5), None, vec![Warning::OwnerUnused])
    );
    let identity = |variables: &[_], flags: Flags| of(id, variables, flags).identity;
    let (app_id, client_id) = (given("2"), given("Iv2"));
    let by_id = Flags {
        app_id,
        ..Flags::default()
    };
    let by_client = Flags {
        client_id,
        ..Flags::default()
    };
    assert_eq!(identity(&[], by_id), AppIdentity::AppId(2));
    assert_eq!(identity(&[], by_client), AppIdentity::ClientId("Iv2".to_owned()));
    let both = [("GTM_APP_ID", "2"), ("GTM_CLIENT_ID", "Iv2")];
    assert!(matches!(
        identity(&both, Flags::default()),
        AppIdentity::Both { app_id: 2, .. }
    ));
}
