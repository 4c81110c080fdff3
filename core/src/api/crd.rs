//! The CustomResourceDefinitions as they are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps,
};
use kube::CustomResourceExt;

use super::{App, ClusterToken, Token, TokenPolicy};

/// What helps where a cluster's are older than this program.
pub const UPGRADE: &str = "bring them up to date: gtm crds | kubectl apply --server-side -f -";

/// Every CustomResourceDefinition, in the order in which they are printed.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut token = Token::crd();
    // A Token without a spec is a whole Token: everything the startup App's installation has.
    if let Some(schema) = schema(&mut token) {
        schema.required = None;
        if let Some(spec) = property(schema, "spec") {
            spec.default = Some(JSON(serde_json::json!({})));
        }
    }
    let mut cluster_token = ClusterToken::crd();
    // The schema generator writes down the rules of a flattened struct twice, and the API server wants each once.
    if let Some(secret) = schema(&mut cluster_token).and_then(|schema| property(property(schema, "spec")?, "secret")) {
        let rules = secret.x_kubernetes_validations.take().into_iter().flatten();
        let unique = rules.fold(Vec::new(), |mut unique, rule| {
            if !unique.contains(&rule) {
                unique.push(rule);
            }
            unique
        });
        secret.x_kubernetes_validations = Some(unique);
    }
    vec![token, cluster_token, App::crd(), TokenPolicy::crd()]
}

/// The schema of a kind.
#[must_use]
pub fn schema_of(kind: &str) -> Option<JSONSchemaProps> {
    let mut crd = all().into_iter().find(|crd| crd.spec.names.kind == kind)?;
    schema(&mut crd).cloned()
}

fn property<'a>(schema: &'a mut JSONSchemaProps, name: &str) -> Option<&'a mut JSONSchemaProps> {
    schema.properties.as_mut()?.get_mut(name)
}

fn schema(crd: &mut CustomResourceDefinition) -> Option<&mut JSONSchemaProps> {
    crd.spec
        .versions
        .first_mut()?
        .schema
        .as_mut()?
        .open_api_v3_schema
        .as_mut()
}

#[cfg(test)]
mod tests;
