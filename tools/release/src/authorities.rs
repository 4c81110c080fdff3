//! The certificate authorities that the image trusts: Mozilla's, of the version that `Cargo.lock` pins.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Where programs on Linux look for them; the image has the file here.
pub const PATH: &str = "etc/ssl/certs/ca-certificates.crt";

/// All of them, PEM: lines of 64 characters (RFC 7468).
pub fn pem() -> String {
    let mut pem = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = STANDARD.encode(certificate);
        for line in text.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}
