//! The JSON web token by which a GitHub App authenticates: claims, signing input, assembly.
//!
//! Pure: the times are GitHub's, handed in; the signature comes from whoever holds the key. See
//! <https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app>.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde::Serialize;

/// `iat` lies this far in the past, so that a clock a little ahead of GitHub's does no harm.
const BACKDATED: SignedDuration = SignedDuration::from_secs(60);
/// `exp` lies this far ahead. GitHub's cap is ten minutes, and an exact ten fails on a small clock skew.
const LIFETIME: SignedDuration = SignedDuration::from_mins(5);
/// A JWT is used no longer than until this long before its `exp`: a request needs time to arrive.
const SPARE: SignedDuration = SignedDuration::from_secs(60);

/// The App that a JWT speaks for: the claim `iss`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum Issuer {
    /// The numeric App ID, which every GitHub understands.
    AppId(u64),
    /// The client ID, which GitHub recommends; GitHub Enterprise Server understands it from 3.14.
    ClientId(String),
}

impl fmt::Display for Issuer {
    /// The field that the user set, and its value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Issuer::AppId(id) => write!(f, "appID {id}"),
            Issuer::ClientId(id) => write!(f, "clientID {id}"),
        }
    }
}

/// What a JWT claims: who, from when, until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    issuer: Issuer,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

#[derive(Serialize)]
struct Payload<'a> {
    iat: i64,
    exp: i64,
    iss: &'a Issuer,
}

impl Claims {
    /// Claims for a JWT that is made at `now`, by GitHub's clock: `iat` a minute ago, `exp` in five minutes.
    #[must_use]
    pub fn new(issuer: Issuer, now: Timestamp) -> Self {
        Claims {
            issuer,
            issued_at: shift(now, -BACKDATED),
            expires_at: shift(now, LIFETIME),
        }
    }

    /// The claim `iat`.
    #[must_use]
    pub const fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// The claim `exp`.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Whether a JWT of these claims may still be sent at `now`, by GitHub's clock: begun, and a minute before its end.
    #[must_use]
    pub fn good_at(&self, now: Timestamp) -> bool {
        self.issued_at <= now && now < shift(self.expires_at, -SPARE)
    }

    /// What is signed: `base64url(header).base64url(payload)`, with RS256 as the algorithm.
    #[must_use]
    pub fn signing_input(&self) -> String {
        let payload = Payload {
            iat: self.issued_at.as_second(),
            exp: self.expires_at.as_second(),
            iss: &self.issuer,
        };
        // Integers and a string: no value of this type fails to serialise.
        let payload = serde_json::to_string(&payload).unwrap_or_default();
        format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#),
            URL_SAFE_NO_PAD.encode(payload)
        )
    }
}

/// The finished JWT: `signing_input.base64url(signature)`.
#[must_use]
pub fn assemble(signing_input: &str, signature: &[u8]) -> SecretString {
    format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature)).into()
}

/// `at + by`, or the last representable time in that direction.
fn shift(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn part(text: &str) -> String {
        String::from_utf8(URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    }

    #[test]
    fn the_signing_input_is_header_and_payload_byte_for_byte() {
        let input = Claims::new(Issuer::AppId(123_456), at(1_700_000_000)).signing_input();
        let (header, payload) = input.split_once('.').unwrap();
        assert_eq!(part(header), r#"{"alg":"RS256","typ":"JWT"}"#);
        assert_eq!(part(payload), r#"{"iat":1699999940,"exp":1700000300,"iss":123456}"#);
    }

    #[test]
    fn a_client_id_is_a_string_claim() {
        let input = Claims::new(Issuer::ClientId("Iv23\"x".into()), at(0)).signing_input();
        assert_eq!(
            part(input.split_once('.').unwrap().1),
            r#"{"iat":-60,"exp":300,"iss":"Iv23\"x"}"#
        );
    }

    #[test]
    fn assembling_appends_the_signature_without_padding() {
        assert_eq!(
            assemble("aGVhZA.Ym9keQ", &[0xfb, 0xff]).expose_secret(),
            "aGVhZA.Ym9keQ.-_8"
        );
    }

    #[test]
    fn a_jwt_is_good_from_iat_until_a_minute_before_exp() {
        let claims = Claims::new(Issuer::AppId(1), at(1_000));
        for (second, good) in [
            (939, false),
            (940, true),
            (1_000, true),
            (1_239, true),
            (1_240, false),
            (1_300, false),
        ] {
            assert_eq!(claims.good_at(at(second)), good, "at {second}");
        }
    }

    proptest! {
        #[test]
        fn no_time_and_no_client_id_breaks_the_claims(second in -377_705_023_201i64..=253_402_207_200, id in ".*") {
            let claims = Claims::new(Issuer::ClientId(id.clone()), at(second));
            let input = claims.signing_input();
            let payload: serde_json::Value = serde_json::from_str(&part(input.split_once('.').unwrap().1)).unwrap();
            prop_assert_eq!(payload["iss"].as_str(), Some(id.as_str()));
            prop_assert!(payload["exp"].as_i64().unwrap() - payload["iat"].as_i64().unwrap() <= 600);
        }
    }
}
