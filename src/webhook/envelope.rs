//! `AdmissionReview` v1 (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>), read and
//! written. Of the object only what is decided about is read: it is never written back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::domain::quote;

/// The one version that is served.
pub const API_VERSION: &str = "admission.k8s.io/v1";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review<T> {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Request<T>,
}

/// A request, with its object as `T`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<T> {
    /// Names the request; the answer has it, too.
    pub uid: String,
    /// What kind the object is of.
    pub kind: Kind,
    /// Empty for cluster-scoped objects.
    #[serde(default)]
    pub namespace: String,
    /// `CREATE`, `UPDATE` and so on.
    pub operation: String,
    /// Empty for the object itself.
    #[serde(default)]
    pub sub_resource: String,
    /// Whether nothing will be stored.
    #[serde(default)]
    pub dry_run: Option<bool>,
    /// The object; none for `DELETE`.
    pub object: Option<T>,
    /// The object as it was before an `UPDATE`.
    pub old_object: Option<T>,
}

/// Group, version and kind.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Kind {
    /// Empty for Kubernetes' first group.
    pub group: String,
    /// Such as `v1`.
    pub version: String,
    /// Such as `Pod`.
    pub kind: String,
}

/// Reads a review.
///
/// # Errors
/// Says what is wrong with it, for whoever sent it.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<Request<T>, String> {
    let wrong = |error: serde_json::Error| format!("the body is no AdmissionReview: {}", quote(&error.to_string()));
    // What is skipped is not looked at, so the whole has to be a text.
    let body = std::str::from_utf8(body).map_err(|_| "the body is no AdmissionReview: it is no UTF-8".to_owned())?;
    let (head, request) = match serde_json::from_str::<Review<T>>(body) {
        Ok(Review {
            api_version,
            kind,
            request,
        }) => (Head { api_version, kind }, Ok(request)),
        // What it says that it is tells more than what it lacks.
        Err(error) => (serde_json::from_str(body).map_err(wrong)?, Err(wrong(error))),
    };
    if head.api_version != API_VERSION || head.kind != "AdmissionReview" {
        return Err(format!(
            "'{}' '{}' is not served: send an AdmissionReview of {API_VERSION}",
            quote(&head.api_version),
            quote(&head.kind)
        ));
    }
    let request = request?;
    if request.uid.is_empty() {
        return Err("request.uid is empty: an AdmissionReview has one".to_owned());
    }
    Ok(request)
}

/// An answer.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    /// Why the object is refused, for its author; `None`: it is let in.
    pub refusal: Option<String>,
    /// What is added to the object.
    pub patch: Option<json_patch::Patch>,
    /// What its author should know.
    pub warnings: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}

impl Answer {
    /// The answer to the request of this `uid`, as JSON.
    ///
    /// # Errors
    /// None that can happen: a patch is always JSON.
    pub fn write(&self, uid: &str) -> Result<Vec<u8>, serde_json::Error> {
        let patch = self.patch.as_ref().filter(|patch| !patch.0.is_empty());
        let patch = patch
            .map(serde_json::to_vec)
            .transpose()?
            .map(|json| STANDARD.encode(json));
        let status = |message: &String| json!({"code": 403, "reason": "Forbidden", "message": message});
        let response = Response {
            uid,
            allowed: self.refusal.is_none(),
            status: self.refusal.as_ref().map(status),
            patch_type: patch.is_some().then_some("JSONPatch"),
            patch,
            warnings: &self.warnings,
        };
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Whole<'a> {
            api_version: &'static str,
            kind: &'static str,
            response: Response<'a>,
        }
        serde_json::to_vec(&Whole {
            api_version: API_VERSION,
            kind: "AdmissionReview",
            response,
        })
    }
}
