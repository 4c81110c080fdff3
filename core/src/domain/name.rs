//! Names of objects, and of the labels and annotations on them.

/// What a name may be made of.
pub const NAMES: &str = "write lower-case letters, digits, '-' and '.'";

/// Whether the text is a name of an object of most kinds, a DNS subdomain
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names>). Anything else would change the URL
/// that it becomes part of.
#[must_use]
pub fn is_object_name(text: &str) -> bool {
    let label = |label: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty() && label.chars().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// What a namespace may be called.
pub const NAMESPACES: &str = "write at most 63 lower-case letters, digits and '-'";

/// Whether the text is a namespace's name, a DNS label.
#[must_use]
pub fn is_namespace(text: &str) -> bool {
    text.len() <= 63 && !text.contains('.') && is_object_name(text)
}

/// What a UID may be made of.
pub const UIDS: &str = "write at most 64 letters, digits and '-'";

/// Whether the text can be a UID, of an object or of a review: those that the API server gives have 36 characters.
#[must_use]
pub fn is_uid(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// What the name of a label or annotation may be made of.
pub const QUALIFIED_NAMES: &str = "write at most 63 letters, digits, '-', '_' and '.', no blanks, with a letter or digit at both ends; a DNS name and '/' may stand before them";

/// Whether the text is a label's name
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>).
#[must_use]
pub fn is_label_name(text: &str) -> bool {
    let (is_placed, name) = match text.split_once('/') {
        Some((place, name)) => (is_object_name(place), name),
        None => (true, text),
    };
    is_placed && !name.is_empty() && is_label_value(name)
}

/// Whether the text is an annotation's name: the API server takes capitals in the DNS name, too.
#[must_use]
pub fn is_annotation_name(text: &str) -> bool {
    is_label_name(&text.to_lowercase())
}

/// What a label's value may be made of.
pub const LABEL_VALUES: &str = "write at most 63 letters, digits, '-', '_' and '.', no blanks, with a letter or digit at both ends, or nothing at all";

/// Whether the text is a label's value.
#[must_use]
pub fn is_label_value(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let outer = |c: char| c.is_ascii_alphanumeric();
    let is_bounded = text.starts_with(outer) && text.ends_with(outer);
    text.is_empty() || text.len() <= 63 && text.chars().all(inner) && is_bounded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_means_something_in_a_url_is_a_name() {
        for name in ["a", "ci", "a.b-c.d0", "0"] {
            assert!(is_object_name(name), "{name}");
        }
        let long = "a".repeat(254);
        for text in [
            "", "ci#", "ci?x", "a/b", "..", ".", "a..b", "-a", "a-", "A", "a b", "a%2f", "ä", &long,
        ] {
            assert!(!is_object_name(text), "{text}");
        }
    }

    #[test]
    fn a_namespace_is_one_dns_label() {
        for name in ["a", "team-a", &"a".repeat(63)] {
            assert!(is_namespace(name), "{name}");
        }
        for text in ["", "a.b", "A", "-a", &"a".repeat(64)] {
            assert!(!is_namespace(text), "{text}");
        }
    }

    #[test]
    fn a_uid_is_short_and_of_letters_and_digits() {
        for uid in ["u", "0f8e3b6c-6a3f-4c53-9a55-0d1c7b1f3a11", &"a".repeat(64)] {
            assert!(is_uid(uid), "{uid}");
        }
        for text in ["", "a b", "a\n", "a/b", "ä", &"a".repeat(65)] {
            assert!(!is_uid(text), "{text}");
        }
    }

    #[test]
    fn labels_and_annotations_are_named_as_the_api_server_takes_them() {
        let (longest, place) = ("a".repeat(63), vec!["a".repeat(63); 4].join("."));
        let placed = |length: usize| format!("{}/{longest}", &place[..length]);
        for name in ["a", "A.b_c-0", "example.com/Team", &longest, &placed(253)] {
            assert!(is_label_name(name) && is_annotation_name(name), "{name}");
        }
        let long = "a".repeat(64);
        for text in [
            "",
            "a b",
            "-a",
            "a-",
            "a.",
            "/a",
            "a/",
            "a/b/c",
            "a_b/c",
            "ä",
            "a\n",
            &long,
            &placed(254),
        ] {
            assert!(!is_label_name(text) && !is_annotation_name(text), "{text}");
        }
        assert!(!is_label_name("Example.com/a") && is_annotation_name("Example.com/a"));
        assert!(is_label_value("") && is_label_value(&longest));
        for text in ["a b", "a/b", "_", "a-", "ä", &long] {
            assert!(!is_label_value(text), "{text}");
        }
    }
}
