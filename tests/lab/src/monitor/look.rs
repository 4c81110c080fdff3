//! What is in a Secret, whatever its format, and whether anyone still answers for it.

use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, ResourceExt,
    api::DynamicObject,
    core::{ApiResource, GroupVersionKind},
};

/// How GitHub's tokens begin, and how short the random part never is.
const PREFIX: &str = "ghs_";
const SHORTEST: usize = 36;

/// Every token in a Secret, in the order of its keys, each once: in plain text or behind base64. Found by its form, not by
/// what the operator says of it.
pub(super) fn tokens(secret: &Secret) -> Vec<String> {
    let mut found = Vec::new();
    for value in secret.data.iter().flatten().map(|(_, value)| &value.0) {
        let text = String::from_utf8_lossy(value);
        collect(&text, &mut found);
        for piece in text.split(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c))) {
            if let Some(inside) = STANDARD.decode(piece).ok().filter(|_| piece.len() > SHORTEST) {
                collect(&String::from_utf8_lossy(&inside), &mut found);
            }
        }
    }
    found
}

fn collect(text: &str, found: &mut Vec<String>) {
    for (start, _) in text.match_indices(PREFIX) {
        let end = |c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c));
        let token = text[start..].split(end).next().unwrap_or_default();
        if token.len() >= PREFIX.len() + SHORTEST && !found.iter().any(|known| known == token) {
            found.push(token.to_owned());
        }
    }
}

/// The Secret as it is now. `None` when it is gone or going, or its owner is: then nobody promises anything.
pub(super) async fn again(client: &Client, known: &Secret) -> kube::Result<Option<Secret>> {
    let namespace = known.namespace().unwrap_or_default();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let Some(secret) = secrets.get_opt(&known.name_any()).await? else {
        return Ok(None);
    };
    if secret.metadata.deletion_timestamp.is_some() || !owned(client, &secret, &namespace).await? {
        return Ok(None);
    }
    Ok(Some(secret))
}

async fn owned(client: &Client, secret: &Secret, namespace: &str) -> kube::Result<bool> {
    let mut owners = secret.owner_references().iter();
    let Some(owner) = owners.find(|owner| owner.controller == Some(true)) else {
        return Ok(false);
    };
    let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &owner.kind));
    let objects: Api<DynamicObject> = if owner.kind.starts_with("Cluster") {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), namespace, &resource)
    };
    let object = objects.get_opt(&owner.name).await?;
    Ok(object.is_some_and(|o| o.metadata.uid.as_ref() == Some(&owner.uid) && o.metadata.deletion_timestamp.is_none()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;

    use super::*;

    #[test]
    fn tokens_are_found_in_plain_text_and_behind_base64_each_once() {
        let token = |c: char| format!("ghs_{}", c.to_string().repeat(36));
        let (plain, hidden) = (token('a'), format!("ghs_1_eyJ{}.x-y_z.sig", "b".repeat(40)));
        let encoded = STANDARD.encode(format!("x-access-token:{hidden}"));
        let values = [
            ("a", format!("https://x-access-token:{plain}@github.com\n")),
            ("b", format!("{{\"auth\":\"{encoded}\",\"password\":\"{plain}\"}}")),
            ("c", "ghs_short".to_owned()),
        ];
        let data = values.map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes())));
        let secret = Secret {
            data: Some(BTreeMap::from(data)),
            ..Secret::default()
        };
        assert_eq!(tokens(&secret), [plain, hidden]);
    }
}
