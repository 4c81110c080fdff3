//! Every form of the Secret, read by the programs that it is for, where they are on this machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lab::process::Folder;
use serde_json::{Value, json};

use crate::world::World;

/// A Token of this form, and its Secret's keys and values, its type and its token.
async fn issue(world: &World, secret: Value) -> (BTreeMap<String, String>, String, String) {
    let form = secret["format"].as_str().expect("a form");
    let name = form.to_lowercase();
    world.token(&name, json!({"secret": secret})).await;
    world.ready(&name).await;
    let token = world.github.tokens().last().expect("a token").to_string();
    let kind = world.secrets().get(&name).await.expect("the Secret").type_;
    let data = world.data(&name).await.expect("data");
    (data, kind.expect("a type"), token)
}

/// A home of its own for git and curl: nothing of the machine's configuration is read.
struct Home(Folder);

impl Home {
    fn with(file: &str, content: &str) -> Home {
        let home = Folder::new().expect("a folder");
        home.write(file, content).expect("written");
        Home(home)
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.0.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0");
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "test");
            command.env(format!("GIT_{role}_EMAIL"), "test@example.com");
        }
        let run = tokio::task::spawn_blocking(move || command.output());
        run.await.expect("it ends").expect("it starts")
    }

    async fn git(&self, arguments: &[&str]) {
        let output = self.run("git", arguments).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {said}");
    }

    /// Clones, commits and pushes, with whatever this home has to be let in.
    async fn clone_and_push(&self, url: &str) {
        self.git(&["clone", "--quiet", url, "work"]).await;
        let work = self.0.path().join("work");
        // Other than what an earlier clone pushed.
        std::fs::write(work.join("new"), work.display().to_string()).expect("written");
        let at = work.to_str().expect("a path");
        self.git(&["-C", at, "add", "new"]).await;
        self.git(&["-C", at, "commit", "--quiet", "-m", "new"]).await;
        self.git(&["-C", at, "push", "--quiet", "origin", "HEAD"]).await;
    }
}

/// git and curl know how to be let in only by what the Secret gave them.
async fn refuses_strangers(url: &str) {
    let home = Home::with("empty", "");
    let output = home.run("git", &["clone", "--quiet", url, "work"]).await;
    assert!(!output.status.success(), "anyone can clone: the test proves nothing");
}

#[tokio::test]
async fn git_clones_and_pushes_with_each_form_that_is_made_for_it() {
    let world = World::new().await;
    let url = world.github.clone_url("octo-org", "alpha");
    refuses_strangers(&url).await;

    let (data, kind, _) = issue(&world, json!({"format": "gitCredentials"})).await;
    assert_eq!(kind, "Opaque");
    let home = Home::with("credentials", &data[".git-credentials"]);
    let store = format!("store --file {}", home.0.path().join("credentials").display());
    home.git(&["config", "--global", "credential.helper", &store]).await;
    home.clone_and_push(&url).await;

    let (data, kind, _) = issue(&world, json!({"format": "gitConfig"})).await;
    assert_eq!(kind, "Opaque");
    Home::with(".gitconfig", &data[".gitconfig"]).clone_and_push(&url).await;

    let (data, kind, _) = issue(&world, json!({"format": "netrc"})).await;
    assert_eq!(kind, "Opaque");
    let home = Home::with(".netrc", &data[".netrc"]);
    home.clone_and_push(&url).await;
    let rest = format!("{}/repos/octo-org/alpha", world.github.url());
    let output = home
        .run("curl", &["--silent", "--show-error", "--netrc", "--fail", &rest])
        .await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let repository: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(repository["full_name"], "octo-org/alpha");
    let output = home.run("curl", &["--silent", "--fail", &rest]).await;
    assert!(!output.status.success(), "curl is let in without the file");

    // As Flux, a CI job or a person would: user name and password as they are.
    let (data, kind, token) = issue(&world, json!({"format": "basicAuth"})).await;
    assert_eq!(
        (kind.as_str(), &data["password"]),
        ("github.as-code.io/basic-auth", &token)
    );
    let with = format!("://{}:{}@", data["username"], data["password"]);
    Home::with("empty", "").clone_and_push(&url.replace("://", &with)).await;

    let (data, kind, token) = issue(&world, json!({"format": "token"})).await;
    assert_eq!(kind, "github.as-code.io/token");
    assert_eq!(
        data,
        BTreeMap::from([("token".to_owned(), token)]),
        "no line end behind it"
    );
}

#[tokio::test]
async fn the_forms_of_other_programs_hold_what_those_read() {
    let world = World::new().await;
    let url = world.github.url();
    let host = url.trim_start_matches("http://");

    let (data, kind, token) = issue(&world, json!({"format": "dockerConfigJson"})).await;
    assert_eq!(kind, "kubernetes.io/dockerconfigjson");
    let docker: Value = serde_json::from_str(&data[".dockerconfigjson"]).expect("JSON");
    let auth = STANDARD.encode(format!("x-access-token:{token}"));
    let wanted = json!({"username": "x-access-token", "password": token, "auth": auth});
    assert_eq!(docker["auths"][format!("containers.{host}")], wanted, "{docker}");

    let (data, kind, token) = issue(&world, json!({"format": "argoCDRepoCreds"})).await;
    assert_eq!(kind, "Opaque");
    let root = format!("{url}/");
    let pairs = [
        ("type", "git"),
        ("url", &root),
        ("username", "x-access-token"),
        ("password", &token),
    ];
    let wanted = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(data, BTreeMap::from(wanted));
    let labels = world
        .secrets()
        .get("argocdrepocreds")
        .await
        .expect("it")
        .metadata
        .labels
        .expect("labels");
    assert_eq!(labels["argocd.argoproj.io/secret-type"], "repo-creds");

    let (data, _, token) = issue(&world, json!({"format": "githubProviderJson"})).await;
    let provider: Value = serde_json::from_str(&data["credentials"]).expect("JSON");
    assert_eq!(provider, json!({"token": token, "base_url": format!("{url}/")}));

    let template = json!({
        "config.json": "{\"t\": \"{{ .token }}\", \"u\": \"{{.url}}\", \"a\": \"{{ .apiURL }}\", \"h\": \"{{ .host }}\"}",
        "header": "Authorization: Basic {{ .basicAuth }}",
        "until": "{{ .username }} {{ .expiresAt }}",
        "plain": "no placeholder"
    });
    let (data, kind, token) = issue(&world, json!({"format": "template", "template": template})).await;
    assert_eq!(kind, "Opaque");
    let config: Value = serde_json::from_str(&data["config.json"]).expect("JSON");
    assert_eq!(config, json!({"t": token, "u": url, "a": url, "h": host}));
    let auth = STANDARD.encode(format!("x-access-token:{token}"));
    assert_eq!(data["header"], format!("Authorization: Basic {auth}"));
    let expires_at = world.github.mints().last().expect("a mint").expires_at;
    assert_eq!(data["until"], format!("x-access-token {expires_at}"));
    assert_eq!((data.len(), &*data["plain"]), (4, "no placeholder"));
}

#[tokio::test]
async fn a_template_that_cannot_be_filled_in_is_told_and_costs_no_token() {
    let world = World::new().await;
    let spec = json!({"secret": {"format": "template", "template": {"k": "{{ .tokn }}"}}});
    world.token("demo", spec).await;
    let ready = world.condition("demo", "Ready", "False", "InvalidTemplate").await;
    for part in ["spec.secret.template['k']", "{{ .tokn }}", "known: .token"] {
        assert!(ready.message.contains(part), "{}", ready.message);
    }
    assert_eq!(world.github.mint_count(), 0);
    let spec = json!({"secret": {"format": "template", "template": {"k": "{{ .token }}"}}});
    world.token("demo", spec).await;
    world.ready("demo").await;
    let token = world.github.tokens()[0].to_string();
    assert_eq!(world.data("demo").await.unwrap()["k"], token);
}

#[tokio::test]
async fn the_programs_that_are_tested_are_here() {
    for program in ["git", "curl"] {
        let found = ["/usr/local/bin", "/usr/bin", "/bin"].map(|folder| Path::new(folder).join(program).exists());
        assert!(found.contains(&true), "{program} is missing: apt-get install {program}");
    }
}
