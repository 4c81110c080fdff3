//! Private keys, as people paste them.
#![no_main]

use github_token_manager::signer::Signer;
use libfuzzer_sys::fuzz_target;

/// Shorter pieces of a key's text can stand in a message by chance.
const PIECE: usize = 24;

fuzz_target!(|data: &[u8]| match Signer::from_pem(data) {
    Ok(signer) => {
        let fingerprint = signer.fingerprint().expect("a key has a fingerprint");
        assert!(fingerprint.starts_with("SHA256:"));
        assert!(!format!("{signer:?}").contains("MII"));
    }
    Err(error) => {
        let text = format!("{error} {error:?}");
        assert!(text.len() < 1024, "{text}");
        let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
        for run in data.split(|byte| !base64(byte)).filter(|run| run.len() >= PIECE) {
            let piece = std::str::from_utf8(&run[..PIECE]).expect("ASCII");
            assert!(!text.contains(piece), "{text}");
        }
    }
});
