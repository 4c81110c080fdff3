//! `gtm.yaml`: every text is a configuration or is told what is wrong with it, without the key that it may hold.
#![no_main]

use github_token_manager::config::{Environment, Flags, parse};
use libfuzzer_sys::fuzz_target;

/// Longer runs of base64 are shown of no value.
const PIECE: usize = 64;

fuzz_target!(|text: &str| {
    match parse(Some(text), &Environment::default(), &Flags::default()) {
        Ok((config, _)) => assert!(!format!("{config:?}").contains("PRIVATE KEY")),
        Err(error) => {
            let told = error.to_string();
            assert!(!told.is_empty() && !told.contains("-----BEGIN"), "{told}");
            let base64 = |c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c));
            assert!(told.split(base64).all(|run| run.len() < PIECE), "{told}");
        }
    }
});
