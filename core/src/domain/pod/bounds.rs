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
const ANNOTATIONS: usize = 256 * 1024;
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

/// Reads the annotations that are ours.
pub(super) fn ours<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Text<'de>, Text<'de>>, D::Error> {
    struct Ours;

    impl<'de> Visitor<'de> for Ours {
        type Value = BTreeMap<Text<'de>, Text<'de>>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("annotations")
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
            let (mut found, mut length) = (BTreeMap::new(), 0);
            while let Some(name) = all.next_key::<Text<'de>>()? {
                if !name.starts_with(PREFIX) {
                    all.next_value::<IgnoredAny>()?;
                    continue;
                }
                let value: Text<'de> = all.next_value()?;
                length += name.len() + value.len();
                if length > ANNOTATIONS {
                    let why = format!("annotations of {PREFIX} are longer than {ANNOTATIONS} bytes: shorten them");
                    return Err(A::Error::custom(why));
                }
                found.insert(name, value);
            }
            Ok(found)
        }
    }

    deserializer.deserialize_any(Ours)
}
