//! Hashes, as they stand in annotations and in GitHub's audit log.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};

/// Standard base64 of SHA-256: how GitHub's audit log writes `hashed_token`.
#[must_use]
pub fn base64_sha256(bytes: &[u8]) -> String {
    STANDARD.encode(digest(&SHA256, bytes))
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number that is the same for the same text, spread evenly over 0.0 (included) to 1.0 (excluded).
#[must_use]
pub fn fraction(text: &str) -> f64 {
    let hash = digest(&SHA256, text.as_bytes());
    let high = hash
        .as_ref()
        .iter()
        .take(4)
        .fold(0u32, |sum, byte| (sum << 8) | u32::from(*byte));
    f64::from(high) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_openssl_prints() {
        // printf abc | openssl dgst -sha256 -binary | base64
        assert_eq!(base64_sha256(b"abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }

    #[test]
    fn each_byte_has_two_digits() {
        assert_eq!(hex(&[0, 0x0f, 0xa0]), "000fa0");
    }

    #[test]
    fn fractions_are_stable_and_spread() {
        assert_eq!(fraction("a"), fraction("a"));
        let low = (0..1000).filter(|i| fraction(&format!("uid-{i}")) < 0.5).count();
        assert!((400..600).contains(&low), "{low} of 1000 below one half");
    }
}
