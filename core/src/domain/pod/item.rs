//! What is added to a pod, as Kubernetes' API has it. Texts are borrowed where they are known: each container gets them again.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

/// A volume with the token's file.
#[derive(Serialize)]
pub(super) struct Volume<'a> {
    pub name: &'a str,
    pub projected: Projected<'a>,
}

/// Files of a Secret.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Projected<'a> {
    pub default_mode: u32,
    pub sources: [Projection<'a>; 1],
}

#[derive(Serialize)]
pub(super) struct Projection<'a> {
    pub secret: SecretFiles<'a>,
}

#[derive(Serialize)]
pub(super) struct SecretFiles<'a> {
    pub items: [File<'a>; 1],
    pub name: &'a str,
}

/// A key of a Secret as a file.
#[derive(Serialize)]
pub(super) struct File<'a> {
    pub key: &'a str,
    pub path: &'a str,
}

/// A read-only mount.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mount<'a> {
    pub mount_path: &'a str,
    pub name: &'a str,
    pub read_only: bool,
    /// The folder, as the node finds it.
    #[serde(skip)]
    pub place: &'a str,
}

/// A variable.
#[derive(Serialize)]
pub(super) struct Variable<'a> {
    pub name: Cow<'a, str>,
    #[serde(flatten)]
    pub is: Is<'a>,
}

/// What a variable is.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Is<'a> {
    Value(Cow<'a, Literal>),
    ValueFrom(Source<'a>),
}

/// A text that is looked through for escapes once, however many containers get it.
#[derive(Clone, Debug)]
pub(super) struct Literal {
    /// The text.
    pub text: String,
    json: Box<RawValue>,
}

impl Literal {
    /// # Errors
    /// None that can happen: a text has its JSON.
    pub fn new(text: String) -> Result<Self, serde_json::Error> {
        let json = to_raw_value(&text)?;
        Ok(Literal { text, json })
    }
}

impl Serialize for Literal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

/// A key of a Secret.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Source<'a> {
    pub secret_key_ref: SecretKeyRef<'a>,
}

#[derive(Clone, Copy, Serialize)]
pub(super) struct SecretKeyRef<'a> {
    pub key: &'a str,
    pub name: &'a str,
}

/// Whether the JSON of a pod says the same as what would be added, however it is spelled.
pub(super) fn is_same(theirs: &RawValue, ours: &impl Serialize) -> bool {
    let theirs: Option<Value> = serde_json::from_str(theirs.get()).ok();
    theirs.is_some() && theirs == serde_json::to_value(ours).ok()
}
