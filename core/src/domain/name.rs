//! Names of objects.

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
}
