//! A patch that only adds. It is written as JSON while it is put together: a pod gets dozens of operations, and nobody reads them
//! again before the API server does.

use memchr::memchr2;
use serde::Serialize;

/// RFC 6902 operations, all of them `add`, as the text of a JSON list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch(Vec<u8>);

impl Patch {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The JSON list.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        if self.is_empty() { b"[]" } else { &self.0 }
    }
}

/// A patch that is being written.
#[derive(Debug, Default)]
pub(super) struct Additions {
    /// The list without its end.
    json: Vec<u8>,
    /// An operation up to its value: those at one place have it in common.
    start: Vec<u8>,
    /// Where that is.
    pointer: String,
}

/// Bytes of a usual patch.
const USUAL: usize = 6 * 1024;

type Written = Result<(), serde_json::Error>;

impl Additions {
    /// Sets a member of an object, or inserts into a list.
    pub fn set(&mut self, path: &[&str], value: &impl Serialize) -> Written {
        self.go_to(path)?;
        self.add(value)
    }

    /// Appends to a list; makes it where there is none (`exists` is false).
    pub fn append<T: Serialize>(&mut self, path: &[&str], exists: bool, values: &[T]) -> Written {
        if values.is_empty() {
            return Ok(());
        }
        if !exists {
            return self.set(path, &values);
        }
        self.go_to(&[path, &["-"]].concat())?;
        values.iter().try_for_each(|value| self.add(value))
    }

    fn go_to(&mut self, path: &[&str]) -> Written {
        self.pointer.clear();
        for token in path {
            self.pointer.push('/');
            push_escaped(&mut self.pointer, token);
        }
        self.start.clear();
        self.start.extend_from_slice(br#"{"op":"add","path":"#);
        serde_json::to_writer(&mut self.start, &self.pointer)?;
        self.start.extend_from_slice(br#","value":"#);
        Ok(())
    }

    fn add(&mut self, value: &impl Serialize) -> Written {
        if self.json.is_empty() {
            self.json.reserve(USUAL);
        }
        self.json.push(if self.json.is_empty() { b'[' } else { b',' });
        self.json.extend_from_slice(&self.start);
        serde_json::to_writer(&mut self.json, value)?;
        self.json.push(b'}');
        Ok(())
    }

    /// Bytes that are written so far.
    pub fn len(&self) -> usize {
        self.json.len()
    }

    pub fn into_patch(mut self) -> Patch {
        if !self.json.is_empty() {
            self.json.push(b']');
        }
        Patch(self.json)
    }
}

/// A token of a JSON pointer (RFC 6901).
fn push_escaped(pointer: &mut String, token: &str) {
    let mut rest = token;
    while let Some(at) = memchr2(b'~', b'/', rest.as_bytes()) {
        let (plain, special) = rest.split_at(at);
        pointer.push_str(plain);
        pointer.push_str(if special.starts_with('~') { "~0" } else { "~1" });
        rest = &special[1..];
    }
    pointer.push_str(rest);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn written(fill: impl FnOnce(&mut Additions) -> Written) -> Value {
        let mut additions = Additions::default();
        fill(&mut additions).unwrap();
        serde_json::from_slice(additions.into_patch().json()).unwrap()
    }

    #[test]
    fn without_an_operation_it_is_empty_and_still_a_list() {
        assert_eq!(written(|_| Ok(())), json!([]));
        assert!(Additions::default().into_patch().is_empty());
        assert_eq!(written(|patch| patch.append::<&str>(&["a"], false, &[])), json!([]));
    }

    #[test]
    fn names_in_paths_are_escaped_as_json_pointers_have_it() {
        let patch = written(|patch| patch.set(&["a/b", "~c", "d~/e\"", ""], &"x"));
        assert_eq!(
            patch,
            json!([{"op": "add", "path": "/a~1b/~0c/d~0~1e\"/", "value": "x"}])
        );
    }

    #[test]
    fn a_list_that_is_not_there_is_made_and_one_that_is_gets_each_at_its_end() {
        let patch = written(|patch| {
            patch.append(&["new"], false, &["x", "y"])?;
            patch.append(&["old"], true, &["x", "y"])
        });
        let expected = json!([
            {"op": "add", "path": "/new", "value": ["x", "y"]},
            {"op": "add", "path": "/old/-", "value": "x"},
            {"op": "add", "path": "/old/-", "value": "y"},
        ]);
        assert_eq!(patch, expected);
    }
}
