//! `*` and `?` in names.

/// A pattern: `*` stands for any characters, `?` for one. Letters fit in either case, as GitHub's names do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob {
    /// As it was written.
    pub text: String,
    /// In small letters, which a policy of hundreds of names makes once, and not for each name that it is asked about.
    small: Box<[char]>,
    /// How many of these stand before the first `*` or `?`: most names differ there.
    plain: usize,
}

/// A name that is held against many patterns.
pub(super) struct Name(Box<[char]>);

impl Name {
    pub fn new(text: &str) -> Self {
        Name(small(text))
    }
}

impl Glob {
    pub fn new(text: &str) -> Self {
        let small = small(text);
        let plain = small.iter().position(|c| matches!(c, '*' | '?'));
        Glob {
            text: text.to_owned(),
            plain: plain.unwrap_or(small.len()),
            small,
        }
    }

    /// Whether the name fits.
    pub fn fits(&self, name: &Name) -> bool {
        let (start, rest) = self.small.split_at(self.plain);
        name.0.strip_prefix(start).is_some_and(|name| fits(rest, name))
    }
}

fn small(text: &str) -> Box<[char]> {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// Whether the text fits the pattern where `A` is not `a`.
#[must_use]
pub fn fits_exactly(glob: &str, text: &str) -> bool {
    fits(&glob.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>())
}

fn fits(glob: &[char], text: &[char]) -> bool {
    // Where to go on when what follows the last star does not fit: one character later.
    let (mut at, mut from, mut retry) = (0, 0, None);
    while let Some(character) = text.get(from) {
        match glob.get(at) {
            Some('*') => {
                retry = Some((at + 1, from));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || wanted == character => (at, from) = (at + 1, from + 1),
            _ => {
                let Some((star, start)) = retry else { return false };
                retry = Some((star, start + 1));
                (at, from) = (star, start + 1);
            }
        }
    }
    glob.iter().skip(at).all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(glob: &str, text: &str) -> bool {
        Glob::new(glob).fits(&Name::new(text))
    }

    #[test]
    fn stars_and_question_marks_stand_for_what_they_should() {
        for (glob, text, fits) in [
            ("*", "", true),
            ("*", "anything", true),
            ("web-*", "web-shop", true),
            ("web-*", "my-web-shop", false),
            ("*-shop", "web-shop-shop", true),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbXb", false),
            ("?", "", false),
            ("w?b", "wEb", true),
            ("Web", "wEB", true),
            ("Web", "wE", false),
            ("Web", "wEBs", false),
            ("ab*ba", "aba", false),
            ("é?", "Éa", true),
            ("", "", true),
            ("", "x", false),
            ("team-a/*", "team-a/app", true),
            ("team-a/*", "team-ab/app", false),
        ] {
            assert_eq!(matches(glob, text), fits, "{glob} {text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_plain_before_a_star_changes_no_answer(glob in "[ab*?]{0,6}", text in "[abAB]{0,6}") {
            prop_assert_eq!(matches(&glob, &text), fits_exactly(&glob, &text.to_lowercase()));
        }

        #[test]
        fn a_name_fits_itself_and_every_star_that_takes_its_place(text in "[a-zA-Z0-9._-]{0,20}", cut in 0..20_usize) {
            prop_assert!(matches(&text, &text));
            let cut = cut.min(text.len());
            let starred = format!("{}*", &text[..cut]);
            prop_assert!(matches(&starred, &text));
        }
    }
}
