//! Base URLs of GitHub.
#![no_main]

use github_token_manager::domain::BaseUrl;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(url) = text.parse::<BaseUrl>() else { return };
    let shown = url.to_string();
    assert!(!shown.ends_with('/') && !shown.contains(['@', '?', '#']), "{shown}");
    let again: BaseUrl = shown.parse().expect("what is shown can be read");
    assert!(again == url, "{shown}");
    assert!(url.web_url().starts_with("http") && !url.web_host().is_empty());
    assert!(!url.web_host().contains('/'), "{}", url.web_host());
    // A segment stays one segment, whatever it holds.
    let route = url.route(&["orgs", "../../x?y#z", "installation"]);
    assert!(route.as_str().starts_with(&shown), "{route}");
    assert!(route.query().is_none() && route.fragment().is_none(), "{route}");
    assert!(route.path().ends_with("/installation"), "{route}");
});
