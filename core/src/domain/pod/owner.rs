//! Who manages a pod.

use serde::Deserialize;

use super::view::or_default;
use crate::domain::name::{is_namespace, is_object_name, is_uid};

/// An owner of a pod, as the pod says: nobody has looked whether it exists.
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

impl Owner {
    /// Whether there can be such an object: whoever makes pods, or reaches the port, may write anything here, of any length.
    #[must_use]
    pub fn can_exist(&self) -> bool {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("core", &self.api_version));
        is_object_name(group)
            && is_namespace(version)
            && is_namespace(&self.kind.to_ascii_lowercase())
            && is_object_name(&self.name)
            && is_uid(&self.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(change: impl FnOnce(&mut Owner)) -> Owner {
        let mut owner = Owner {
            api_version: "apps/v1".to_owned(),
            kind: "ReplicaSet".to_owned(),
            name: "web-5d8f".to_owned(),
            uid: "0f8e3b6c-6a3f-4c53-9a55-0d1c7b1f3a11".to_owned(),
            controller: true,
        };
        change(&mut owner);
        owner
    }

    #[test]
    fn an_owner_that_kubernetes_would_not_store_cannot_exist() {
        assert!(owner(|_| {}).can_exist());
        assert!(owner(|owner| owner.api_version = "v1".to_owned()).can_exist());
        assert!(owner(|owner| owner.api_version = "argoproj.io/v1alpha1".to_owned()).can_exist());
        let long = "a".repeat(254);
        for wrong in ["", "a b", "a\n", "a/b/c", "ä", &long] {
            for owner in [
                owner(|owner| owner.api_version = wrong.to_owned()),
                owner(|owner| owner.kind = wrong.to_owned()),
                owner(|owner| owner.name = wrong.to_owned()),
                owner(|owner| owner.uid = wrong.to_owned()),
            ] {
                assert!(!owner.can_exist(), "{owner:?}");
            }
        }
    }
}
