//! A patch that only adds.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation};
use serde_json::Value;

/// RFC 6902 operations, all of them `add`.
#[derive(Debug, Default)]
pub(super) struct Additions(Vec<PatchOperation>);

impl Additions {
    /// Sets a member of an object.
    pub fn set(&mut self, path: &[&str], value: Value) {
        self.add(PointerBuf::from_tokens(path.iter().copied()), value);
    }

    /// Appends to a list; makes it where there is none (`exists` is false).
    pub fn append(&mut self, path: &[&str], exists: bool, values: Vec<Value>) {
        if values.is_empty() {
            return;
        }
        if !exists {
            self.set(path, Value::Array(values));
            return;
        }
        let mut end = PointerBuf::from_tokens(path.iter().copied());
        end.push_back("-");
        self.0.reserve(values.len());
        for value in values {
            self.add(end.clone(), value);
        }
    }

    fn add(&mut self, path: PointerBuf, value: Value) {
        self.0.push(PatchOperation::Add(AddOperation { path, value }));
    }

    pub fn into_patch(self) -> Patch {
        Patch(self.0)
    }
}
