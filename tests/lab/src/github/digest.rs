//! Hashes and random strings.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A SHA-256 digest.
pub(super) type Sha256 = [u8; 32];

pub(super) fn sha256(data: &[u8]) -> Sha256 {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    out
}

/// SHA-256 in hexadecimal, as images name their parts.
pub(crate) fn sha256_hex(data: &[u8]) -> String {
    sha256(data).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn sha256_base64(data: &[u8]) -> String {
    STANDARD.encode(sha256(data))
}

/// A string of letters and digits that nobody guesses.
pub(super) fn random_string(length: usize) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut bytes = vec![0; length];
    // Failing means that the kernel has no randomness: the tokens would only be less random, never wrong.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes
        .into_iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte) % 62]))
        .collect()
}
