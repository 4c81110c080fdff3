//! What someone meant who wrote a word that is not known.

/// The known word with the fewest edits between it and `word`; capitals count as small letters. `None` where no word is known.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known.into_iter().min_by_key(|known| distance(word, known))
}

/// Levenshtein's distance; dashes, underscores and dots are not told apart nor counted, so that `app-id` is near `app_id`.
fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| {
        text.chars()
            .filter(|c| !matches!(c, '_' | '-' | '.'))
            .take(64)
            .map(|c| c.to_ascii_lowercase())
            .collect::<Vec<_>>()
    };
    let (a, b) = (letters(a), letters(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_near_the_word_that_was_meant() {
        let known = ["permissions", "repositories", "repositoryIDs", "appRef"];
        for (word, meant) in [
            ("permisions", "permissions"),
            ("repository", "repositories"),
            ("repositoryIds", "repositoryIDs"),
            ("app_ref", "appRef"),
        ] {
            assert_eq!(nearest(word, known), Some(meant), "{word}");
        }
        assert_eq!(nearest("a", []), None);
    }
}
