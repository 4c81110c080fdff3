//! The public half of a key: what proves each signature of a service, and what GitHub shows.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::rsa::{PublicEncryptingKey, PublicKeyComponents};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::domain::digest::base64_sha256;

/// An RSA public key of 2048 to 8192 bits.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    spki: Vec<u8>,
    bits: usize,
}

impl PublicKey {
    /// Takes a SubjectPublicKeyInfo (DER).
    ///
    /// # Errors
    /// What the key is instead, to be put behind "the key ".
    pub fn from_spki(spki: &[u8]) -> Result<Self, &'static str> {
        let key = PublicEncryptingKey::from_der(spki).map_err(why)?;
        Ok(PublicKey {
            spki: spki.to_vec(),
            bits: key.key_size_bits(),
        })
    }

    /// Takes a PEM text, `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    /// What the key is instead, to be put behind "the key ".
    pub fn from_pem(pem: &str) -> Result<Self, &'static str> {
        let body = pem
            .split_once("-----BEGIN PUBLIC KEY-----")
            .and_then(|(_, rest)| rest.split_once("-----END PUBLIC KEY-----"))
            .map(|(body, _)| body.split_ascii_whitespace().collect::<String>())
            .ok_or(UNREADABLE)?;
        Self::from_spki(&STANDARD.decode(body).map_err(|_| UNREADABLE)?)
    }

    /// Takes modulus and exponent, as big-endian numbers.
    ///
    /// # Errors
    /// What the key is instead, to be put behind "the key ".
    pub fn from_components(n: &[u8], e: &[u8]) -> Result<Self, &'static str> {
        // The crypto library does not say why it refuses components.
        let significant = n.iter().skip_while(|byte| **byte == 0).count();
        if significant < SMALLEST {
            return Err(SMALL);
        }
        let key: PublicEncryptingKey = PublicKeyComponents { n, e }.try_into().map_err(|_| UNREADABLE)?;
        let spki: PublicKeyX509Der<'_> = key.as_der().map_err(|_| UNREADABLE)?;
        Self::from_spki(spki.as_ref())
    }

    /// The SubjectPublicKeyInfo (DER).
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The length of the modulus, in bits.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// As GitHub's settings page of the App shows it: `SHA256:` and the base64 of the SHA-256 of the SubjectPublicKeyInfo.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", base64_sha256(&self.spki))
    }

    /// Whether this is the key's RSASSA-PKCS1-v1_5 signature, with SHA-256, of the message.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.spki)
            .verify(message, signature)
            .is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} bits, {})", self.bits, self.fingerprint())
    }
}

/// The modulus of a key of 2048 bits, in bytes.
const SMALLEST: usize = 256;
const SMALL: &str = "is an RSA key of fewer than 2048 bits";
const UNREADABLE: &str = "has a public key that cannot be read";

/// What the crypto library's refusal means; it has no type for that, only a text.
pub(super) fn why(rejected: KeyRejected) -> &'static str {
    match rejected.description_() {
        "TooSmall" => SMALL,
        "TooLarge" => "is an RSA key of more than 8192 bits",
        "WrongAlgorithm" => "is not an RSA key: GitHub Apps sign with RSA",
        _ => "is damaged: it does not hold a consistent RSA key",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signer::PemKey;

    const APP: &str = include_str!("testdata/app.pem");

    /// The modulus and exponent of a SubjectPublicKeyInfo of 2048 bits.
    fn components(spki: &[u8]) -> (&[u8], &[u8]) {
        let n = spki.len() - 5 - 256;
        (&spki[n..n + 256], &spki[spki.len() - 3..])
    }

    #[test]
    fn every_form_of_a_public_key_is_the_same_key() {
        let key = PemKey::parse(APP.as_bytes()).unwrap().public_key().unwrap();
        assert_eq!(key.bits(), 2048);
        let (n, e) = components(key.spki());
        assert_eq!(PublicKey::from_components(n, e).unwrap(), key);
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(key.spki())
        );
        assert_eq!(PublicKey::from_pem(&pem).unwrap(), key);
        assert_eq!(key.fingerprint(), "SHA256:83Uk8Tbqs4p9kXJ/v8gSjpouPLScMYLITLregtNUCSs=");
    }

    #[test]
    fn only_the_keys_own_signature_of_the_message_verifies() {
        let pem = PemKey::parse(APP.as_bytes()).unwrap();
        let (key, mut signature) = (pem.public_key().unwrap(), pem.sign(b"m").unwrap());
        assert!(key.verifies(b"m", &signature));
        assert!(!key.verifies(b"n", &signature));
        assert!(!key.verifies(b"m", b""));
        signature[0] ^= 1;
        assert!(!key.verifies(b"m", &signature));
    }

    #[test]
    fn what_is_no_usable_key_is_said() {
        let small = include_str!("testdata/small-public.pem");
        assert_eq!(PublicKey::from_pem(small), Err(SMALL));
        assert_eq!(PublicKey::from_components(&[0xff; 128], &[1, 0, 1]), Err(SMALL));
        assert!(PublicKey::from_spki(b"").is_err());
        assert!(PublicKey::from_pem("hello").unwrap_err().contains("cannot be read"));
        assert!(PublicKey::from_components(&[1; 64], &[1, 0, 1]).is_err());
        assert!(PublicKey::from_components(&[], &[]).is_err());
    }
}
