//! What the API server answers, as far as someone has to act on it.

use std::fmt::Display;

use kube::runtime::watcher;

use crate::domain::quote;

/// Why a call to the API server failed. Its text is short and holds no Secret's content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The object changed in the meantime, or is another one of the same name.
    #[error("the object was changed by someone else at the same time")]
    Conflict,
    /// The object exists already.
    #[error("the object exists already")]
    Exists,
    /// The object does not exist.
    #[error("the object does not exist")]
    Missing,
    /// The API server, or something before it, knows no such path, which says nothing of the object: its kind may not be served any
    /// more, or a proxy has lost its way.
    #[error(
        "a 404 came that does not say that the object does not exist: its kind is not served, or a proxy has answered"
    )]
    Unserved,
    /// The namespace does not exist or is being deleted.
    #[error("{0}")]
    NamespaceUnavailable(String),
    /// The API server does not accept the object as it is.
    #[error("{0}")]
    Invalid(String),
    /// The API server does not know who asks.
    #[error(
        "the API server does not accept the credentials (401): renew those of the kubeconfig, or the pod's service account token"
    )]
    Unauthorized,
    /// Who asks may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// A policy or a webhook of the cluster does not admit what is written. It answers with any code that it likes.
    #[error("{0}")]
    Refused(String),
    /// It was written, and this part of it was not kept.
    #[error("{0} was taken off, or changed, while it was written")]
    Altered(String),
    /// The API server cannot be reached, or cannot answer now.
    #[error("{0}")]
    Unavailable(String),
}

impl From<kube::Error> for ClusterError {
    fn from(error: kube::Error) -> Self {
        ClusterError::from(&error)
    }
}

impl From<&kube::Error> for ClusterError {
    fn from(error: &kube::Error) -> Self {
        let status = match error {
            kube::Error::Api(status) => status,
            kube::Error::Service(error) => return unreachable(error),
            kube::Error::HyperError(_) | kube::Error::ReadEvents(_) | kube::Error::Auth(_) => {
                return unreachable(error);
            }
            // These may show a piece of the answer, and so of a Secret.
            _ => return ClusterError::Unavailable("the API server's answer cannot be understood".to_owned()),
        };
        let message = quote(status.message.trim());
        let about_namespace = status.details.as_ref().is_some_and(|details| {
            details.kind == "namespaces" || details.causes.iter().any(|c| c.reason == "NamespaceTerminating")
        });
        match (status.code, status.reason.as_str()) {
            (400..500, _) if says_admission(&status.message) => ClusterError::Refused(message),
            (_, "AlreadyExists") => ClusterError::Exists,
            (403 | 404, _) if about_namespace => ClusterError::NamespaceUnavailable(message),
            (409, _) => ClusterError::Conflict,
            (404, "NotFound") => ClusterError::Missing,
            (404, _) => ClusterError::Unserved,
            (422 | 400, _) => ClusterError::Invalid(message),
            (401, _) => ClusterError::Unauthorized,
            (403, _) => ClusterError::Forbidden(message),
            _ => ClusterError::Unavailable(message),
        }
    }
}

/// As the API server words it for webhooks (apiserver/pkg/admission/plugin/webhook/errors), and for a ValidatingAdmissionPolicy
/// (apiserver/pkg/admission/plugin/policy/validating).
fn says_admission(message: &str) -> bool {
    let webhook = message.contains("admission webhook ") && message.contains(" denied the request");
    webhook || message.contains("ValidatingAdmissionPolicy ") && message.contains(" denied request: ")
}

fn unreachable(error: &dyn Display) -> ClusterError {
    ClusterError::Unavailable(quote(&format!("the API server cannot be reached: {error}")))
}

impl From<watcher::Error> for ClusterError {
    fn from(error: watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => ClusterError::from(error),
            watcher::Error::WatchError(status) => ClusterError::from(kube::Error::Api(status)),
            watcher::Error::NoResourceVersion => {
                ClusterError::Unavailable("the API server's answer cannot be understood".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_by_admission_is_told_so_whatever_the_code() {
        let error = |code, reason: &str, message: &str| {
            let status = serde_json::json!({"code": code, "reason": reason, "message": message, "status": "Failure"});
            let status = serde_json::from_value(status).expect("a Status");
            ClusterError::from(kube::Error::Api(status))
        };
        let policy =
            "secrets \"ci\" is forbidden: ValidatingAdmissionPolicy 'names' with binding 'all' denied request: no";
        let webhook = "admission webhook \"names.example.com\" denied the request: no";
        let silent = "admission webhook \"names.example.com\" denied the request without explanation";
        for (code, reason, message) in [
            (403, "Forbidden", policy),
            (422, "Invalid", policy),
            (400, "BadRequest", webhook),
            (401, "Unauthorized", webhook),
            (404, "NotFound", webhook),
            (409, "Conflict", webhook),
            (403, "Forbidden", silent),
        ] {
            let said = error(code, reason, &format!("{message}\n"));
            assert_eq!(said, ClusterError::Refused(message.to_owned()));
        }
        let failing = "Internal error occurred: failed calling webhook \"names.example.com\": no answer";
        assert_eq!(
            error(500, "InternalError", failing),
            ClusterError::Unavailable(failing.to_owned())
        );
        assert_eq!(
            error(404, "NotFound", "secrets \"ci\" not found"),
            ClusterError::Missing
        );
    }
}
