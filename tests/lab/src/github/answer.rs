//! Answers as GitHub words them.

use axum::body::Body;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

/// An HTTP answer of the stand-in.
pub(super) type Answer = Response<Body>;

const DOCS: &str = "https://docs.github.com/rest";
const DOCS_TOKEN: &str = "https://docs.github.com/rest/reference/apps#create-an-installation-access-token-for-an-app";
const DOCS_LIMITS: &str = "https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api";

/// GitHub's texts. Those of JWTs, suspension, permissions and repositories are quoted in public issues, for example
/// <https://github.com/octokit/auth-app.js/issues/698>, <https://github.com/octokit/octokit.rb/pull/1307>,
/// <https://github.com/peter-murray/workflow-application-token-action/issues/48> and
/// <https://github.com/aquasecurity/trivy/issues/10567>.
pub(super) mod text {
    pub const BAD_CREDENTIALS: &str = "Bad credentials";
    pub const EXP_TOO_FAR: &str = "'Expiration time' claim ('exp') is too far in the future";
    pub const EXP_IN_PAST: &str = "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires";
    pub const IAT_IN_FUTURE: &str =
        "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued";
    pub const ISS_NOT_INTEGER: &str = "'Issuer' claim ('iss') must be an Integer";
    pub const JWT_UNDECODABLE: &str = "A JSON web token could not be decoded";
    pub const NO_PUBLIC_KEY: &str = "Integration must generate a public key";
    pub const INTEGRATION_NOT_FOUND: &str = "Integration not found";
    pub const NOT_FOUND: &str = "Not Found";
    pub const NOT_INTEGRATION: &str = "Resource not accessible by integration";
    pub const PERMISSIONS: &str = "The permissions requested are not granted to this installation.";
    pub const REPOSITORIES: &str =
        "There is at least one repository that does not exist or is not accessible to the parent installation.";
    pub const SECONDARY: &str =
        "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
    pub const SUSPENDED: &str = "This installation has been suspended";
    pub const USER_AGENT: &str = "Request forbidden by administrative rules. Please make sure your request has a User-Agent header (https://docs.github.com/en/rest/overview/resources-in-the-rest-api#user-agent-required). Check https://developer.github.com for other possible causes.";
}

pub(super) fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A JSON answer.
pub(super) fn json_answer(code: u16, value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value).unwrap_or_default();
    raw(code, "application/json; charset=utf-8", body)
}

/// Any answer.
pub(super) fn raw(code: u16, content_type: &'static str, body: impl Into<Body>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status(code);
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// 204.
pub(super) fn no_content() -> Answer {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

/// GitHub's `basic-error`.
pub(super) fn error(code: u16, message: &str) -> Answer {
    error_at(code, message, DOCS)
}

/// GitHub's `basic-error` of the mint endpoint.
pub(super) fn mint_error(code: u16, message: &str) -> Answer {
    error_at(code, message, DOCS_TOKEN)
}

fn error_at(code: u16, message: &str, docs: &str) -> Answer {
    let body = json!({"message": message, "documentation_url": docs, "status": code.to_string()});
    json_answer(code, &body)
}

/// GitHub's `validation-error`, 422.
pub(super) fn validation_error(errors: &[Value]) -> Answer {
    let body = json!({
        "message": "Validation Failed", "errors": errors, "documentation_url": DOCS, "status": "422",
    });
    json_answer(422, &body)
}

/// An organization's IP allow list keeps the caller out.
pub(super) fn ip_allow_list(account: &str) -> Answer {
    error(
        403,
        &format!(
            "Although you appear to have the correct authorization credentials, the `{account}` organization has an IP \
             allow list enabled, and your IP address is not permitted to access this resource."
        ),
    )
}

/// The secondary limit was exceeded; `retry_after` in seconds, when GitHub says so.
pub(super) fn secondary_limit(code: u16, retry_after: Option<u64>) -> Answer {
    let mut answer = error_at(
        code,
        text::SECONDARY,
        &format!("{DOCS_LIMITS}#about-secondary-rate-limits"),
    );
    if let Some(seconds) = retry_after {
        set(&mut answer, "retry-after", seconds);
    }
    answer
}

/// The primary limit was exceeded; `who` as in `installation ID 7`.
pub(super) fn primary_limit(code: u16, who: &str) -> Answer {
    error_at(code, &format!("API rate limit exceeded for {who}."), DOCS_LIMITS)
}

/// Where a renamed repository is now.
pub(super) fn moved(location: &str) -> Answer {
    let body = json!({"message": "Moved Permanently", "url": location, "documentation_url": DOCS});
    let mut answer = json_answer(301, &body);
    set(&mut answer, "location", location);
    answer
}

/// The page of GitHub's front end when nothing behind it answers.
pub(super) fn html_page(code: u16) -> Answer {
    raw(
        code,
        "text/html; charset=utf-8",
        format!(
            "<!DOCTYPE html>\n<html><head><title>Unicorn! &middot; GitHub</title></head>\n<body>\n<h1>{code}</h1>\n\
             <p><strong>We're having a really bad day.</strong></p>\n</body></html>\n"
        ),
    )
}

/// Sets a header.
pub(super) fn set(answer: &mut Answer, name: &'static str, value: impl ToString) {
    if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
        answer.headers_mut().insert(HeaderName::from_static(name), value);
    }
}
