//! The answer to a mint: what is a token, and what is not.

use secrecy::ExposeSecret;

use super::super::{Error, Minted, RepositorySelection, parse_mint_answer};
use super::*;

fn minted_body() -> serde_json::Value {
    serde_json::json!({
        "token": TOKEN,
        "expires_at": "2024-11-22T11:00:00Z",
        "permissions": {"contents": "write", "metadata": "read"},
        "repository_selection": "selected",
        "repositories": [
            {"id": 1, "name": "alpha", "owner": {"login": "acme", "name": "no"}, "topics": ["a", {"deep": [1.5e300, null]}]},
            {"name": "beta"},
        ],
        "single_file": "unknown fields are fine",
    })
}

fn mint(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Result<Minted, Error> {
    with_asked(true, |asked| parse_mint_answer(asked, &answer(status, headers, body)))
}

#[test]
fn a_minted_token_is_read_whole() {
    let minted = mint(
        201,
        &[("date", "Fri, 22 Nov 2024 09:59:58 GMT")],
        minted_body().to_string(),
    )
    .unwrap();
    assert_eq!(minted.token.expose_secret(), TOKEN);
    assert_eq!((minted.issued_at, minted.expires_at), (at(NOW - 2), at(NOW + 3_600)));
    assert_eq!(
        minted.permissions,
        BTreeMap::from([("contents".into(), "write".into()), ("metadata".into(), "read".into())])
    );
    assert_eq!(minted.repository_selection, Some(RepositorySelection::Selected));
    assert_eq!(minted.repositories, ["alpha", "beta"]);
    // printf %s TOKEN | openssl sha256 -binary | openssl base64
    assert_eq!(minted.hashed_token, HASHED);
    assert!(!format!("{minted:?}").contains("16C7e42F"));
}

const HASHED: &str = "eXwM5BRYbMjraSmv6UfHIOPk01HdBwpv459jC+qrMFQ=";

#[test]
fn only_token_and_expiry_are_needed_and_tokens_are_opaque() {
    for token in [
        "x".to_owned(),
        format!("ghs_12345_{}", "eyJ.a-b_c".repeat(60)),
        "~".repeat(8_192),
    ] {
        let body = serde_json::json!({"token": token, "expires_at": "2024-11-22T10:00:01+00:00", "repository_selection": "some-day"});
        let minted = mint(201, &[], body.to_string()).unwrap();
        assert_eq!(minted.token.expose_secret(), token);
        assert_eq!((minted.issued_at, minted.repository_selection), (at(NOW), None));
    }
}

#[test]
fn an_answer_that_is_no_token_now_is_invalid_and_never_quoted() {
    let change = |field: &str, value: serde_json::Value| {
        let mut body = minted_body();
        body[field] = value;
        body.to_string()
    };
    let long = "a".repeat(8_193);
    for body in [
        change("token", "".into()),
        change("token", format!("{TOKEN} ").into()),
        change("token", format!("{TOKEN}\n").into()),
        change("token", format!("{TOKEN}é").into()),
        change("token", long.into()),
        change("token", 12_345_678.into()),
        change("token", serde_json::Value::Null),
        change("token", serde_json::json!({"token": TOKEN})),
        change("expires_at", TOKEN.into()),
        change("expires_at", 1_732_273_200.into()),
        change("expires_at", "2024-11-22T10:00:00Z".into()),
        change("permissions", TOKEN.into()),
        change("repositories", TOKEN.into()),
        format!("\"{TOKEN}\""),
        format!("[\"{TOKEN}\"]"),
        format!("{{\"token\":\"{TOKEN}\",\"token\":\"{TOKEN}\",\"expires_at\":\"2024-11-22T11:00:00Z\"}}"),
        format!("<html>{TOKEN}"),
        minted_body().to_string()[..200].to_owned(),
        String::new(),
    ] {
        let error = mint(201, &[], body.clone()).expect_err(&body);
        assert!(matches!(error, Error::InvalidAnswer { .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("16C7e42F"), "{error}");
    }
}
