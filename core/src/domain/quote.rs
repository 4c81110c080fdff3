//! What of a foreign text may appear in a message: bounded, printable, without tokens.

/// Longer texts are cut, in characters.
const LONGEST: usize = 300;
/// Prefixes of GitHub's tokens, of its fine-grained ones, of JWTs, and of base64 of an installation's token and of
/// `x-access-token:`, by which it is sent as Basic credentials.
const PREFIXES: [&str; 9] = [
    "ghs_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghr_",
    "github_pat_",
    "eyJ",
    "Z2hzX",
    "eC1hY2Nlc3MtdG9rZW46",
];
/// A token has at least this many characters behind its prefix.
const SHORTEST_SECRET: usize = 36;

/// Characters of a text that are looked at: whoever sends megabytes gets no more for them.
const READ: usize = 4096;

/// The text on one line, without control and formatting characters, with everything that looks like a token replaced,
/// and at most 300 characters long.
#[must_use]
pub fn quote(text: &str) -> String {
    // Most texts are names.
    if text.len() < SHORTEST_SECRET && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.trim().to_owned();
    }
    // Characters are removed before tokens are looked for, so that none can hide a token; and the text is cut afterwards,
    // so that none is cut until it no longer looks like one.
    let mut visible = text
        .chars()
        .map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c })
        .filter(|c| !is_invisible(*c));
    let mut one_line: String = visible.by_ref().take(READ).collect();
    let is_cut = visible.next().is_some();
    if is_cut {
        // What is cut in two may no longer look like a token.
        one_line.truncate(one_line.trim_end_matches(is_token_char).len());
    }
    let redacted = redact(one_line.trim());
    match redacted.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &redacted[..end]),
        None if is_cut => redacted + "…",
        None => redacted,
    }
}

/// Control characters, and those that reorder or hide text.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Replaces `PREFIX[A-Za-z0-9._-]{36,}`.
fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let run = rest.find(|c| !is_token_char(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(run);
        match secret_in(word) {
            Some(start) => {
                out.push_str(&word[..start]);
                out.push_str("[redacted]");
            }
            None => out.push_str(word),
        }
        let gap = after.find(is_token_char).unwrap_or(after.len());
        out.push_str(&after[..gap]);
        rest = &after[gap..];
    }
    out
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// Where a token begins in a run of a token's characters.
fn secret_in(word: &str) -> Option<usize> {
    PREFIXES
        .iter()
        .filter_map(|prefix| {
            word.find(prefix)
                .filter(|at| word.len() - at - prefix.len() >= SHORTEST_SECRET)
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_texts_stay_as_they_are() {
        for text in [
            "Not Found",
            "'Expiration time' claim ('exp') is too far in the future",
            "ghs_short",
            "naïve ✓",
        ] {
            assert_eq!(quote(text), text);
        }
    }

    #[test]
    fn tokens_are_replaced_wherever_they_stand() {
        let token = format!("ghs_{}", "a1._-B".repeat(6));
        assert_eq!(quote(&format!("token={token}, sorry")), "token=[redacted], sorry");
        assert_eq!(quote(&format!("x{token}")), "x[redacted]");
        assert_eq!(
            quote(&format!("ghs_{}\u{0}{}", "a".repeat(20), "b".repeat(20))),
            "[redacted]"
        );
        assert_eq!(
            quote(&format!("ghs_{}\u{200b}{}", "a".repeat(20), "b".repeat(20))),
            "[redacted]"
        );
        assert_eq!(
            quote(&format!("Bearer eyJhbGciOiJSUzI1NiJ9.{}", "p".repeat(40))),
            "Bearer [redacted]"
        );
        // base64 of ghs_0123… and of x-access-token:ghs_0123…
        let encoded = "Z2hzXzAxMjM0NTY3ODlhYmNkZWZnaGlqQUJDREVGR0hJSjQ1Njc4OQ==";
        assert_eq!(quote(&format!("Basic {encoded}!")), "Basic [redacted]==!");
        let basic = format!("eC1hY2Nlc3MtdG9rZW46{encoded}");
        assert_eq!(quote(&basic), "[redacted]==");
        assert_eq!(
            quote(&format!("{}{token}", "x ".repeat(148))),
            format!("{}[red…", "x ".repeat(148))
        );
    }

    #[test]
    fn of_a_text_without_end_the_beginning_is_read() {
        let token = format!("ghs_{}", "a".repeat(40));
        let spaced = "x ".repeat(READ);
        assert_eq!(quote(&spaced), format!("{}…", "x ".repeat(LONGEST / 2)));
        // Cut in the middle of a token, of which nothing is left; what was redacted before it makes room for it.
        let redacted = format!("{token}{}", "b".repeat(READ - 60));
        assert_eq!(quote(&format!("{redacted} {token}")), "[redacted]…");
        assert_eq!(quote(&"a".repeat(2 * READ)), "…");
    }

    #[test]
    fn lines_are_joined_and_controls_removed() {
        assert_eq!(
            quote("\u{1b}[31mInvalid request.\n\nFor\t'x'\u{202e}\r\n"),
            "[31mInvalid request.  For 'x'"
        );
    }

    proptest! {
        #[test]
        fn no_token_survives_any_surrounding(before in ".{0,300}", token in "ghs_[A-Za-z0-9._-]{36,60}", after in ".{0,40}") {
            let quoted = quote(&format!("{before}{token}{after}"));
            prop_assert!(!quoted.contains(&token[..20]), "{}", quoted);
            prop_assert!(quoted.chars().count() <= LONGEST + 1);
            prop_assert!(!quoted.chars().any(char::is_control));
        }
    }
}
