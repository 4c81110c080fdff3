//! A pod, as far as it is read. Everything else stays in the raw object, which is only ever added to.

use std::fmt;
use std::marker::PhantomData;

use memchr::memchr;
use memchr::memmem::Finder;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Refusal;
use super::bounds::{Annotations, CONTAINERS, Few, MOUNTS, OWNERS, VARIABLES, VOLUMES};
use super::owner::Owner;
use super::text::Text;
use crate::api::Reason;
use crate::domain::quote;

/// Words that are looked for one by one in a container's variables; where there are more, it takes less to read these.
const MOST_WORDS: usize = 16;

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

/// The metadata of a pod.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    #[serde(borrow, default)]
    pub(super) annotations: Annotations<'a>,
    #[serde(default, deserialize_with = "or_default")]
    owner_references: Few<Owner, OWNERS>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub containers: Few<Container<'a>, CONTAINERS>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub init_containers: Few<Container<'a>, CONTAINERS>,
    #[serde(borrow)]
    pub volumes: Option<Few<Volume<'a>, VOLUMES>>,
    #[serde(deserialize_with = "or_default")]
    pub security_context: SecurityContext,
    #[serde(borrow, deserialize_with = "or_default")]
    pub os: Os<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub node_selector: NodeSelector<'a>,
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

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeSelector<'a> {
    #[serde(borrow, rename = "kubernetes.io/os", deserialize_with = "or_default")]
    pub os: Text<'a>,
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
    pub volume_mounts: Option<Few<Mount<'a>, MOUNTS>>,
    /// Raw devices, which no mount may be at.
    #[serde(borrow, deserialize_with = "or_default")]
    pub volume_devices: Few<Device<'a>, MOUNTS>,
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
pub(super) struct Device<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub device_path: Text<'a>,
}

#[derive(Debug, Default)]
pub(super) struct Volume<'a> {
    pub name: Text<'a>,
    pub projected: Option<&'a RawValue>,
    /// Whether the node mounts it read-only, whatever the container says.
    pub read_only: bool,
}

impl<'a> Container<'a> {
    /// Its variables; none, unread, where no name among them can hold one of `words`: most of a pod is variables, and hardly ever is
    /// one of them of interest.
    ///
    /// # Errors
    /// Where they are no list of variables, or a longer one than anyone has.
    pub fn variables(&self, words: &[Finder<'_>]) -> Result<Few<Variable<'a>, VARIABLES>, Refusal> {
        let Some(env) = self.env.map(RawValue::get) else {
            return Ok(Few::default());
        };
        // With an escape, a name may be spelled otherwise.
        let has = |word: &Finder<'_>| word.find(env.as_bytes()).is_some();
        let is_read = words.len() > MOST_WORDS || memchr(b'\\', env.as_bytes()).is_some() || words.iter().any(has);
        let read: Option<Few<_, VARIABLES>> = if is_read {
            serde_json::from_str(env).ok()
        } else {
            Some(Few::default())
        };
        // What is wrong would quote a value.
        let wrong = match read.filter(|_| env.starts_with('[')) {
            Some(few) if few.more => {
                format!("has more than {VARIABLES} variables: take them from a ConfigMap by envFrom")
            }
            Some(few) => return Ok(few),
            None => "is no list of variables: correct it".to_owned(),
        };
        let message = format!("env of container '{}' {wrong}", quote(&self.name));
        Err(Refusal::new(Reason::NotInjectable, message))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Volume<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Source<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Source<'a> {
            type Value = Volume<'a>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a volume")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                let mut volume = Volume::default();
                while let Some(field) = fields.next_key::<Text<'a>>()? {
                    if &*field == "name" {
                        volume.name = fields.next_value::<Option<Text<'a>>>()?.unwrap_or_default();
                        continue;
                    }
                    let Some(source) = fields.next_value::<Option<&'a RawValue>>()? else {
                        continue;
                    };
                    volume.read_only |= is_read_only(&field, source);
                    if &*field == "projected" {
                        volume.projected = Some(source);
                    }
                }
                Ok(volume)
            }
        }

        deserializer.deserialize_map(Source(PhantomData))
    }
}

/// Whether the node mounts what is of this source read-only: by its kind, because it says so, or because nothing can be below a file.
fn is_read_only(kind: &str, source: &RawValue) -> bool {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Says<'a> {
        read_only: Option<bool>,
        #[serde(borrow, rename = "type")]
        of: Option<Text<'a>>,
    }

    match kind {
        "projected" | "configMap" | "secret" | "downwardAPI" | "image" => true,
        "emptyDir" | "ephemeral" => false,
        _ => {
            let says: Says<'_> = serde_json::from_str(source.get()).unwrap_or_default();
            let of = says.of.as_deref().unwrap_or_default();
            let is_file = kind == "hostPath" && !of.is_empty() && !of.starts_with("Directory");
            says.read_only == Some(true) || is_file
        }
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

    /// Its containers, those first that run before the others.
    pub(super) fn containers(&self) -> impl Iterator<Item = &Container<'a>> {
        self.spec.init_containers.iter().chain(self.spec.containers.iter())
    }

    /// Says which list is longer than what is looked at.
    ///
    /// # Errors
    /// A [`Refusal`] that names the list.
    pub(super) fn is_seen_whole(&self) -> Result<(), Refusal> {
        let spec = &self.spec;
        let is_crowded = |container: &&Container<'_>| {
            container.volume_devices.more || container.volume_mounts.as_ref().is_some_and(|mounts| mounts.more)
        };
        let crowded = self.containers().find(is_crowded);
        let (list, most) = if spec.containers.more {
            ("spec.containers has".to_owned(), CONTAINERS)
        } else if spec.init_containers.more {
            ("spec.initContainers has".to_owned(), CONTAINERS)
        } else if spec.volumes.as_ref().is_some_and(|volumes| volumes.more) {
            ("spec.volumes has".to_owned(), VOLUMES)
        } else if let Some(container) = crowded {
            (
                format!(
                    "volumeMounts or volumeDevices of container '{}' has",
                    quote(&container.name)
                ),
                MOUNTS,
            )
        } else {
            return Ok(());
        };
        let message =
            format!("{list} more than {most} entries, which no token is injected into: make several pods of it");
        Err(Refusal::new(Reason::NotInjectable, message))
    }

    /// Whether it runs on Windows, where files, users and shells are others.
    pub(super) fn is_windows(&self) -> bool {
        &*self.spec.os.name == "windows" || &*self.spec.node_selector.os == "windows"
    }
}

pub(super) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
