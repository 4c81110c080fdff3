//! Whatever a server answers: no panic, no leak.

use proptest::prelude::*;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::super::{Answer, Asked, Call, Error, parse_app, parse_installations, parse_mint_answer};
use super::{TOKEN, at, scope, with_asked};
use crate::domain::BaseUrl;
use crate::domain::jwt::Issuer;

/// Headers that the client reads, with anything in them.
fn headers() -> impl Strategy<Value = HeaderMap> {
    let name = prop::sample::select(vec![
        "date",
        "retry-after",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "location",
        "link",
        "content-type",
    ]);
    let value = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        Just(b"0".to_vec()),
        Just(b"Fri, 22 Nov 2024 10:00:00 GMT".to_vec()),
        Just(b"Fri, 31 Dec 9999 23:59:59 GMT".to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop::collection::vec((name, value), 0..6).prop_map(|pairs| {
        let values = pairs.into_iter().filter_map(|(name, value)| {
            Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_bytes(&value).ok()?))
        });
        values.collect()
    })
}

/// Bodies that hold a token somewhere, and bodies that are just bytes.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        ".{0,80}",
        Just("suspended".into()),
        Just("secondary rate limit".into()),
        Just("permissions".into())
    ];
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        (text.clone(), text).prop_map(|(before, after)| {
            serde_json::json!({"message": format!("{before}{TOKEN}{after}"), "errors": [TOKEN, {"field": TOKEN}]})
                .to_string()
                .into_bytes()
        }),
        (0usize..300).prop_map(|cut| {
            let body =
                serde_json::json!({"token": TOKEN, "expires_at": "2030-01-01T00:00:00Z", "permissions": {"a": "read"}})
                    .to_string();
            body.as_bytes()[..cut.min(body.len())].to_vec()
        }),
        ".{0,20}".prop_map(|time| serde_json::json!({"token": TOKEN, "expires_at": time})
            .to_string()
            .into_bytes()),
    ]
}

fn check(error: &Error) -> Result<(), TestCaseError> {
    let text = format!("{error} {error:?} {} {:?}", error.reason(), error.retry());
    prop_assert!(!text.contains("16C7e42F292c"), "{}", text);
    prop_assert!(error.to_string().len() < 2_500, "{}", text);
    prop_assert!(!error.to_string().chars().any(char::is_control), "{:?}", text);
    Ok(())
}

proptest! {
    #[test]
    fn no_answer_to_a_mint_panics_or_leaks(status in prop_oneof![100u16..600, Just(201), Just(403), Just(422), any::<u16>()], headers in headers(), body in body(), now in -9_999_999_999i64..253_000_000_000) {
        let answer = Answer::new(status, headers, body, at(now));
        let result = with_asked(true, |asked| parse_mint_answer(asked, &answer));
        let shown = format!("{result:?} {answer:?}");
        prop_assert!(!shown.contains("16C7e42F292c"));
        match result {
            Ok(minted) => {
                prop_assert_eq!(status, 201);
                prop_assert!(minted.expires_at > minted.issued_at);
            }
            Err(error) => check(&error)?,
        }
    }

    #[test]
    fn no_other_answer_panics_or_leaks(status in prop_oneof![Just(200u16), 100u16..600], headers in headers(), body in body()) {
        let (base_url, issuer) = (BaseUrl::GITHUB_COM.parse().unwrap(), Issuer::ClientId("Iv1".into()));
        let (answer, scope) = (Answer::new(status, headers, body, at(0)), scope());
        for call in [Call::App, Call::Installations, Call::Verify, Call::Revoke, Call::Mint { installation_id: 1, scope: &scope }] {
            let asked = Asked { base_url: &base_url, issuer: &issuer, quotes: true, call };
            check(&super::super::classify(&asked, &answer))?;
            if let Err(error) = parse_app(&asked, &answer) {
                check(&error)?;
            }
            if let Err(error) = parse_installations(&asked, &answer) {
                check(&error)?;
            }
        }
    }
}
