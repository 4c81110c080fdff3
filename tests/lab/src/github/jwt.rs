//! The App's JWT, checked in GitHub's order with GitHub's words.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, dangerous, decode};
use serde_json::{Map, Value};

use super::answer::{Answer, error, text};

/// GitHub refuses a JWT that ends later than this many seconds from now.
/// <https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app>
const LONGEST_LIFE: i64 = 600;

/// Whose JWTs are accepted.
pub(super) struct Issuer<'a> {
    pub app_id: u64,
    pub client_id: &'a str,
    /// The App's public keys; any of them may have signed.
    pub keys: &'a [&'a DecodingKey],
}

impl Issuer<'_> {
    /// Accepts a JWT at the time `now`, in seconds since 1970.
    pub fn verify(&self, jwt: &str, now: i64) -> Result<(), Answer> {
        let undecodable = || error(401, text::JWT_UNDECODABLE);
        let claims: Map<String, Value> = dangerous::insecure_decode_claims(jwt).map_err(|_| undecodable())?;
        self.check_issuer(claims.get("iss"))?;
        if self.keys.is_empty() {
            return Err(error(401, text::NO_PUBLIC_KEY));
        }
        if !self.keys.iter().any(|key| signed_by(jwt, key)) {
            return Err(undecodable());
        }
        check_times(&claims, now)
    }

    fn check_issuer(&self, issuer: Option<&Value>) -> Result<(), Answer> {
        let number = match issuer {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) if text == self.client_id => Some(self.app_id),
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        match number {
            Some(id) if id == self.app_id => Ok(()),
            Some(_) => Err(error(404, text::INTEGRATION_NOT_FOUND)),
            None => Err(error(401, text::ISS_NOT_INTEGER)),
        }
    }
}

/// The issuer that a JWT names; `None` for what is no JWT.
pub(super) fn issuer(jwt: &str) -> Option<String> {
    let claims: Map<String, Value> = dangerous::insecure_decode_claims(jwt).ok()?;
    match claims.get("iss")? {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn signed_by(jwt: &str, key: &DecodingKey) -> bool {
    let mut only_signature = Validation::new(Algorithm::RS256);
    only_signature.required_spec_claims.clear();
    only_signature.validate_exp = false;
    only_signature.validate_aud = false;
    decode::<Map<String, Value>>(jwt, key, &only_signature).is_ok()
}

fn check_times(claims: &Map<String, Value>, now: i64) -> Result<(), Answer> {
    let integer = |name| claims.get(name).and_then(Value::as_i64);
    let refuse = |message| Err(error(401, message));
    match integer("exp") {
        Some(exp) if exp > now.saturating_add(LONGEST_LIFE) => return refuse(text::EXP_TOO_FAR),
        Some(exp) if exp > now => {}
        _ => return refuse(text::EXP_IN_PAST),
    }
    match integer("iat") {
        Some(iat) if iat <= now => Ok(()),
        _ => refuse(text::IAT_IN_FUTURE),
    }
}
