//! Making and reading certificates.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber, date_time_ymd,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use secrecy::{ExposeSecret, SecretString};
use x509_parser::parse_x509_certificate;

use crate::domain::authority::{Authority, Life};
use crate::domain::digest::hex;
use crate::domain::quote;

/// Why a certificate cannot be made or used. Shows no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CertificateError(pub String);

fn failed(what: &'static str) -> impl Fn(rcgen::Error) -> CertificateError {
    move |error| CertificateError(format!("{what}: {}", quote(&error.to_string())))
}

/// A certificate authority with its key.
pub struct Signer {
    /// What is decided about.
    pub facts: Authority,
    /// The certificate, PEM.
    pub certificate: String,
    /// The key, PEM (PKCS#8).
    pub key: SecretString,
}

impl Signer {
    /// A new authority.
    ///
    /// # Errors
    /// [`CertificateError`], if the machine has no randomness.
    pub fn generate(life: Life) -> Result<Self, CertificateError> {
        let wrong = failed("no certificate authority could be made");
        let key = KeyPair::generate().map_err(&wrong)?;
        let mut params = params(life, "github-token-manager webhook CA")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(&wrong)?;
        Signer::read(&certificate.pem(), SecretString::from(key.serialize_pem()))
    }

    /// Reads an authority, and tries whether certificate and key belong together.
    ///
    /// # Errors
    /// [`CertificateError`]
    pub fn read(certificate: &str, key: SecretString) -> Result<Self, CertificateError> {
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|error| CertificateError(format!("no PEM certificate: {error}")))?;
        let pair = KeyPair::from_pem(key.expose_secret()).map_err(failed("no PEM key"))?;
        let (_, parsed) = parse_x509_certificate(&der).map_err(unreadable)?;
        if !parsed.is_ca() {
            return Err(CertificateError("the certificate is none of an authority".to_owned()));
        }
        if parsed.public_key().subject_public_key.data != pair.public_key_raw() {
            return Err(CertificateError(
                "certificate and key do not belong together".to_owned(),
            ));
        }
        Ok(Signer {
            facts: authority(&der)?,
            certificate: certificate.to_owned(),
            key,
        })
    }

    /// Signs a leaf for these names, whose key nobody else has.
    ///
    /// # Errors
    /// [`CertificateError`]
    pub fn leaf(&self, life: Life, names: &[String]) -> Result<CertifiedKey, CertificateError> {
        let wrong = failed("no serving certificate could be made");
        let own = KeyPair::from_pem(self.key.expose_secret()).map_err(&wrong)?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, own).map_err(&wrong)?;
        let key = KeyPair::generate().map_err(&wrong)?;
        let mut params = params(life, "github-token-manager webhook")?;
        params.subject_alt_names = CertificateParams::new(names).map_err(&wrong)?.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &issuer).map_err(&wrong)?;
        let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        certified(vec![certificate.der().clone()], private)
    }
}

fn params(life: Life, name: &str) -> Result<CertificateParams, CertificateError> {
    let mut params = CertificateParams::default();
    let time = |at: Timestamp| {
        let seconds = u64::try_from(at.as_second()).unwrap_or_default();
        date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds)
    };
    (params.not_before, params.not_after) = (time(life.from), time(life.until));
    let mut serial = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| CertificateError("the machine gives no random bytes".to_owned()))?;
    // Positive, and of 16 bytes.
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x3f | 0x40;
    }
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    // Two authorities of one name would be tried one after the other.
    let id: String = hex(&serial).chars().take(8).collect();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("{name} {id}"));
    Ok(params)
}

fn unreadable(error: impl std::fmt::Display) -> CertificateError {
    CertificateError(format!("the certificate cannot be read: {}", quote(&error.to_string())))
}

/// Chain and key, if they belong together.
fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, CertificateError> {
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| {
        CertificateError(format!(
            "certificate and key cannot be used: {}",
            quote(&error.to_string())
        ))
    })
}

/// What is decided about of an authority's certificate.
fn authority(der: &[u8]) -> Result<Authority, CertificateError> {
    Ok(Authority {
        id: hex(digest(&SHA256, der).as_ref()),
        life: life(der)?,
    })
}

fn life(der: &[u8]) -> Result<Life, CertificateError> {
    let (_, parsed) = parse_x509_certificate(der).map_err(unreadable)?;
    let validity = parsed.validity();
    let time = |at: x509_parser::time::ASN1Time| Timestamp::from_second(at.timestamp()).map_err(unreadable);
    Ok(Life {
        from: time(validity.not_before)?,
        until: time(validity.not_after)?,
    })
}

/// The authorities of a bundle of certificates, each with its PEM text; what is none is left out.
#[must_use]
pub fn bundle(pem: &[u8]) -> Vec<(Authority, String)> {
    let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    let each = certificates.filter_map(|der| {
        let (_, parsed) = parse_x509_certificate(&der).ok()?;
        let facts = authority(&der).ok().filter(|_| parsed.is_ca())?;
        Some((facts, to_pem(&der)))
    });
    each.take(MOST_IN_BUNDLE).collect()
}

/// More certificates than a bundle of ours has.
const MOST_IN_BUNDLE: usize = 8;

/// RFC 7468, as rcgen writes it.
fn to_pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text + "-----END CERTIFICATE-----\n"
}

/// Reads a chain (leaf first) and its key, of any of the usual forms: PKCS#1, PKCS#8, SEC1. Until when it is good: the first of
/// its certificates to end.
///
/// # Errors
/// [`CertificateError`]
pub fn chain(certificates: &[u8], key: &[u8]) -> Result<(Arc<CertifiedKey>, Life), CertificateError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
    let chain = chain.map_err(|error| CertificateError(format!("tls.crt is no PEM: {error}")))?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| CertificateError("tls.key is no PEM key: PKCS#1, PKCS#8 and SEC1 can be read".to_owned()))?;
    let lives: Result<Vec<Life>, _> = chain.iter().map(|der| life(der)).collect();
    let lives = lives?;
    let from = lives.iter().map(|life| life.from).max();
    let until = lives.iter().map(|life| life.until).min();
    let (Some(from), Some(until)) = (from, until) else {
        return Err(CertificateError("tls.crt holds no certificate".to_owned()));
    };
    Ok((Arc::new(certified(chain, key)?), Life { from, until }))
}

#[cfg(test)]
mod tests;
