//! An RSA private key in a PEM text.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::public_key::{PublicKey, why};
use crate::domain::SignError;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
const CURE: &str = "use the .pem file that GitHub offers under the App's settings, \"Private keys\"";

/// An RSA private key of at least 2048 bits.
pub struct PemKey(RsaKeyPair);

impl fmt::Debug for PemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PemKey(..)")
    }
}

impl PemKey {
    /// Reads the first private key of a PEM text.
    pub(super) fn parse(pem: &[u8]) -> Result<Self, SignError> {
        if pem.trim_ascii().is_empty() {
            return Err(invalid("is empty"));
        }
        let text =
            std::str::from_utf8(pem).map_err(|_| invalid("is not a text: DER and PKCS#12 files are not read"))?;
        // Environment variables and one-line YAML carry line ends as the two characters \ and n.
        let text = SecretString::from(text.replace("\\r", "").replace("\\n", "\n"));
        let block = Block::first_key(text.expose_secret())?;
        match block.label {
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(block.der()?.expose_secret()),
            "PRIVATE KEY" => RsaKeyPair::from_pkcs8(block.der()?.expose_secret()),
            other => return Err(invalid(not_a_key(other))),
        }
        .map(PemKey)
        .map_err(|rejected| invalid(why(rejected)))
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| invalid("cannot sign"))?;
        Ok(signature)
    }

    /// The public half.
    pub(super) fn public_key(&self) -> Result<PublicKey, SignError> {
        let der: Result<PublicKeyX509Der<'_>, _> = self.0.public_key().as_der();
        let der = der.map_err(|_| invalid("has no public key that can be encoded"))?;
        PublicKey::from_spki(der.as_ref()).map_err(invalid)
    }
}

/// One `BEGIN`/`END` block of a PEM text.
#[derive(Clone, Copy)]
struct Block<'a> {
    label: &'a str,
    body: &'a str,
}

impl<'a> Block<'a> {
    /// The first block that holds a private key; failing that the first block, for its error.
    fn first_key(text: &'a str) -> Result<Self, SignError> {
        let (mut rest, mut other) = (text, None);
        while let Some((block, after)) = Self::next(rest)? {
            if block.label.ends_with("PRIVATE KEY") {
                return Ok(block);
            }
            other = other.or(Some(block));
            rest = after;
        }
        other.ok_or_else(|| invalid("has no line \"-----BEGIN RSA PRIVATE KEY-----\", so it is not a PEM text"))
    }

    /// The next block and the text behind it.
    fn next(text: &'a str) -> Result<Option<(Self, &'a str)>, SignError> {
        let Some((_, from_label)) = text.split_once(BEGIN) else {
            return Ok(None);
        };
        let cut_off = || invalid("is cut off: its END line is missing");
        let (label, from_body) = from_label.split_once(DASHES).ok_or_else(cut_off)?;
        let (body, from_end) = from_body.split_once(END).ok_or_else(cut_off)?;
        let after = from_end
            .strip_prefix(label)
            .and_then(|rest| rest.strip_prefix(DASHES))
            .ok_or_else(cut_off)?;
        Ok(Some((Block { label, body }, after)))
    }

    /// The bytes between the lines.
    fn der(&self) -> Result<SecretSlice<u8>, SignError> {
        // RFC 1421, 4.6.1.1: an encrypted key of the old form says so in a header.
        if self.body.contains("Proc-Type:") {
            return Err(invalid(ENCRYPTED));
        }
        let body: String = self.body.split_ascii_whitespace().collect();
        let body = SecretString::from(body);
        STANDARD
            .decode(body.expose_secret())
            .map(SecretSlice::from)
            .map_err(|_| invalid("is damaged: between its BEGIN and END lines is something other than base64"))
    }
}

const ENCRYPTED: &str = "is encrypted with a passphrase: decrypt it with \"openssl rsa -in KEY.pem -out PLAIN.pem\"";

/// What a block that is no usable private key is.
fn not_a_key(label: &str) -> &'static str {
    match label {
        "ENCRYPTED PRIVATE KEY" => ENCRYPTED,
        "EC PRIVATE KEY" => "is an elliptic curve key: GitHub Apps sign with RSA",
        "DSA PRIVATE KEY" => "is a DSA key: GitHub Apps sign with RSA",
        "OPENSSH PRIVATE KEY" => "is an SSH key, not a GitHub App's",
        "PUBLIC KEY" | "RSA PUBLIC KEY" => "is a public key: the private one is needed",
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => "is a certificate: the private key is needed",
        "CERTIFICATE REQUEST" => "is a certificate request: the private key is needed",
        _ => "is a PEM text of another kind than a private key",
    }
}

fn invalid(problem: &str) -> SignError {
    SignError::InvalidKey(format!("the private key {problem}; {CURE}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use proptest::prelude::*;

    const APP: &str = include_str!("testdata/app.pem");
    const APP_PKCS8: &str = include_str!("testdata/app-pkcs8.pem");
    const SMALL: &str = include_str!("testdata/small.pem");
    /// `openssl rsa -in app.pem -pubout -outform DER | openssl sha256 -binary | openssl base64`
    const FINGERPRINT: &str = "SHA256:83Uk8Tbqs4p9kXJ/v8gSjpouPLScMYLITLregtNUCSs=";
    const EC_PKCS8: &str = "-----BEGIN PRIVATE KEY-----\n\
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgDMKX+x9WbTp1xr8O\n\
        lDadiY5JzO3/LXsLFpgafXo6D1yhRANCAASw34lpMgJNXfpDTkZcGZ2fL86rYgn2\n\
        v6Ksir1DlAUGBa423/uRJgUtp2pjOXTiYCiTvT0Vg3/ls3iN/qCGC06N\n\
        -----END PRIVATE KEY-----\n";

    fn block(label: &str, body: &str) -> String {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    fn refusal(pem: &str) -> String {
        PemKey::parse(pem.as_bytes()).expect_err(pem).to_string()
    }

    #[test]
    fn every_spelling_of_a_key_gives_the_fingerprint_that_openssl_gives() {
        let certificate = block("CERTIFICATE", "AAAA");
        for pem in [
            APP.to_owned(),
            APP_PKCS8.to_owned(),
            APP.replace('\n', "\r\n"),
            APP.replace('\n', "\\n"),
            APP.replace('\n', "\\r\\n"),
            APP.replace('\n', " "),
            APP.replace('\n', "\n    "),
            APP.trim_end().to_owned(),
            format!("\u{feff}# the key of our App\n{APP}trailing"),
            format!("\"{}\"", APP.replace('\n', "\\n")),
            format!("{certificate}{APP}"),
        ] {
            assert_eq!(
                PemKey::parse(pem.as_bytes())
                    .unwrap()
                    .public_key()
                    .unwrap()
                    .fingerprint(),
                FINGERPRINT,
                "{pem}"
            );
        }
    }

    #[test]
    fn a_signature_verifies_with_the_public_key() {
        let key = PemKey::parse(APP.as_bytes()).unwrap();
        let signature = key.sign(b"header.payload").unwrap();
        assert_eq!(signature.len(), 256);
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.0.public_key().as_ref());
        public.verify(b"header.payload", &signature).unwrap();
        assert!(public.verify(b"header.payloae", &signature).is_err());
    }

    #[test]
    fn each_unusable_key_has_a_text_of_its_own() {
        let cases = [
            (String::new(), "is empty"),
            (" \n".into(), "is empty"),
            ("hunter2".into(), "has no line"),
            (APP.lines().take(9).collect(), "is cut off"),
            (
                block(
                    "RSA PRIVATE KEY",
                    "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA",
                ),
                "is encrypted",
            ),
            (block("ENCRYPTED PRIVATE KEY", "AAAA"), "is encrypted"),
            (block("EC PRIVATE KEY", "AAAA"), "is an elliptic curve key"),
            (
                format!("{}{}", block("EC PARAMETERS", "AAAA"), block("EC PRIVATE KEY", "AAAA")),
                "is an elliptic curve key",
            ),
            (EC_PKCS8.into(), "is not an RSA key"),
            (block("DSA PRIVATE KEY", "AAAA"), "is a DSA key"),
            (block("OPENSSH PRIVATE KEY", "AAAA"), "is an SSH key"),
            (block("PUBLIC KEY", "AAAA"), "is a public key"),
            (block("RSA PUBLIC KEY", "AAAA"), "is a public key"),
            (block("CERTIFICATE", "AAAA"), "is a certificate:"),
            (block("CERTIFICATE REQUEST", "AAAA"), "is a certificate request"),
            (block("PGP MESSAGE", "AAAA"), "is a PEM text of another kind"),
            (block("RSA PRIVATE KEY", "AA*A"), "something other than base64"),
            (block("RSA PRIVATE KEY", "AAAA"), "does not hold a consistent RSA key"),
            (block("PRIVATE KEY", "AAAA"), "does not hold a consistent RSA key"),
            (SMALL.into(), "fewer than 2048 bits"),
        ];
        for (pem, text) in cases {
            let refusal = refusal(&pem);
            assert!(refusal.contains(text), "{pem}: {refusal}");
            assert!(refusal.ends_with(CURE), "{refusal}");
        }
        assert!(
            PemKey::parse(&[0x30, 0x82, 0xff])
                .unwrap_err()
                .to_string()
                .contains("is not a text")
        );
    }

    #[test]
    fn debug_and_errors_hold_nothing_of_the_key() {
        assert_eq!(format!("{:?}", PemKey::parse(APP.as_bytes()).unwrap()), "PemKey(..)");
        // One character of the key is changed, which makes it inconsistent or unreadable.
        for line in 2..APP.lines().count() - 1 {
            let mut lines: Vec<String> = APP.lines().map(str::to_owned).collect();
            lines[line].replace_range(5..6, "*");
            let refusal = refusal(&lines.join("\n"));
            assert!(
                !APP.lines()
                    .skip(1)
                    .any(|line| !line.starts_with('-') && refusal.contains(&line[..8])),
                "{refusal}"
            );
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = PemKey::parse(&bytes);
        }

        #[test]
        fn a_damaged_key_never_panics_and_never_shows_its_bytes(at in 0..APP.len(), with in any::<u8>(), cut in 0..APP.len()) {
            let mut bytes = APP.as_bytes().to_vec();
            bytes[at] = with;
            bytes.truncate(cut.max(at));
            if let Err(refusal) = PemKey::parse(&bytes) {
                let refusal = refusal.to_string();
                prop_assert!(refusal.len() < 250, "{}", refusal);
                prop_assert!(!APP.lines().filter(|line| !line.starts_with('-')).any(|line| refusal.contains(&line[..8])));
            }
        }
    }
}
