//! A pod, as far as it is read. Everything else stays in the raw object, which is only ever added to.

use std::collections::BTreeMap;

use memchr::memchr;
use memchr::memmem::Finder;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Refusal;
use super::text::Text;
use crate::api::Reason;
use crate::domain::quote;

/// A pod of an admission request. Its texts are borrowed from the request's body.
#[derive(Debug, Default, Deserialize)]
pub struct Pod<'a> {
    /// Its metadata.
    #[serde(borrow, default, deserialize_with = "or_default")]
    pub metadata: Metadata<'a>,
    /// Its spec.
    #[serde(borrow, default, deserialize_with = "or_default")]
    pub(super) spec: Spec<'a>,
}

/// Annotations: names and values.
pub type Annotations<'a> = BTreeMap<Text<'a>, Text<'a>>;

/// The metadata of a pod.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    #[serde(borrow, default, deserialize_with = "or_default")]
    pub(super) annotations: Annotations<'a>,
    /// Who owns it.
    #[serde(default, deserialize_with = "or_default")]
    pub owner_references: Vec<Owner>,
}

/// An owner of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    /// Its API version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Whether it manages the pod.
    #[serde(deserialize_with = "or_default")]
    pub controller: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub containers: Vec<Container<'a>>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub init_containers: Vec<Container<'a>>,
    #[serde(borrow)]
    pub volumes: Option<Vec<Volume<'a>>>,
    #[serde(deserialize_with = "or_default")]
    pub security_context: SecurityContext,
    #[serde(borrow, deserialize_with = "or_default")]
    pub os: Os<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub node_selector: BTreeMap<Text<'a>, Text<'a>>,
    #[serde(borrow)]
    pub restart_policy: Option<Text<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SecurityContext {
    pub fs_group: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Os<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub name: Text<'a>,
}

/// `None` where a list is missing (or null): it has to be made before something can be added to it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Container<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub env: Option<&'a RawValue>,
    /// Where more variables come from, which cannot be known here.
    pub env_from: Option<Vec<IgnoredAny>>,
    #[serde(borrow)]
    pub volume_mounts: Option<Vec<Mount<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Variable<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub value: Option<Text<'a>>,
    #[serde(borrow)]
    pub value_from: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Mount<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub name: Text<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub mount_path: Text<'a>,
    #[serde(deserialize_with = "or_default")]
    pub read_only: bool,
    #[serde(borrow, deserialize_with = "or_default")]
    pub sub_path: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Volume<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub projected: Option<&'a RawValue>,
    pub config_map: Option<IgnoredAny>,
    pub secret: Option<IgnoredAny>,
    #[serde(rename = "downwardAPI")]
    pub downward_api: Option<IgnoredAny>,
}

impl<'a> Container<'a> {
    /// Its variables; none, unread, where no name among them can hold one of `words`: most of a pod is variables, and hardly ever is
    /// one of them of interest.
    ///
    /// # Errors
    /// Where they are no list of variables.
    pub fn variables(&self, words: &[Finder<'_>]) -> Result<Vec<Variable<'a>>, Refusal> {
        let Some(env) = self.env.map(RawValue::get) else {
            return Ok(Vec::new());
        };
        // With an escape, a name may be spelled otherwise.
        let has = |word: &Finder<'_>| word.find(env.as_bytes()).is_some();
        let is_read = memchr(b'\\', env.as_bytes()).is_some() || words.iter().any(has);
        let read = if is_read {
            serde_json::from_str(env).ok()
        } else {
            Some(Vec::new())
        };
        read.filter(|_| env.starts_with('[')).ok_or_else(|| {
            // What is wrong would quote a value.
            let message = format!(
                "env of container '{}' is no list of variables: correct it",
                quote(&self.name)
            );
            Refusal::new(Reason::NotInjectable, message)
        })
    }
}

impl Volume<'_> {
    /// Whether the node mounts it read-only, whatever the container says.
    pub fn is_read_only(&self) -> bool {
        self.projected.is_some() || self.config_map.is_some() || self.secret.is_some() || self.downward_api.is_some()
    }
}

impl<'a> Pod<'a> {
    /// Its annotations.
    #[must_use]
    pub fn annotations(&self) -> &Annotations<'a> {
        &self.metadata.annotations
    }

    /// Who manages the pod, and so hears of a refusal.
    #[must_use]
    pub fn controller(&self) -> Option<&Owner> {
        let owners = &self.metadata.owner_references;
        owners.iter().find(|owner| owner.controller)
    }

    /// Whether it runs on Windows, where files, users and shells are others.
    pub(super) fn is_windows(&self) -> bool {
        let selected = self.spec.node_selector.get("kubernetes.io/os");
        &*self.spec.os.name == "windows" || selected.is_some_and(|os| &**os == "windows")
    }
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
