//! The text of many objects that are much alike, kept small.

/// What a Token of the common sort looks like: whatever an object shares with it is not kept again. What is not in here is only
/// kept less well, so this need not be right.
const TYPICAL: &[u8] = include_bytes!("typical.json");

/// A text, compressed with LZ4: a third of its size or less, and unpacked in a microsecond or two.
#[derive(Clone, Debug)]
pub(super) struct Packed(Box<[u8]>);

impl Packed {
    pub fn new(text: &[u8]) -> Self {
        Packed(lz4_flex::block::compress_prepend_size_with_dict(text, TYPICAL).into())
    }

    /// The text. It was packed by this process, so that it can be unpacked; were it not so, the empty text would be no JSON.
    pub fn text(&self) -> Vec<u8> {
        lz4_flex::block::decompress_size_prepended_with_dict(&self.0, TYPICAL).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_comes_back_as_it_was(text in prop::collection::vec(any::<u8>(), 0..3000), from in 0..TYPICAL.len()) {
            let (_, end) = TYPICAL.split_at(from);
            let text = [&text, end, &text].concat();
            prop_assert_eq!(Packed::new(&text).text(), text);
        }
    }

    #[test]
    fn an_object_of_the_common_sort_takes_less_than_a_third() {
        let text = String::from_utf8(TYPICAL.to_vec()).unwrap();
        let other = text
            .replace("flux-system", "team-seven")
            .replace("github-token", "renovate")
            .replace(
                "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
                "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=",
            )
            .replace("2026-01-01T00:0", "2027-05-17T21:5");
        assert!(other != text);
        assert!(Packed::new(other.as_bytes()).0.len() * 3 < other.len());
    }
}
