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

/// The longest of the prefixes.
const LONGEST_PREFIX: usize = 20;

/// Characters of a text that are looked at: whoever sends megabytes gets no more for them.
const READ: usize = 4096;

/// The text on one line, with what is not seen (control and formatting characters, and blanks at either end) as escapes, with
/// everything that looks like a token replaced, and at most 300 characters long.
#[must_use]
pub fn quote(text: &str) -> String {
    // Most texts are names.
    if text.len() < SHORTEST_SECRET && text.trim() == text && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let spaced = |c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c };
    let head: String = text.chars().take(READ).map(spaced).collect();
    let is_cut = text.chars().nth(READ).is_some();
    // Tokens are looked for without the characters that are not seen, so that none can hide a token; and the text is cut
    // afterwards, so that none is cut until it no longer looks like one.
    let visible: String = head.chars().filter(|c| !is_invisible(*c)).collect();
    let redacted = redact(&visible);
    let shown = if redacted == visible { head } else { redacted };
    let shown = if is_cut { whole(&shown).trim_end() } else { &shown };
    let escaped = escape(shown);
    match escaped.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &escaped[..end]),
        None if is_cut => escaped + "…",
        None => escaped,
    }
}

/// The text but for its end, which may be the beginning of a token that was cut in two, and so was not known as one.
fn whole(text: &str) -> &str {
    let mut most = LONGEST_PREFIX + SHORTEST_SECRET;
    text.trim_end_matches(|c| {
        let is_of_token = is_token_char(c) && most > 0;
        most -= usize::from(is_of_token);
        is_of_token || is_invisible(c)
    })
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let inside = text.len() - text.trim_start().len()..text.trim_end().len();
    for (at, c) in text.char_indices() {
        if is_invisible(c) || !inside.contains(&at) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
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
        assert_eq!(quote(&"a".repeat(2 * READ)), format!("{}…", "a".repeat(LONGEST)));
        // A token that is cut where it is not known as one yet, hidden or not, after a text that takes no room.
        for cut in 1..SHORTEST_SECRET + 4 {
            for hidden in ["", "\u{200b}"] {
                let before = format!("{token}{} ", "b".repeat(READ - token.len() - 1 - cut));
                let text = format!("{before}ghs_{hidden}{}", "s3cr3t".repeat(20));
                assert_eq!(quote(&text), "[redacted]…", "{cut}");
            }
        }
    }

    #[test]
    fn lines_are_joined_and_what_is_not_seen_is_shown() {
        assert_eq!(
            quote("\u{1b}[31mInvalid request.\n\nFor\t'x'\u{202e}"),
            "\\u{1b}[31mInvalid request.  For 'x'\\u{202e}"
        );
        assert_eq!(quote("c\u{200b}i"), "c\\u{200b}i");
        assert_eq!(quote("a fleet "), "a fleet\\u{20}");
        assert_eq!(quote(" fl\u{e9}et\n"), "\\u{20}fl\u{e9}et\\u{20}");
        assert_eq!(quote(" "), "\\u{20}");
    }

    #[test]
    fn no_prefix_is_longer_than_what_is_left_out_for_it() {
        assert!(PREFIXES.iter().all(|prefix| prefix.len() <= LONGEST_PREFIX));
    }

    proptest! {
        #[test]
        fn no_token_survives_any_surrounding(before in ".{0,300}", token in "ghs_[A-Za-z0-9._-]{36,60}", after in ".{0,40}") {
            let quoted = quote(&format!("{before}{token}{after}"));
            prop_assert!(!quoted.contains(&token[..20]), "{}", quoted);
            prop_assert!(quoted.chars().count() <= LONGEST + 1);
            prop_assert!(!quoted.chars().any(is_invisible));
        }
    }
}
