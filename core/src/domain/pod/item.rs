//! What is added to a pod, as Kubernetes' API has it. Texts are borrowed where they are known: each container gets them again.
//! What is read again, since it may be there already, has fields besides: those that others fill in, and that change nothing.

use std::borrow::Cow;
use std::fmt;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::view::or_default;
use crate::domain::quote;

/// A volume with the token's file.
#[derive(Serialize)]
pub(super) struct Volume<'a> {
    pub name: &'a str,
    pub projected: Projected<'a>,
}

/// Files of a Secret.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Projected<'a> {
    #[serde(default, deserialize_with = "or_default")]
    pub default_mode: u32,
    #[serde(borrow)]
    pub sources: [Projection<'a>; 1],
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Projection<'a> {
    #[serde(borrow)]
    pub secret: SecretFiles<'a>,
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretFiles<'a> {
    #[serde(borrow)]
    pub items: [File<'a>; 1],
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    #[serde(default, skip_serializing, deserialize_with = "or_default")]
    pub optional: bool,
}

/// A key of a Secret as a file.
#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File<'a> {
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    #[serde(borrow)]
    pub path: Cow<'a, str>,
    #[serde(default, skip_serializing)]
    pub mode: IgnoredAny,
}

impl Projected<'_> {
    /// What a pod's volume has instead; `None` where that is the same but for modes: they were chosen before another webhook set
    /// the pod's fsGroup, or by that webhook.
    pub fn instead_in(&self, theirs: Option<&RawValue>) -> Option<String> {
        let theirs = theirs.and_then(|theirs| serde_json::from_str::<Projected<'_>>(theirs.get()).ok());
        match theirs {
            Some(theirs) if theirs.sources == self.sources => None,
            Some(theirs) => Some(theirs.to_string()),
            None => Some("something else".to_owned()),
        }
    }
}

impl fmt::Display for Projected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [Projection { secret }] = &self.sources;
        let [File { key, path, .. }] = &secret.items;
        let optional = if secret.optional { "optional " } else { "" };
        let [key, path, name] = [key, path, &secret.name].map(|text| quote(text));
        write!(f, "key '{key}' of the {optional}Secret '{name}' as '{path}'")
    }
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
    /// Whether the container has it already.
    #[serde(skip)]
    pub is_there: bool,
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
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Source<'a> {
    #[serde(borrow)]
    pub secret_key_ref: SecretKeyRef<'a>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretKeyRef<'a> {
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    #[serde(default, skip_serializing, deserialize_with = "or_default")]
    pub optional: bool,
}

impl Source<'_> {
    /// Whether a pod's variable has the same.
    pub fn is_in(&self, theirs: &RawValue) -> bool {
        serde_json::from_str::<Source<'_>>(theirs.get()).is_ok_and(|theirs| theirs == *self)
    }
}
