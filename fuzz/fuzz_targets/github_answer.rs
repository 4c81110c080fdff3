//! GitHub's answers: a status line, headers, an empty line and the body, as they come over the wire.
#![no_main]

use github_token_manager::domain::BaseUrl;
use github_token_manager::domain::jwt::Issuer;
use github_token_manager::github::{
    Answer, Asked, Call, Error, MintScope, classify, parse_app, parse_installations, parse_mint_answer,
};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;

/// The longest text that a condition of Kubernetes is to hold, in bytes.
const LONGEST: usize = 4096;

fn parse(data: &[u8]) -> (u16, HeaderMap, Vec<u8>) {
    let (head, body) = data
        .windows(2)
        .position(|pair| pair == b"\n\n")
        .map_or((data, &[][..]), |at| (&data[..at], &data[at + 2..]));
    let mut lines = head.split(|byte| *byte == b'\n');
    let status = lines
        .next()
        .and_then(|line| std::str::from_utf8(line).ok()?.trim().parse().ok());
    let mut headers = HeaderMap::new();
    for line in lines.take(16) {
        let Some(at) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..at]);
        let value = HeaderValue::from_bytes(line[at + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    (status.unwrap_or(201), headers, body.to_vec())
}

/// What may be shown to people: short, on one line, without anything that looks like a token.
fn check(error: &Error) {
    let text = error.to_string();
    assert!(text.len() <= LONGEST, "{} bytes", text.len());
    assert!(!text.chars().any(char::is_control), "{text:?}");
    for (at, _) in text.match_indices("ghs_") {
        let run = text[at + 4..]
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || b"._-".contains(b));
        assert!(run.count() < 36, "{text}");
    }
    assert!(!error.reason().as_str().is_empty());
    let _ = error.retry();
}

fuzz_target!(|data: &[u8]| {
    let base_url: BaseUrl = BaseUrl::GITHUB_COM.parse().expect("a URL");
    let issuer = Issuer::AppId(1);
    let scope = MintScope {
        repositories: vec!["alpha".to_owned()],
        ..MintScope::default()
    };
    let installation_id = 7;
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    let (status, headers, body) = parse(data);
    let answer = Answer::new(status, headers, body, now);
    let mint = Call::Mint {
        installation_id,
        scope: &scope,
    };
    for call in [mint, Call::Revoke, Call::App, Call::Installations, Call::Verify] {
        let asked = Asked {
            base_url: &base_url,
            issuer: &issuer,
            quotes: true,
            call,
        };
        check(&classify(&asked, &answer));
        if let Err(error) = parse_app(&asked, &answer) {
            check(&error);
        }
        if let Err(error) = parse_installations(&asked, &answer) {
            check(&error);
        }
        match parse_mint_answer(&asked, &answer) {
            Ok(minted) => {
                assert_eq!(status, 201);
                assert!(!minted.token.expose_secret().is_empty());
                assert!(minted.expires_at > minted.issued_at);
                assert!(
                    !format!("{minted:?}").contains(minted.token.expose_secret())
                        || minted.token.expose_secret().len() < 20
                );
            }
            Err(error) => check(&error),
        }
    }
});
