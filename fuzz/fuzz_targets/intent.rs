//! Tokens and ClusterTokens in JSON, up to the Secret that is written for them.
#![no_main]

use std::time::Duration;

use github_token_manager::api::{ClusterToken, Format, Token};
use github_token_manager::domain::intent::{Intent, TokenObject};
use github_token_manager::domain::plan::Content;
use github_token_manager::domain::plan::{AppFacts, Observed, Place, plan};
use github_token_manager::domain::secret::{IssuedToken, Site, find_token, judge, render};
use github_token_manager::domain::{Problem, quote};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use secrecy::{ExposeSecret, SecretString};

const TOKEN: &str = "ghs_0123456789abcdefghijABCDEFGHIJ456789";

fn check(problem: &Problem) {
    assert!(!problem.message.is_empty());
}

fn object<T: TokenObject>(object: &T) {
    let intent = match Intent::new(object) {
        Ok(intent) => intent,
        Err(problem) => return check(&problem),
    };
    assert!(intent.refresh >= Duration::from_secs(60) && intent.refresh <= Duration::from_secs(55 * 60));
    assert!(intent.scope.permissions.as_ref().is_none_or(|asked| !asked.is_empty()));
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    let app = AppFacts {
        github: "https://api.github.com/".to_owned(),
        identity: "https://api.github.com appID 1".to_owned(),
        installation: Some(7),
        owner: None,
        installations: None,
    };
    for place in [Place::Unknown, Place::Free] {
        let observed = Observed {
            place,
            former: Vec::new(),
            status_life: None,
            lent: None,
        };
        let _ = plan(now, &intent, &app, &observed);
    }
    secret(&intent, now);
}

fn secret(intent: &Intent, now: Timestamp) {
    let site = Site {
        host: "github.com".to_owned(),
        web_url: "https://github.com".to_owned(),
        api_url: "https://api.github.com".to_owned(),
    };
    let issued = IssuedToken {
        token: SecretString::from(TOKEN),
        issued_at: now,
        expires_at: now + jiff::SignedDuration::from_hours(1),
    };
    let rendered = render(intent, &site, &issued, "hash").expect("an intent that was accepted can be rendered");
    assert!(!format!("{rendered:?}").contains(TOKEN));
    assert!(rendered.annotations.values().all(|value| !value.contains(TOKEN)));
    let data = rendered.data.iter();
    let data = data
        .map(|(key, value)| (key.clone(), value.expose_secret().as_bytes().to_vec()))
        .collect();
    assert_eq!(judge(&intent.secret, &rendered.annotations, &data), Content::Intact);
    let hash = rendered
        .annotations
        .get("github.as-code.io/hashed-token")
        .map(String::as_str);
    let found = find_token(&data, hash);
    if intent.secret.format != Format::Template {
        assert!(found.is_some_and(|found| found.expose_secret() == TOKEN));
    }
}

fuzz_target!(|data: &[u8]| {
    match serde_json::from_slice::<Token>(data) {
        Ok(token) => object(&token),
        Err(error) => assert!(!quote(&error.to_string()).chars().any(char::is_control)),
    }
    if let Ok(token) = serde_json::from_slice::<ClusterToken>(data) {
        object(&token);
    }
});
