//! Texts from outside, made fit for logs, events and conditions.

/// The longest text that is passed on, in characters.
const LONGEST: usize = 512;
/// What every token of GitHub starts with
/// (<https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/>).
const PREFIXES: &[&str] = &["ghs_", "ghp_", "gho_", "ghu_", "ghr_", "github_pat_"];

/// Cuts the text to a sane length, makes control characters spaces and hides whatever looks like a token or a JWT.
#[must_use]
pub fn redact(text: &str) -> String {
    let clean: String = text
        .chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let mut out = String::with_capacity(clean.len());
    let mut rest = clean.as_str();
    while let Some((at, marker)) = next_secret(rest) {
        let (before, secret) = rest.split_at(at);
        out.push_str(before);
        out.push_str(marker);
        out.push_str("[redacted]");
        let end = secret
            .find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)))
            .unwrap_or(secret.len());
        rest = secret.get(end..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// Where the next secret starts, and what is left standing of it.
fn next_secret(text: &str) -> Option<(usize, &'static str)> {
    let tokens = PREFIXES
        .iter()
        .filter_map(|prefix| text.find(prefix).map(|at| (at, *prefix)));
    // Every JSON object that starts with `{"` has this base64: JWTs of all kinds.
    let jwt = text.find("eyJ").map(|at| (at, ""));
    tokens.chain(jwt).min()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_and_jwts_are_hidden_and_the_rest_stays() {
        assert_eq!(
            redact("bad ghs_abcDEF123.x-y_z! and eyJhbGciOiJ.eyJp.sig, end"),
            "bad ghs_[redacted]! and [redacted], end"
        );
        assert_eq!(redact("line\nbreak\u{1b}[31m"), "line break [31m");
    }

    proptest! {
        #[test]
        fn no_token_survives_wherever_it_stands(before in ".{0,50}", token in "[A-Za-z0-9]{36,100}", after in ".{0,50}") {
            let shown = redact(&format!("{before}ghs_{token}{after}"));
            prop_assert!(!shown.contains(&token));
        }

        #[test]
        fn no_text_panics_or_grows_without_bound(text in any::<String>()) {
            prop_assert!(redact(&text).chars().count() <= LONGEST * 4);
        }
    }
}
