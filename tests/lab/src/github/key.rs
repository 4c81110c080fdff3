//! The App's private key: RSA-2048, as GitHub hands it out.

use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode};
use serde_json::Value;

use super::StartError;
use super::digest::sha256_base64;

/// An RSA-2048 key of the stand-in's App: the private half for whoever signs, the public half for GitHub.
#[derive(Clone)]
pub struct AppKey(Arc<Parts>);

struct Parts {
    pkcs1: Vec<u8>,
    pkcs8: Vec<u8>,
    spki: Vec<u8>,
    verifier: DecodingKey,
}

impl AppKey {
    /// Generates a key. Takes some hundred milliseconds.
    ///
    /// # Errors
    /// When the crypto library fails.
    pub fn generate() -> Result<Self, StartError> {
        let failed = |what| move |_| StartError::Key(what);
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(failed("generate it"))?;
        let pkcs8: Pkcs8V1Der = pair.as_der().map_err(failed("encode it as PKCS#8"))?;
        let spki: PublicKeyX509Der = pair.public_key().as_der().map_err(failed("encode its public half"))?;
        let pkcs8 = pkcs8.as_ref().to_vec();
        let pkcs1 = inner_pkcs1(&pkcs8).ok_or(StartError::Key("find PKCS#1 inside PKCS#8"))?;
        Ok(Self(Arc::new(Parts {
            pkcs1: pkcs1.to_vec(),
            spki: spki.as_ref().to_vec(),
            verifier: DecodingKey::from_rsa_der(pair.public_key().as_ref()),
            pkcs8,
        })))
    }

    /// The key that every stand-in of this process shares unless it is given one, so that a test binary with a
    /// hundred tests generates one key.
    ///
    /// # Errors
    /// When the crypto library fails.
    pub fn of_this_process() -> Result<Self, StartError> {
        static KEY: OnceLock<AppKey> = OnceLock::new();
        if let Some(key) = KEY.get() {
            return Ok(key.clone());
        }
        let key = Self::generate()?;
        Ok(KEY.get_or_init(|| key).clone())
    }

    /// The private key as PKCS#8, DER: what is imported into a key service.
    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.0.pkcs8
    }

    /// RSASSA-PKCS1-v1_5 of a SHA-256 digest, as a key service signs; `None` when it is no digest.
    pub(crate) fn sign_digest(&self, digest: &[u8]) -> Option<Vec<u8>> {
        let pair = RsaKeyPair::from_pkcs8(&self.0.pkcs8).ok()?;
        let digest = Digest::import_less_safe(digest, &SHA256).ok()?;
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign_digest(&RSA_PKCS1_SHA256, &digest, &mut signature).ok()?;
        Some(signature)
    }

    /// The public modulus and exponent, big-endian.
    pub(crate) fn components(&self) -> (&[u8], &[u8]) {
        components(&self.0.pkcs1).unwrap_or_default()
    }

    /// The public key's SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.0.spki
    }

    /// The private key as GitHub's download has it: `-----BEGIN RSA PRIVATE KEY-----`.
    #[must_use]
    pub fn pkcs1_pem(&self) -> String {
        pem("RSA PRIVATE KEY", &self.0.pkcs1)
    }

    /// The private key as most tools convert it: `-----BEGIN PRIVATE KEY-----`.
    #[must_use]
    pub fn pkcs8_pem(&self) -> String {
        pem("PRIVATE KEY", &self.0.pkcs8)
    }

    /// The public key: `-----BEGIN PUBLIC KEY-----` (SubjectPublicKeyInfo).
    #[must_use]
    pub fn public_pem(&self) -> String {
        pem("PUBLIC KEY", &self.0.spki)
    }

    /// What GitHub shows beside the key: base64 of SHA-256 of the public key (SubjectPublicKeyInfo, DER).
    #[must_use]
    pub fn fingerprint(&self) -> String {
        sha256_base64(&self.0.spki)
    }

    /// A JWT of these claims (`iss`, `iat`, `exp`), signed with RS256.
    ///
    /// # Errors
    /// When the crypto library fails.
    pub fn sign(&self, claims: &Value) -> Result<String, StartError> {
        let key = EncodingKey::from_rsa_der(&self.0.pkcs1);
        encode(&Header::new(Algorithm::RS256), claims, &key).map_err(|_| StartError::Key("sign with it"))
    }

    pub(crate) fn verifier(&self) -> &DecodingKey {
        &self.0.verifier
    }
}

impl fmt::Debug for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppKey({})", self.fingerprint())
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().map(|&byte| char::from(byte)));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// RFC 8017: `SEQUENCE { version, modulus, publicExponent, ... }`, all of them INTEGER.
fn components(pkcs1: &[u8]) -> Option<(&[u8], &[u8])> {
    const INTEGER: u8 = 0x02;
    let (outer, _) = der_value(pkcs1, 0x30)?;
    let (_version, rest) = der_value(outer, INTEGER)?;
    let (n, rest) = der_value(rest, INTEGER)?;
    let (e, _) = der_value(rest, INTEGER)?;
    // A number whose first bit is set has a zero in front, which is no part of it.
    Some((n.strip_prefix(&[0]).unwrap_or(n), e))
}

/// RFC 5208: `SEQUENCE { version INTEGER, algorithm SEQUENCE, privateKey OCTET STRING }`; the octets are PKCS#1.
fn inner_pkcs1(pkcs8: &[u8]) -> Option<&[u8]> {
    const INTEGER: u8 = 0x02;
    const OCTETS: u8 = 0x04;
    const SEQUENCE: u8 = 0x30;
    let (outer, _) = der_value(pkcs8, SEQUENCE)?;
    let (_version, rest) = der_value(outer, INTEGER)?;
    let (_algorithm, rest) = der_value(rest, SEQUENCE)?;
    der_value(rest, OCTETS).map(|(octets, _)| octets)
}

/// The content of a DER element with this tag, and what follows it.
fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (length.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)), rest)
    };
    (found == tag).then(|| rest.split_at_checked(length))?
}
