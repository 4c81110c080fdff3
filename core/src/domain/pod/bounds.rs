//! What is read of a pod is bounded before the API server has looked at it, since it asks webhooks first: who may create pods must
//! not be able to make the operator slow or large for everybody.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::text::Text;
use crate::api::names::annotation::PREFIX;
use crate::domain::quote;

/// Containers of a pod, and as many before them.
pub(super) const CONTAINERS: usize = 256;
/// Mounts of a container.
pub(super) const MOUNTS: usize = 256;
/// Variables of a container.
pub(super) const VARIABLES: usize = 4096;
/// Volumes of a pod.
pub(super) const VOLUMES: usize = 1024;
/// Owners of a pod.
pub(super) const OWNERS: usize = 64;
/// Bytes of annotations: what Kubernetes takes for all of an object's together
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/annotations/>).
pub(super) const ANNOTATIONS: usize = 256 * 1024;
/// Bytes of a patch: an object that it makes longer than etcd's 1.5 MiB cannot be stored.
pub(super) const PATCH: usize = 1024 * 1024;

/// A list of which no more than `MOST` entries are kept: in memory, an entry takes many times its bytes.
#[derive(Debug)]
pub(super) struct Few<T, const MOST: usize> {
    kept: Vec<T>,
    /// Whether there are more.
    pub more: bool,
}

impl<T, const MOST: usize> Default for Few<T, MOST> {
    fn default() -> Self {
        let kept = Vec::new();
        Few { kept, more: false }
    }
}

impl<T, const MOST: usize> Deref for Few<T, MOST> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.kept
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Few<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keeping<T, const MOST: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Keeping<T, MOST> {
            type Value = Few<T, MOST>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut few = Few::default();
                while few.kept.len() < MOST {
                    match entries.next_element()? {
                        Some(entry) => few.kept.push(entry),
                        None => return Ok(few),
                    }
                }
                while entries.next_element::<IgnoredAny>()?.is_some() {
                    few.more = true;
                }
                Ok(few)
            }
        }

        deserializer.deserialize_seq(Keeping(PhantomData))
    }
}

/// A pod's annotations of ours: names and values.
#[derive(Debug, Default)]
pub struct Annotations<'a> {
    kept: BTreeMap<Text<'a>, Text<'a>>,
    /// The one with which they became too long; neither it nor what comes after it is kept.
    pub(super) overlong: Option<String>,
}

impl<'a> Deref for Annotations<'a> {
    type Target = BTreeMap<Text<'a>, Text<'a>>;

    fn deref(&self) -> &Self::Target {
        &self.kept
    }
}

impl<'a, const COUNT: usize> From<[(Text<'a>, Text<'a>); COUNT]> for Annotations<'a> {
    fn from(all: [(Text<'a>, Text<'a>); COUNT]) -> Self {
        Annotations {
            kept: all.into(),
            overlong: None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Annotations<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Ours<'a>(PhantomData<Text<'a>>);

        impl<'de: 'a, 'a> Visitor<'de> for Ours<'a> {
            type Value = Annotations<'a>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("annotations")
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Annotations::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
                let (mut found, mut length) = (Annotations::default(), 0);
                while let Some(name) = all.next_key::<Text<'a>>()? {
                    if found.overlong.is_some() || !name.starts_with(PREFIX) {
                        all.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let value: Text<'a> = all.next_value()?;
                    length += name.len() + value.len();
                    if length > ANNOTATIONS {
                        found.overlong = Some(quote(&name));
                    } else {
                        found.kept.insert(name, value);
                    }
                }
                Ok(found)
            }
        }

        deserializer.deserialize_any(Ours(PhantomData))
    }
}
