//! `AdmissionReview` v1 (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>), read and
//! written. Of the object only what is decided about is read: it is never written back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::Resource;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::intent::{invalid, unreadable};
use super::name::{NAMESPACES, UIDS, is_namespace, is_uid};
use super::pod::{Patch, Pod, Text};
use super::problem::Problem;
use super::quote;

/// The one version that is served.
pub const API_VERSION: &str = "admission.k8s.io/v1";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(borrow, default)]
    api_version: Text<'a>,
    #[serde(borrow, default)]
    kind: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct Review<'a, T> {
    #[serde(borrow, default)]
    api_version: Text<'a>,
    #[serde(borrow, default)]
    kind: Text<'a>,
    #[serde(borrow)]
    request: Request<'a, T>,
}

/// A request, with its object as `T`. Its texts are borrowed from the body.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "T: Deserialize<'de>"))]
pub struct Request<'a, T> {
    /// Names the request; the answer has it, too.
    #[serde(borrow)]
    pub uid: Text<'a>,
    /// What kind the object is of.
    #[serde(borrow)]
    pub kind: Kind<'a>,
    /// Empty for cluster-scoped objects.
    #[serde(borrow, default)]
    pub namespace: Text<'a>,
    /// `CREATE`, `UPDATE` and so on.
    #[serde(borrow)]
    pub operation: Text<'a>,
    /// Empty for the object itself.
    #[serde(borrow, default)]
    pub sub_resource: Text<'a>,
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
pub struct Kind<'a> {
    /// Empty for Kubernetes' first group.
    #[serde(borrow)]
    pub group: Text<'a>,
    /// Such as `v1`.
    #[serde(borrow)]
    pub version: Text<'a>,
    /// Such as `Pod`.
    #[serde(borrow)]
    pub kind: Text<'a>,
}

/// An object of one of our kinds, as the text that it came in: in memory, it may take many times that.
#[derive(Debug)]
pub struct Object<'a> {
    /// All of it.
    json: &'a str,
    /// Its name; empty where the API server is to make one.
    pub name: Text<'a>,
    /// Whether it is being deleted.
    pub ends: bool,
    /// Its spec, as text.
    pub spec: Option<&'a str>,
}

/// The longest object that is read, in bytes: of one of our kinds, a tenth is much.
const LONGEST: usize = 256 * 1024;

impl<'a> Object<'a> {
    /// Reads it as what it should be.
    ///
    /// # Errors
    /// Says that it is too long, or what is wrong with it.
    pub fn read<T: Deserialize<'a> + Resource<DynamicType = ()>>(&self) -> Result<T, Problem> {
        if self.json.len() > LONGEST {
            let length = self.json.len();
            return Err(invalid(format!(
                "the object has {length} bytes, of which at most {LONGEST} are read: shorten its annotations"
            )));
        }
        serde_json::from_str(self.json).map_err(|error| {
            let object = serde_json::from_str(self.json).unwrap_or_default();
            unreadable(&T::kind(&()), &object, &error)
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Metadata<'a> {
            #[serde(borrow)]
            name: Option<Text<'a>>,
            #[serde(borrow)]
            deletion_timestamp: Option<Text<'a>>,
        }

        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Parts<'a> {
            #[serde(borrow)]
            metadata: Option<Metadata<'a>>,
            #[serde(borrow)]
            spec: Option<&'a RawValue>,
        }

        let json = <&RawValue>::deserialize(deserializer)?.get();
        // Whoever reads it as what it should be is told what is wrong.
        let Parts { metadata, spec } = serde_json::from_str(json).unwrap_or_default();
        let metadata = metadata.unwrap_or_default();
        Ok(Object {
            json,
            name: metadata.name.unwrap_or_default(),
            ends: metadata.deletion_timestamp.is_some(),
            spec: spec.map(RawValue::get),
        })
    }
}

/// Reads a review of a pod.
///
/// # Errors
/// Says what is wrong with it, for whoever sent it.
pub fn read_pod(body: &[u8]) -> Result<Request<'_, Pod<'_>>, String> {
    read(body)
}

/// Reads a review of any object.
///
/// # Errors
/// Says what is wrong with it, for whoever sent it.
pub fn read_object(body: &[u8]) -> Result<Request<'_, Object<'_>>, String> {
    read(body)
}

/// Stays in this crate, whose code is made for speed: generic code is compiled where its type is chosen.
fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<Request<'a, T>, String> {
    let wrong = |error: serde_json::Error| format!("the body is no AdmissionReview: {}", quote(&error.to_string()));
    // What is skipped is not looked at, so the whole has to be a text.
    let body = std::str::from_utf8(body).map_err(|_| "the body is no AdmissionReview: it is no UTF-8".to_owned())?;
    let (head, request) = match serde_json::from_str::<Review<'_, T>>(body) {
        Ok(Review {
            api_version,
            kind,
            request,
        }) => (Head { api_version, kind }, Ok(request)),
        // What it says that it is tells more than what it lacks.
        Err(error) => (serde_json::from_str(body).map_err(wrong)?, Err(wrong(error))),
    };
    if *head.api_version != *API_VERSION || *head.kind != *"AdmissionReview" {
        return Err(format!(
            "'{}' '{}' is not served: send an AdmissionReview of {API_VERSION}",
            quote(&head.api_version),
            quote(&head.kind)
        ));
    }
    let request = request?;
    let (uid, namespace) = (&*request.uid, &*request.namespace);
    if !is_uid(uid) {
        return Err(format!("request.uid: '{}' is no UID: {UIDS}", quote(uid)));
    }
    // The API server has not sent it then; and it becomes part of URLs and messages.
    if !namespace.is_empty() && !is_namespace(namespace) {
        return Err(format!(
            "request.namespace: '{}' is no namespace: {NAMESPACES}",
            quote(namespace)
        ));
    }
    Ok(request)
}

/// An answer.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    /// Why the object is refused, for its author; `None`: it is let in.
    pub refusal: Option<String>,
    /// What is added to the object.
    pub patch: Option<Patch>,
    /// What its author should know.
    pub warnings: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Value>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}

/// How a written answer ends; what stands there instead where it has a patch, before the patch and behind it.
const END: &str = "}}";
const PATCH: &[u8] = br#","patchType":"JSONPatch","patch":""#;
const PATCHED: &[u8] = br#""}}"#;
/// Bytes of a usual answer but its patch.
const USUAL: usize = 512;

impl Answer {
    /// The answer to the request of this `uid`, as JSON.
    ///
    /// # Errors
    /// None that can happen: what is in it is always JSON.
    pub fn write(&self, uid: &str) -> Result<Vec<u8>, serde_json::Error> {
        let status = |message: &String| json!({"code": 403, "reason": "Forbidden", "message": message});
        let response = Response {
            uid,
            allowed: self.refusal.is_none(),
            status: self.refusal.as_ref().map(status),
            warnings: &self.warnings,
        };
        let patch = self.patch.as_ref().filter(|patch| !patch.is_empty());
        let encoded = patch.map_or(0, |patch| patch.json().len().div_ceil(3) * 4);
        let mut json = Vec::with_capacity(USUAL + encoded);
        serde_json::to_writer(
            &mut json,
            &Written {
                api_version: API_VERSION,
                kind: "AdmissionReview",
                response,
            },
        )?;
        if let Some(patch) = patch {
            json.truncate(json.len() - END.len());
            json.extend_from_slice(PATCH);
            // Base64 needs no escapes: the longest part of an answer is not looked through for them.
            let start = json.len();
            json.resize(start + encoded, 0);
            let written = STANDARD.encode_slice(patch.json(), &mut json[start..]);
            written.map_err(serde::ser::Error::custom)?;
            json.extend_from_slice(PATCHED);
        }
        Ok(json)
    }
}
