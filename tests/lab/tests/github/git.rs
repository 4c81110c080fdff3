//! Git with the rights of a token.

use std::path::{Path, PathBuf};

use lab::github::{Fault, GitHub, Route};
use serde_json::json;
use tokio::process::Command;

use crate::client::{Client, until};

/// A directory of one test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("github-tests-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs git; what it said on standard error, if it failed.
async fn git(directory: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("git")
        .args([
            "-c",
            "credential.helper=",
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
        ])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "true")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .await
        .unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn url(github: &GitHub, token: &str, repository: &str) -> String {
    let url = github.clone_url("octo-org", repository);
    if token.is_empty() {
        url
    } else {
        url.replacen("://", &format!("://x-access-token:{token}@"), 1)
    }
}

#[tokio::test]
async fn a_token_clones_and_pushes_what_it_may() {
    let client = Client::start().await;
    let scratch = Scratch::new("push");
    let writer = client
        .token(json!({"repositories": ["alpha"], "permissions": {"contents": "write"}}))
        .await;
    let clone = scratch.0.join("clone");
    git(
        &scratch.0,
        &["clone", "-q", &url(&client.github, &writer, "alpha"), "clone"],
    )
    .await
    .unwrap();
    assert_eq!(
        std::fs::read_to_string(clone.join("README.md")).unwrap(),
        "# octo-org/alpha\n"
    );
    std::fs::write(clone.join("new.txt"), "x".repeat(3 << 20)).unwrap();
    git(&clone, &["checkout", "-q", "-b", "topic"]).await.unwrap();
    git(&clone, &["add", "."]).await.unwrap();
    git(&clone, &["commit", "-q", "-m", "new"]).await.unwrap();
    git(&clone, &["push", "-q", "origin", "topic"]).await.unwrap();

    let reader = client
        .token(json!({"repositories": ["alpha"], "permissions": {"contents": "read"}}))
        .await;
    let readable = url(&client.github, &reader, "alpha");
    git(&scratch.0, &["clone", "-q", "-b", "topic", &readable, "again"])
        .await
        .unwrap();
    assert!(scratch.0.join("again/new.txt").exists());
    let refused = git(&clone, &["push", "-q", &readable, "topic:other"])
        .await
        .unwrap_err();
    assert!(refused.contains("403") && refused.contains("not granted"), "{refused}");

    let opener = client.token(json!({"permissions": {"pull_requests": "write"}})).await;
    let asked = json!({"title": "New", "head": "topic", "base": "main"});
    let pull = client.post("/repos/octo-org/alpha/pulls", &opener, &asked).await;
    assert_eq!(
        (pull.status, &pull.json["state"]),
        (201, &json!("open")),
        "{}",
        pull.json
    );
}

#[tokio::test]
async fn a_private_repository_needs_a_good_token_of_its_own() {
    let client = Client::start().await;
    let scratch = Scratch::new("private");
    let clone = |token: String, repository: &'static str| {
        let url = url(&client.github, &token, repository);
        let directory = scratch.0.clone();
        async move { git(&directory, &["ls-remote", "-q", &url]).await }
    };
    let other = client.token(json!({"repositories": ["beta"]})).await;
    let no_contents = client.token(json!({"permissions": {"issues": "read"}})).await;
    client
        .github
        .adjust(|knobs| knobs.token_lifetime = std::time::Duration::from_secs(1));
    let expired = client.token(json!({})).await;
    until("it expires", || {
        client.github.token_state(&expired) == lab::github::TokenState::Expired
    })
    .await;
    let failed = |refusal: Result<(), String>, text: &str| {
        let said = refusal.unwrap_err();
        assert!(said.contains(text), "{said}");
    };
    clone(other.clone(), "beta").await.unwrap();
    failed(clone(String::new(), "alpha").await, "Authentication failed");
    failed(clone("ghs_wrong".to_owned(), "alpha").await, "Authentication failed");
    failed(clone(expired, "alpha").await, "Authentication failed");
    failed(clone(other, "alpha").await, "not found");
    failed(clone(no_contents, "alpha").await, "403");
    clone(String::new(), "gamma").await.unwrap();
}

#[tokio::test]
async fn a_bearer_header_and_a_renamed_repository_work_too() {
    let client = Client::start().await;
    let scratch = Scratch::new("bearer");
    let token = client.token(json!({})).await;
    assert!(client.github.rename_repository("octo-org", "alpha", "omega"));
    let header = format!("http.extraHeader=Authorization: Bearer {token}");
    let url = url(&client.github, "", "alpha");
    git(&scratch.0, &["-c", &header, "clone", "-q", &url, "clone"])
        .await
        .unwrap();
    assert!(scratch.0.join("clone/README.md").exists());
}

#[tokio::test]
async fn git_can_fail_on_command() {
    let client = Client::start().await;
    let scratch = Scratch::new("fault");
    let token = client.token(json!({})).await;
    let url = url(&client.github, &token, "alpha");
    client.github.fail_next(1, Some(Route::Git), Fault::Unavailable(503));
    assert!(
        git(&scratch.0, &["ls-remote", "-q", &url])
            .await
            .unwrap_err()
            .contains("503")
    );
    git(&scratch.0, &["ls-remote", "-q", &url]).await.unwrap();
}
