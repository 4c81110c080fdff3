//! What someone meant who wrote a word that is not known.

/// So many letters of a word have to be the other's beginning for it to be short for it.
const SHORTEST_BEGINNING: usize = 3;
/// The most edits between a word and the one that was meant; for each three letters one.
const MOST_EDITS: usize = 3;

/// The known word that was meant: of those that are few edits away, or begin alike, the one with the fewest edits.
/// Capitals count as small letters; dashes, underscores and dots are not told apart nor counted, so that `app-id` is `app_id`.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = letters(word);
    let most = (word.len() / 3).clamp(1, MOST_EDITS);
    let near = known.into_iter().filter_map(|known| {
        let other = letters(known);
        let edits = distance(&word, &other);
        let shorter = word.len().min(other.len());
        let begins = shorter >= SHORTEST_BEGINNING && word[..shorter] == other[..shorter];
        (begins || edits <= most).then_some((edits, known))
    });
    near.min_by_key(|(edits, _)| *edits).map(|(_, known)| known)
}

fn letters(text: &str) -> Vec<char> {
    let counted = text.chars().filter(|c| !matches!(c, '_' | '-' | '.')).take(64);
    counted.map(|c| c.to_ascii_lowercase()).collect()
}

/// Levenshtein's distance.
fn distance(a: &[char], b: &[char]) -> usize {
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
    fn a_slip_of_the_pen_or_a_beginning_is_near_the_word_that_was_meant() {
        let known = ["permissions", "repositories", "repositoryIDs", "appRef"];
        for (word, meant) in [
            ("permisions", "permissions"),
            ("repository", "repositories"),
            ("repos", "repositories"),
            ("repositoryIds", "repositoryIDs"),
            ("app_ref", "appRef"),
            ("app", "appRef"),
            ("appReference", "appRef"),
        ] {
            assert_eq!(nearest(word, known), Some(meant), "{word}");
        }
    }

    #[test]
    fn a_word_that_is_like_none_is_near_none() {
        for word in ["", "a", "ap", "x", "scope", "interval", "🦀"] {
            assert_eq!(nearest(word, ["permissions", "repositories", "appRef"]), None, "{word}");
        }
        assert_eq!(nearest("a", []), None);
    }
}
