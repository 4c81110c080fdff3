//! Texts with placeholders: `spec.secret.template`.

use std::time::Duration;

use crate::api::Reason;

use super::problem::Problem;
use super::quote;
use super::schedule::Retry;

/// What may stand between `{{ .` and `}}`.
pub const VARIABLES: &[&str] = &["token", "username", "basicAuth", "host", "url", "apiURL", "expiresAt"];

/// What a key of a Secret is.
pub const KEYS: &str = "a Secret's key consists of letters, digits, '-', '_' and '.'";

/// Whether a Secret can have this key.
#[must_use]
pub fn is_key(key: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !key.is_empty() && key.len() <= 253 && key != "." && key != ".." && key.chars().all(allowed)
}

/// Checks one key and its text.
///
/// # Errors
/// A [`Problem`] that names the key, what is wrong with it, and what may stand there.
pub fn check(key: &str, text: &str) -> Result<(), Problem> {
    if !is_key(key) {
        return Err(wrong(key, KEYS));
    }
    render(key, text, |_| Some(String::new())).map(drop)
}

/// Replaces each `{{ .name }}`.
///
/// # Errors
/// A [`Problem`] for a brace that is not closed or a name that `value` does not know.
pub fn render(key: &str, text: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, Problem> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((inside, tail)) = after.split_once("}}") else {
            return Err(wrong(key, "'{{' is not closed by '}}'"));
        };
        let known = inside.trim().strip_prefix('.').filter(|name| VARIABLES.contains(name));
        let Some(filled) = known.and_then(&value) else {
            let (given, known) = (quote(&format!("{{{{{inside}}}}}")), VARIABLES.join(", ."));
            return Err(wrong(key, &format!("'{given}' is not known; known: .{known}")));
        };
        out.push_str(&filled);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

fn wrong(key: &str, why: &str) -> Problem {
    let shown = quote(key);
    Problem::new(
        Reason::InvalidTemplate,
        Retry::Every(Duration::from_secs(3600)),
        format!("spec.secret.template['{shown}']: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn placeholders_are_filled_in_with_and_without_spaces() {
        let value = |name: &str| Some(format!("<{name}>"));
        assert_eq!(
            render("k", "a {{ .token }} b {{.host}}", value).unwrap(),
            "a <token> b <host>"
        );
    }

    #[test]
    fn an_unknown_name_says_which_are_known() {
        let problem = check("k", "{{ .tokn }}").unwrap_err();
        assert_eq!(problem.reason, Reason::InvalidTemplate);
        assert!(
            problem
                .message
                .contains("'{{ .tokn }}' is not known; known: .token, .username"),
            "{}",
            problem.message
        );
    }

    #[test]
    fn an_open_brace_and_a_bad_key_are_refused() {
        assert!(check("k", "{{ .token").unwrap_err().message.contains("not closed"));
        for key in ["", "..", "a/b", "a b", "ключ"] {
            assert!(check(key, "x").is_err(), "{key}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(key in ".{0,20}", text in ".{0,200}") {
            let _ = check(&key, &text);
        }

        #[test]
        fn a_text_without_braces_stays_as_it_is(text in "[^{}]{0,200}") {
            prop_assert_eq!(render("k", &text, |_| None).unwrap(), text);
        }
    }
}
