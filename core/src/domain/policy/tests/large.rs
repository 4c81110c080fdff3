//! What policies cost: they are asked at each admission and before each mint, between everything else that is to be done.

use std::time::{Duration, Instant};

use super::*;

#[test]
#[expect(clippy::disallowed_methods, reason = "the time that it takes is what is tested")]
fn the_largest_token_against_the_largest_list_of_names_takes_no_time_to_speak_of() {
    let names = |name: &str| (0..500).map(|number| format!("{name}-{number}")).collect::<Vec<_>>();
    let mut globs = names("Some-Repository-Of-Another-Team");
    globs[499] = "*WEB*".to_owned();
    let all = policies(&[("p", json!({"repositories": globs}))], DefaultPolicy::Allow);
    let token = fixtures::intent(json!({"repositories": names("a-repository-of-the-web-team")}));
    let took = (0..5).map(|_| {
        let start = Instant::now();
        assert_eq!(all.judge(&token).forbidden, None);
        start.elapsed()
    });
    // A quarter of a million pairs, in a build that is not optimized.
    let least = took.min().unwrap();
    assert!(least < Duration::from_millis(200), "{least:?}");
}
