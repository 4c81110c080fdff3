//! Whose a managed Secret is.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::domain::intent::{Key, Kind};

use super::tokens::api_version;

/// The object that a managed Secret belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerRef {
    /// Which object.
    pub key: Arc<Key>,
    /// Its UID.
    pub uid: Arc<str>,
}

/// What a Secret of this owner is, for a Token that wants it.
#[must_use]
pub fn possession(owner: Option<&OwnerRef>, seeker: &Key) -> String {
    let Some(owner) = owner else {
        return "is not managed by this operator".to_owned();
    };
    if *owner.key == *seeker {
        return format!(
            "belongs to a former {seeker} that was deleted, and waits for its own end: its token is being revoked, or a finalizer of someone else holds it"
        );
    }
    format!("belongs to {}", owner.key)
}

impl OwnerRef {
    pub(super) fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: api_version(),
            kind: self.key.kind.as_str().to_owned(),
            name: self.key.name.to_string(),
            uid: self.uid.to_string(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// Makes it the controlling owner among these, if there is none.
    pub(super) fn control(&self, owners: &mut Vec<OwnerReference>) {
        if !owners.iter().any(|known| known.controller == Some(true)) {
            owners.retain(|known| known.uid != *self.uid);
            owners.push(self.reference());
        }
    }

    /// The controlling owner of a Secret, if it is a Token or ClusterToken.
    #[must_use]
    pub fn of(meta: &ObjectMeta) -> Option<OwnerRef> {
        let owner = meta
            .owner_references
            .iter()
            .flatten()
            .find(|owner| owner.controller == Some(true))?;
        if owner.api_version != api_version() {
            return None;
        }
        let kind = [Kind::Token, Kind::ClusterToken]
            .into_iter()
            .find(|kind| kind.as_str() == owner.kind)?;
        let namespace = match kind {
            Kind::Token => meta.namespace.as_deref().map(Into::into),
            Kind::ClusterToken => None,
        };
        Some(OwnerRef {
            key: Arc::new(Key {
                kind,
                namespace,
                name: owner.name.as_str().into(),
            }),
            uid: owner.uid.as_str().into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_token_of_the_same_name_is_told_from_another_one() {
        let key = |name: &str| Key {
            kind: Kind::Token,
            namespace: Some("team".into()),
            name: name.into(),
        };
        let owner = OwnerRef {
            key: Arc::new(key("ci")),
            uid: "u".into(),
        };
        assert_eq!(possession(Some(&owner), &key("other")), "belongs to Token team/ci");
        let own = possession(Some(&owner), &key("ci"));
        assert!(own.contains("a former Token team/ci that was deleted"), "{own}");
    }
}
