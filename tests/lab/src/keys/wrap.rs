//! How a private key is brought into a key service: AES key wrap with padding under an AES key that is wrapped with RSA-OAEP and
//! SHA-256. AWS calls it `RSA_AES_KEY_WRAP_SHA_256`; Vault has no other.

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};

use crate::error::Error;

/// Wraps a PKCS#8 for the service whose wrapping key (SubjectPublicKeyInfo, DER) this is.
pub(super) fn wrap(pkcs8: &[u8], wrapping_key: &[u8]) -> Result<Vec<u8>, Error> {
    try_wrap(pkcs8, wrapping_key).ok_or_else(|| Error::Usage("the key cannot be wrapped for its import".into()))
}

fn try_wrap(pkcs8: &[u8], wrapping_key: &[u8]) -> Option<Vec<u8>> {
    let mut secret = [0; 32];
    rand::fill(&mut secret).ok()?;
    let oaep = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(wrapping_key).ok()?).ok()?;
    let mut first = vec![0; oaep.ciphertext_size()];
    let first = oaep
        .encrypt(&OAEP_SHA256_MGF1SHA256, &secret, &mut first, None)
        .ok()?
        .to_vec();
    let mut second = vec![0; pkcs8.len() + 16];
    let second = AesKek::new(&AES_256, &secret)
        .ok()?
        .wrap_with_padding(pkcs8, &mut second)
        .ok()?;
    Some([&first, &*second].concat())
}
