//! Every answer fits GitHub's own description of its API: npm's `@octokit/openapi`, fetched once into the user's cache.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use jsonschema::{Draft, Validator};
use lab::github::{Fault, Limits, Route};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::client::{Client, Reply};
use crate::registration::{manifest, register};

const VERSION: &str = "23.0.2";
const FILE: &str = "package/generated/api.github.com.json";

/// GitHub's description, as JSON Schema.
struct Description(Value);

impl Description {
    fn get() -> &'static Self {
        static DESCRIPTION: OnceLock<Description> = OnceLock::new();
        DESCRIPTION.get_or_init(|| {
            let mut whole: Value = serde_json::from_slice(&std::fs::read(fetch()).unwrap()).unwrap();
            // Here the description asks for a user and an enterprise at once; its own schema `installation`, which is
            // what the other endpoints answer with, asks for one of them.
            let path = "/paths/~1app~1installations/get/responses/200/content/application~1json/schema";
            let list = whole
                .pointer_mut(path)
                .expect("the description has no list of installations");
            *list = json!({"type": "array", "items": {"$ref": "#/components/schemas/installation"}});
            Self(whole)
        })
    }

    /// The schema of an answer, if the description knows the answer; `Null` for one without a body.
    fn schema(&self, method: &str, path: &str, status: u16) -> Option<&Value> {
        let response = self.0["paths"][path][method]["responses"].get(status.to_string())?;
        let response = response["$ref"]
            .as_str()
            .map_or(response, |reference| self.referred(reference));
        Some(&response["content"]["application/json"]["schema"])
    }

    /// A validator for a schema, which may refer to others of the description.
    fn validator(&self, schema: &Value) -> Validator {
        let mut schemas = Map::new();
        self.collect(schema, &mut schemas);
        let mut document = json!({"allOf": [schema], "components": {"schemas": schemas}});
        to_json_schema(&mut document);
        // In draft 4, as in OpenAPI 3.0, `exclusiveMinimum` is a boolean, and nothing counts beside a `$ref`.
        jsonschema::options()
            .with_draft(Draft::Draft4)
            .should_validate_formats(true)
            .build(&document)
            .unwrap()
    }

    /// What `#/components/…` is.
    fn referred(&self, reference: &str) -> &Value {
        let found = reference.strip_prefix('#').and_then(|pointer| self.0.pointer(pointer));
        found.unwrap_or_else(|| panic!("the description has no {reference}"))
    }

    /// Collects the schemas that this one refers to, and those that they refer to.
    fn collect(&self, schema: &Value, found: &mut Map<String, Value>) {
        match schema {
            Value::Array(items) => items.iter().for_each(|item| self.collect(item, found)),
            Value::Object(object) => {
                if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                    let name = reference
                        .strip_prefix("#/components/schemas/")
                        .expect("a reference to a schema");
                    if !found.contains_key(name) {
                        let referred = self.referred(reference);
                        found.insert(name.to_owned(), referred.clone());
                        self.collect(referred, found);
                    }
                }
                object.values().for_each(|value| self.collect(value, found));
            }
            _ => {}
        }
    }

    #[track_caller]
    fn check(&self, method: &str, path: &str, reply: &Reply, status: u16) {
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.json);
        let schema = self.schema(method, path, status);
        let schema = schema.unwrap_or_else(|| panic!("GitHub does not answer {method} {path} with {status}"));
        let what = format!("{method} {path} {status}");
        if schema.is_null() {
            assert_eq!(reply.json, Value::Null, "{what} has no body");
        } else {
            self.check_against(&what, schema, &reply.json);
        }
    }

    #[track_caller]
    fn check_against(&self, what: &str, schema: &Value, instance: &Value) {
        let validator = self.validator(schema);
        let problems: Vec<_> = validator
            .iter_errors(instance)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(problems.is_empty(), "{what}: {problems:#?}");
    }

    #[track_caller]
    fn check_error(&self, what: &str, reply: &Reply) {
        let name = if reply.json["errors"].is_array() {
            "validation-error"
        } else {
            "basic-error"
        };
        self.check_against(
            what,
            &json!({"$ref": format!("#/components/schemas/{name}")}),
            &reply.json,
        );
        assert!(reply.json["message"].is_string(), "{what}: {}", reply.json);
    }
}

/// OpenAPI 3.0 says `nullable` where JSON Schema says `null`.
fn to_json_schema(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(to_json_schema),
        Value::Object(object) => {
            object.values_mut().for_each(to_json_schema);
            if object.get("nullable") == Some(&Value::Bool(true)) {
                object.remove("nullable");
                let inner = std::mem::take(object);
                *value = json!({"anyOf": [inner, {"type": "null"}]});
            }
        }
        _ => {}
    }
}

/// Where the description is in the user's cache, fetched with npm if it is not there yet.
fn fetch() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .expect("HOME is not set");
    let directory = cache.join("github-token-manager").join(format!("openapi-{VERSION}"));
    let file = directory.join(FILE);
    if !file.exists() {
        // Unpacked beside and then renamed: another test run may do the same.
        let fresh = directory.with_extension(std::process::id().to_string());
        std::fs::create_dir_all(&fresh).unwrap();
        let package = format!("@octokit/openapi@{VERSION}");
        run(
            &fresh,
            "npm",
            &["pack", "--silent", &package],
            "install Node.js, which brings npm",
        );
        let archive = format!("octokit-openapi-{VERSION}.tgz");
        run(&fresh, "tar", &["-xzf", &archive, FILE], "install tar");
        std::fs::remove_file(fresh.join(archive)).unwrap();
        if std::fs::rename(&fresh, &directory).is_err() {
            std::fs::remove_dir_all(&fresh).unwrap();
        }
    }
    assert!(
        file.exists(),
        "{} is missing; remove {} and try again",
        file.display(),
        directory.display()
    );
    file
}

fn run(directory: &Path, program: &str, arguments: &[&str], cure: &str) {
    let output = Command::new(program).args(arguments).current_dir(directory).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; {cure}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}: {stderr}",
        output.status
    );
}

#[tokio::test]
async fn mints_and_revocations_fit_the_description() {
    let description = Description::get();
    let client = Client::start().await;
    let mint = "/app/installations/{installation_id}/access_tokens";
    let scoped = client
        .mint(json!({"repositories": ["alpha", "gamma"], "permissions": {"contents": "read"}}))
        .await;
    assert_eq!(scoped.json["repositories"].as_array().unwrap().len(), 2);
    description.check("post", mint, &scoped, 201);
    let whole = client.mint(json!({})).await;
    description.check("post", mint, &whole, 201);
    description.check(
        "post",
        mint,
        &client.mint(json!({"permissions": {"contents": "admin"}})).await,
        422,
    );
    description.check(
        "post",
        mint,
        &client
            .post("/app/installations/67890/access_tokens", "x", &json!({}))
            .await,
        401,
    );
    let jwt = client.github.jwt().unwrap();
    description.check(
        "post",
        mint,
        &client
            .post("/app/installations/1/access_tokens", &jwt, &json!({}))
            .await,
        404,
    );
    client.github.suspend(client.installation());
    description.check("post", mint, &client.mint(json!({})).await, 403);
    client.github.unsuspend(client.installation());
    let token = whole.json["token"].as_str().unwrap();
    let revoked = client
        .send(Method::DELETE, "/installation/token", token, None)
        .await
        .unwrap();
    description.check("delete", "/installation/token", &revoked, 204);
}

#[tokio::test]
async fn the_app_and_its_installations_fit_the_description() {
    let description = Description::get();
    let client = Client::start().await;
    for (path, url) in [
        ("/app", "/app"),
        ("/app/installations", "/app/installations"),
        ("/app/installations/{installation_id}", "/app/installations/67890"),
        (
            "/repos/{owner}/{repo}/installation",
            "/repos/octo-org/alpha/installation",
        ),
        ("/orgs/{org}/installation", "/orgs/octo-org/installation"),
        ("/users/{username}/installation", "/users/octo-org/installation"),
    ] {
        description.check("get", path, &client.get_as_app(url).await, 200);
        description.check("get", path, &client.get_as_app(&format!("/api/v3{url}")).await, 200);
    }
    client.github.suspend(client.installation());
    let suspended = client.get_as_app("/orgs/octo-org/installation").await;
    assert!(suspended.json["suspended_by"].is_object());
    description.check("get", "/orgs/{org}/installation", &suspended, 200);
    client.github.rename_repository("octo-org", "alpha", "omega");
    let moved = client.get_as_app("/repos/octo-org/alpha/installation").await;
    description.check("get", "/repos/{owner}/{repo}/installation", &moved, 301);
    let nowhere = client.get_as_app("/repos/octo-org/nowhere/installation").await;
    description.check("get", "/repos/{owner}/{repo}/installation", &nowhere, 404);
}

#[tokio::test]
async fn what_a_token_sees_fits_the_description() {
    let description = Description::get();
    let client = Client::start().await;
    client.github.set_limits(Limits::github_com());
    let token = client.token(json!({})).await;
    for (path, url) in [
        ("/installation/repositories", "/installation/repositories"),
        ("/repos/{owner}/{repo}", "/repos/octo-org/alpha"),
        ("/rate_limit", "/rate_limit"),
        ("/meta", "/meta"),
    ] {
        description.check("get", path, &client.get(url, &token).await, 200);
    }
    let pulls = "/repos/{owner}/{repo}/pulls";
    let pull = client
        .post("/repos/octo-org/alpha/pulls", &token, &json!({"title": "t"}))
        .await;
    description.check("post", pulls, &pull, 422);
    let weak = client.token(json!({"permissions": {"contents": "read"}})).await;
    description.check(
        "post",
        pulls,
        &client.post("/repos/octo-org/alpha/pulls", &weak, &json!({})).await,
        403,
    );
    description.check(
        "get",
        "/installation/repositories",
        &client.get("/installation/repositories", "x").await,
        401,
    );
}

#[tokio::test]
async fn faults_that_speak_for_github_fit_the_description() {
    let description = Description::get();
    let client = Client::start().await;
    for fault in [
        Fault::JwtExpired,
        Fault::JwtUndecodable,
        Fault::IntegrationNotFound,
        Fault::Suspended,
        Fault::IpAllowList,
        Fault::SecondaryLimit {
            status: 403,
            retry_after: Some(60),
        },
        Fault::PrimaryLimit {
            status: 429,
            reset_in: std::time::Duration::from_secs(60),
        },
        Fault::NotFound,
        Fault::PermissionsNotGranted,
        Fault::RepositoriesNotAccessible,
        Fault::Unavailable(500),
    ] {
        client.github.fail_next(1, Some(Route::Mint), fault.clone());
        description.check_error(&format!("{fault:?}"), &client.mint(json!({})).await);
    }
}

#[tokio::test]
async fn an_app_that_is_handed_out_fits_the_description() {
    let description = Description::get();
    let client = Client::start().await;
    let path = "/app-manifests/{code}/conversions";
    register(
        &client,
        &manifest("acme-flux"),
        "/organizations/octo-org/settings/apps/new",
    )
    .await;
    let code = client.github.registrations()[0].code.clone();
    let converted = client
        .post(&format!("/app-manifests/{code}/conversions"), "", &json!({}))
        .await;
    description.check("post", path, &converted, 201);
    let again = client
        .post(&format!("/app-manifests/{code}/conversions"), "", &json!({}))
        .await;
    description.check("post", path, &again, 404);
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_noticed() {
    let description = Description::get();
    let client = Client::start().await;
    let schema = json!({"$ref": "#/components/schemas/installation-token"});
    let validator = description.validator(&schema);
    let good = client.mint(json!({"repositories": ["alpha"]})).await.json;
    assert!(validator.is_valid(&good));
    let spoilt = |pointer: &str, value: Value| {
        let mut answer = good.clone();
        *answer.pointer_mut(pointer).unwrap() = value;
        answer
    };
    for (pointer, value) in [
        ("/token", json!(null)),
        ("/repository_selection", json!("some")),
        ("/permissions/contents", json!("everything")),
        ("/repositories/0/owner", json!({"login": "octo-org"})),
        ("/repositories/0/html_url", json!("not a URL")),
        ("/repositories/0/created_at", json!("yesterday")),
    ] {
        assert!(!validator.is_valid(&spoilt(pointer, value)), "{pointer}");
    }
    assert!(
        validator.is_valid(&spoilt("/repositories/0/homepage", json!(null))),
        "nullable"
    );
}
