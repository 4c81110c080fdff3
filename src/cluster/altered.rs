//! What a write has left: webhooks of the cluster may change what they admit.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::names::{annotation, label};

use super::tokens::api_version;
use super::{ClusterError, Metadata};

/// What managed Secrets are watched by.
const LABELS: [&str; 2] = [label::CREATED_BY, label::NAME];

/// What was written, if the API server's answer has all of it that a Secret is known by: where that is taken off each time, to write it
/// again at once, or another token, would never end.
///
/// # Errors
/// [`ClusterError::Altered`]
pub(super) fn unaltered(sent: &ObjectMeta, written: Metadata) -> Result<Metadata, ClusterError> {
    let found = &written.metadata;
    let label = lost(&sent.labels, &found.labels, |name| LABELS.contains(&name));
    let annotation = lost(&sent.annotations, &found.annotations, |name| {
        name.starts_with(annotation::PREFIX)
    });
    let owner = sent.owner_references.iter().flatten().find(|owner| {
        let mut kept = found.owner_references.iter().flatten();
        owner.api_version == api_version() && !kept.any(|kept| kept.uid == owner.uid)
    });
    let what = (label.map(|name| format!("the label {name}")))
        .or_else(|| annotation.map(|name| format!("the annotation {name}")))
        .or_else(|| owner.map(|owner| format!("the owner {} {}", owner.kind, owner.name)));
    what.map_or(Ok(written), |what| Err(ClusterError::Altered(what)))
}

type Pairs = Option<BTreeMap<String, String>>;

/// The first of these names that was sent and is not there as it was sent.
fn lost<'a>(sent: &'a Pairs, found: &Pairs, is_needed: impl Fn(&str) -> bool) -> Option<&'a str> {
    let is_kept = |name: &String, value| found.as_ref().and_then(|found| found.get(name)) == Some(value);
    let mut needed = sent.iter().flatten().filter(|(name, _)| is_needed(name));
    needed.find_map(|(name, value)| (!is_kept(name, value)).then_some(name.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meta(labels: serde_json::Value, annotations: serde_json::Value, owner: &str) -> ObjectMeta {
        let owners = json!([{"apiVersion": api_version(), "kind": "Token", "name": "ci", "uid": owner}]);
        let meta = json!({"labels": labels, "annotations": annotations, "ownerReferences": owners});
        serde_json::from_value(meta).expect("metadata")
    }

    #[test]
    fn what_a_secret_is_known_by_is_missed_and_nothing_else() {
        let labels = json!({label::CREATED_BY: "gtm", label::NAME: "Token", label::PART_OF: "gtm", "team": "a"});
        let annotations = json!({annotation::ISSUED_AT: "now", "note": "a"});
        let sent = meta(labels.clone(), annotations.clone(), "1");
        let told = |found| {
            unaltered(&sent, Metadata::from(found))
                .err()
                .map(|error| error.to_string())
        };
        let more = json!({label::CREATED_BY: "gtm", label::NAME: "Token", label::PART_OF: "shop", "cost": "1"});
        let note = json!({annotation::ISSUED_AT: "now", "other": "b"});
        assert_eq!(told(meta(more, note, "1")), None);
        let other = json!({label::CREATED_BY: "shop", label::NAME: "Token"});
        for (found, what) in [
            (meta(other, annotations.clone(), "1"), label::CREATED_BY),
            (
                meta(json!({label::CREATED_BY: "gtm"}), annotations.clone(), "1"),
                label::NAME,
            ),
            (meta(labels.clone(), json!({"note": "a"}), "1"), annotation::ISSUED_AT),
            (meta(labels, annotations, "2"), "the owner Token ci"),
        ] {
            let told = told(found).expect("it was altered");
            assert!(told.contains(what), "{told}");
        }
    }
}
