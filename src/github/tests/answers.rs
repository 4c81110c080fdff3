//! Each answer of GitHub, in its own words, and what becomes of it.

use std::time::Duration;

use super::super::{Error, classify, parse_mint_answer};
use super::*;
use crate::api::Reason;
use crate::domain::schedule::Retry;

const MINUTES: fn(u64) -> Retry = |n| Retry::Every(Duration::from_secs(60 * n));
const AFTER_A_MINUTE: Retry = Retry::After(Duration::from_secs(60));
const IP: &str = "Although you appear to have the correct authorization credentials, the `acme` organization has an IP allow list \
                  enabled, and your IP address is not permitted to access this resource.";
const SECONDARY: &str = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
const FUTURE_EXP: &str = "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the \
                          assertion expires";
const IAT: &str = "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued";
const PRIMARY: &str = "API rate limit exceeded for installation ID 67890.";
const REPOSITORIES: &str =
    "There is at least one repository that does not exist or is not accessible to the parent installation.";

/// Status, headers, message; reason and retry.
type Row = (
    u16,
    &'static [(&'static str, &'static str)],
    &'static str,
    Reason,
    Retry,
);

fn rows() -> Vec<Row> {
    let hold = |seconds| Retry::HoldApp(at(NOW + seconds));
    vec![
        (401, &[], FUTURE_EXP, Reason::ClockSkew, AFTER_A_MINUTE),
        (
            401,
            &[],
            "'Expiration time' claim ('exp') is too far in the future",
            Reason::ClockSkew,
            AFTER_A_MINUTE,
        ),
        (401, &[], IAT, Reason::ClockSkew, AFTER_A_MINUTE),
        (
            401,
            &[],
            "A JSON web token could not be decoded",
            Reason::AppAuthenticationFailed,
            MINUTES(10),
        ),
        (
            401,
            &[],
            "Integration must generate a public key",
            Reason::AppAuthenticationFailed,
            MINUTES(10),
        ),
        (
            401,
            &[],
            "'Issuer' claim ('iss') must be an Integer",
            Reason::AppAuthenticationFailed,
            MINUTES(10),
        ),
        (
            401,
            &[],
            "Bad credentials",
            Reason::AppAuthenticationFailed,
            MINUTES(10),
        ),
        (
            404,
            &[],
            "Integration not found",
            Reason::AppAuthenticationFailed,
            MINUTES(10),
        ),
        (
            403,
            &[],
            "This installation has been suspended",
            Reason::InstallationSuspended,
            MINUTES(10),
        ),
        (
            403,
            &[("x-ratelimit-remaining", "0")],
            "This installation has been suspended",
            Reason::InstallationSuspended,
            MINUTES(10),
        ),
        (403, &[], IP, Reason::IpNotAllowed, MINUTES(15)),
        (
            403,
            &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1732270200")],
            PRIMARY,
            Reason::RateLimited,
            hold(601),
        ),
        (
            429,
            &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1732270200")],
            PRIMARY,
            Reason::RateLimited,
            hold(601),
        ),
        (
            403,
            &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1732260000")],
            PRIMARY,
            Reason::RateLimited,
            hold(60),
        ),
        (
            403,
            &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1732269600")],
            PRIMARY,
            Reason::RateLimited,
            hold(60),
        ),
        (
            403,
            &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "99999999999")],
            PRIMARY,
            Reason::RateLimited,
            hold(3_600),
        ),
        (
            403,
            &[("x-ratelimit-remaining", "0")],
            PRIMARY,
            Reason::RateLimited,
            hold(60),
        ),
        (
            403,
            &[("retry-after", "90")],
            SECONDARY,
            Reason::SecondaryRateLimited,
            hold(90),
        ),
        (
            429,
            &[("retry-after", "90")],
            "",
            Reason::SecondaryRateLimited,
            hold(90),
        ),
        (
            429,
            &[("retry-after", "Fri, 22 Nov 2024 10:02:00 GMT")],
            SECONDARY,
            Reason::SecondaryRateLimited,
            hold(120),
        ),
        (
            403,
            &[("retry-after", "4000000000")],
            SECONDARY,
            Reason::SecondaryRateLimited,
            hold(3_600),
        ),
        (
            403,
            &[("retry-after", "0")],
            SECONDARY,
            Reason::SecondaryRateLimited,
            hold(1),
        ),
        (
            403,
            &[("retry-after", "soon")],
            SECONDARY,
            Reason::SecondaryRateLimited,
            hold(60),
        ),
        (
            403,
            &[("x-ratelimit-remaining", "0")],
            SECONDARY,
            Reason::SecondaryRateLimited,
            hold(60),
        ),
        (403, &[], SECONDARY, Reason::SecondaryRateLimited, hold(60)),
        (
            403,
            &[],
            "You have triggered an abuse detection mechanism. Please retry your request again later.",
            Reason::SecondaryRateLimited,
            hold(60),
        ),
        (429, &[], "", Reason::SecondaryRateLimited, hold(60)),
        (
            403,
            &[],
            "Resource not accessible by integration",
            Reason::RequestRefused,
            MINUTES(10),
        ),
        (404, &[], "Not Found", Reason::InstallationNotFound, MINUTES(10)),
        (
            422,
            &[],
            "The permissions requested are not granted to this installation.",
            Reason::PermissionsNotGranted,
            MINUTES(10),
        ),
        (422, &[], REPOSITORIES, Reason::RepositoryNotAccessible, MINUTES(10)),
        (422, &[], "Unprocessable", Reason::RequestRefused, MINUTES(10)),
        (400, &[], "Problems parsing JSON", Reason::RequestRefused, MINUTES(10)),
        (451, &[], "", Reason::RequestRefused, MINUTES(10)),
        (408, &[], "", Reason::GitHubUnavailable, Retry::Backoff),
        (500, &[], "Server Error", Reason::GitHubUnavailable, Retry::Backoff),
        (
            503,
            &[("retry-after", "5")],
            "",
            Reason::GitHubUnavailable,
            Retry::Backoff,
        ),
        (599, &[], "", Reason::GitHubUnavailable, Retry::Backoff),
        (
            301,
            &[("location", "https://elsewhere.example/x")],
            "Moved Permanently",
            Reason::InvalidAnswer,
            Retry::Backoff,
        ),
        (200, &[], "", Reason::InvalidAnswer, Retry::Backoff),
        (204, &[], "", Reason::InvalidAnswer, Retry::Backoff),
        (999, &[], "", Reason::InvalidAnswer, Retry::Backoff),
    ]
}

#[test]
fn every_row_of_the_table_has_its_reason_and_its_retry() {
    for (status, headers, text, reason, retry) in rows() {
        let error = with_asked(true, |asked| {
            parse_mint_answer(asked, &answer(status, headers, message(text)))
        })
        .unwrap_err();
        assert_eq!(
            (error.reason(), error.retry()),
            (reason, retry),
            "{status} {headers:?} {text}: {error}"
        );
        let quotes = !matches!(error, Error::InvalidAnswer { .. });
        assert_eq!(error.to_string().contains(text), quotes || text.is_empty(), "{error}");
    }
}

#[test]
fn messages_name_the_field_the_value_and_the_cure() {
    let text = |status, said: &str| {
        with_asked(true, |asked| {
            classify(asked, &answer(status, &[], message(said))).to_string()
        })
    };
    for (status, said, expected) in [
        (
            401,
            "A JSON web token could not be decoded",
            "GitHub at https://api.github.com does not accept the JWT of appID 12345: \"A JSON web token could not be decoded\"; check that \
          this ID and the private key belong to one App of that GitHub, and that the key has not been deleted there",
        ),
        (
            403,
            "This installation has been suspended",
            "installationID 67890 is suspended: \"This installation has been suspended\"; its owner can lift that in the account's settings, \
          \"GitHub Apps\"",
        ),
        (
            404,
            " Not Found ",
            "installationID 67890 is no installation of appID 12345 at https://api.github.com: \"Not Found\"; check the ID, or install the \
          App again and use its new ID",
        ),
        (
            422,
            "The permissions requested are not granted to this installation.",
            "permissions {contents: write, issues: read} are more than installationID 67890 has: \"The permissions requested are not granted \
          to this installation.\"; ask for less, or add them to the App and let the account's owner accept them",
        ),
        (
            422,
            REPOSITORIES,
            "repositories [alpha, beta] and repositoryIDs [101] are not all within installationID 67890: \"There is at least one repository \
          that does not exist or is not accessible to the parent installation.\"; check the spelling (names without owner), or let the \
          account's owner add them to the installation",
        ),
        (
            502,
            "",
            "GitHub at https://api.github.com is not available: HTTP 502 no message",
        ),
    ] {
        assert_eq!(text(status, said), expected);
    }
}

#[test]
fn a_validation_error_is_understood_by_its_entries() {
    let body = r#"{"message":"Validation Failed","errors":[{"resource":"Integration","field":"permissions","code":"invalid"}, "odd", 7]}"#;
    let error = with_asked(true, |asked| classify(asked, &answer(422, &[], body)));
    assert_eq!(error.reason(), Reason::PermissionsNotGranted);
    assert!(
        error
            .to_string()
            .contains("\"Validation Failed Integration permissions invalid odd\""),
        "{error}"
    );
}

#[test]
fn a_token_that_does_not_work_yet_is_told_from_an_app_that_does_not_work() {
    for status in [401, 403, 404] {
        let error = with_asked(false, |asked| {
            classify(asked, &answer(status, &[], message("Bad credentials")))
        });
        assert!(
            matches!(error, Error::TokenNotActive { status: named, .. } if named == status),
            "{error:?}"
        );
        assert_eq!(error.retry(), Retry::Backoff);
    }
    let limited = with_asked(false, |asked| {
        classify(asked, &answer(403, &[("retry-after", "5")], message(SECONDARY)))
    });
    assert_eq!(limited.reason(), Reason::SecondaryRateLimited);
}

#[test]
fn a_page_of_a_proxy_is_not_githubs_word() {
    let page = "<html><body><h1>404 Not Found</h1></body></html>";
    for (status, body) in [400, 401, 403, 404, 407, 410, 422, 451]
        .into_iter()
        .flat_map(|status| ["", page, "[]", "\"Not Found\""].map(|body| (status, body)))
    {
        for mint in [true, false] {
            let error = with_asked(mint, |asked| classify(asked, &answer(status, &[], body)));
            assert_eq!(error.reason(), Reason::InvalidAnswer, "{status} {body}");
            assert_eq!(error.retry(), Retry::Backoff, "{status} {body}");
            assert!(error.to_string().contains(&format!("HTTP {status} without")), "{error}");
        }
    }
    let limited = with_asked(true, |asked| {
        classify(asked, &answer(403, &[("retry-after", "5")], page))
    });
    assert_eq!(limited.reason(), Reason::SecondaryRateLimited);
}

#[test]
fn waits_count_from_githubs_date_and_not_from_our_clock() {
    let headers = [("date", "Fri, 22 Nov 2024 09:00:00 GMT"), ("retry-after", "30")];
    let error = with_asked(true, |asked| classify(asked, &answer(429, &headers, "")));
    assert_eq!(error.retry(), Retry::HoldApp(at(NOW - 3_600 + 30)));
}

#[test]
fn an_answer_of_an_address_that_a_stranger_has_chosen_is_understood_and_not_quoted() {
    let answers = [
        (401, "Bad credentials of the intranet"),
        (403, "suspended by the intranet"),
        (404, "the intranet has none"),
        (500, "the intranet is down"),
    ];
    for (status, text) in answers {
        let tell = |quotes| {
            with_asked(true, |asked| {
                classify(&Asked { quotes, ..*asked }, &answer(status, &[], message(text)))
            })
        };
        let (quoted, unquoted) = (tell(true), tell(false));
        assert!(
            quoted.to_string().contains(text) && !unquoted.to_string().contains("intranet"),
            "{unquoted}"
        );
        assert_eq!(quoted.reason(), unquoted.reason(), "{status}");
    }
    let elsewhere = answer(302, &[("location", "https://intranet.corp/login")], "");
    let told = with_asked(true, |asked| {
        classify(
            &Asked {
                quotes: false,
                ..*asked
            },
            &elsewhere,
        )
    });
    assert!(!told.to_string().contains("intranet"), "{told}");
}
