//! `gtm check`, as its users run it.

mod cluster;
mod files;

use std::process::Command;

use jiff::SignedDuration;
use lab::github::{AppKey, Fault, GitHub, Route, Settings, TokenState};
use lab::process::Folder;
use serde_json::{Value, json};

use crate::world::{World, configure};

/// What `gtm check` says: check -> verdict and message, and whether it succeeded.
pub struct Report {
    links: Vec<Value>,
    pub success: bool,
}

impl Report {
    pub fn of(config: &std::path::Path, kubeconfig: Option<&std::path::Path>, args: &[&str]) -> Report {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gtm"));
        command
            .env_clear()
            .arg("check")
            .arg("--config")
            .arg(config)
            .args(["-o", "json"])
            .args(args);
        if let Some(kubeconfig) = kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let output = command.output().expect("gtm runs");
        let text = String::from_utf8(output.stdout).expect("a text");
        let links: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text} {}", String::from_utf8_lossy(&output.stderr)));
        Report {
            links: links.as_array().expect("a list").clone(),
            success: output.status.success(),
        }
    }

    fn verdict(&self, check: &str) -> (String, String) {
        let text = |link: &Value, field: &str| link[field].as_str().unwrap_or_default().to_owned();
        let found = self.links.iter().find(|link| link["check"] == check);
        let found = found.unwrap_or_else(|| panic!("{check} is not in {:?}", self.links));
        (text(found, "verdict"), text(found, "message"))
    }

    #[track_caller]
    pub fn expect(&self, check: &str, verdict: &str, part: &str) {
        let (found, message) = self.verdict(check);
        assert!(
            found == verdict && message.contains(part),
            "{check}: {found}: {message}"
        );
    }
}

async fn github() -> (GitHub, Folder) {
    let github = GitHub::start(Settings::default()).await.expect("the stand-in starts");
    (github, Folder::new().expect("a folder"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_chain_is_good_link_by_link_and_a_broken_link_ends_it() {
    let (github, folder) = github().await;
    let config = configure(&folder, &github);
    let good = Report::of(&config, None, &[]);
    assert!(good.success);
    for check in [
        "configuration",
        "key",
        "signature",
        "github",
        "clock",
        "installations",
        "installation",
    ] {
        good.expect(check, "good", "");
    }
    good.expect("key", "good", &github.key().expect("a key").fingerprint());
    assert_eq!(github.mint_count(), 0);

    github.set_clock_offset(SignedDuration::from_mins(10));
    let skewed = Report::of(&config, None, &[]);
    assert!(skewed.success);
    skewed.expect("clock", "doubtful", "NTP");

    let other = folder
        .write("other.pem", AppKey::generate().expect("a key").pkcs1_pem().as_bytes())
        .expect("a key");
    let config = folder
        .write("other.yaml", github.gtm_yaml("file", other.display()).as_bytes())
        .expect("a file");
    let wrong = Report::of(&config, None, &[]);
    assert!(!wrong.success);
    wrong.expect("signature", "good", "");
    wrong.expect("github", "bad", "AppAuthenticationFailed");
    assert!(
        wrong.links.iter().all(|link| link["check"] != "installation"),
        "{:?}",
        wrong.links
    );

    let config = github.gtm_yaml("file", folder.path().join("absent.pem").display());
    let config = folder.write("absent.yaml", config.as_bytes()).expect("a file");
    let absent = Report::of(&config, None, &[]);
    assert!(!absent.success);
    absent.expect("configuration", "bad", "absent.pem");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_tried_for_reading_pushing_and_pull_requests_without_a_cluster() {
    let (github, folder) = github().await;
    let config = configure(&folder, &github);
    let manifest = |permissions: &str| {
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\n---\napiVersion: github.as-code.io/v1\nkind: Token\nmetadata:\n  name: t\nspec:\n  permissions: {permissions}\n"
        );
        folder.write("token.yaml", text.as_bytes()).expect("a file")
    };
    let file = manifest("{contents: read}").display().to_string();
    let reader = Report::of(&config, None, &["-f", &file]);
    assert!(reader.success);
    reader.expect("can read", "good", "");
    reader.expect("can push", "doubtful", "Cannot push to branch");
    reader.expect("can open a pull request", "doubtful", "Cannot create PR");
    reader.expect("authentication", "good", "Authentication failed");

    let file = manifest("{contents: write, pull_requests: write}")
        .display()
        .to_string();
    let writer = Report::of(&config, None, &["-f", &file]);
    assert!(writer.success);
    writer.expect("can push", "good", "");
    writer.expect("can open a pull request", "good", "");

    let file = manifest("{contents: write, organization_administration: write}")
        .display()
        .to_string();
    let greedy = Report::of(&config, None, &["-f", &file]);
    assert!(!greedy.success);
    greedy.expect("permissions", "bad", "PermissionsNotGranted");
    for token in github.tokens() {
        assert_eq!(
            github.token_state(&token),
            TokenState::Revoked,
            "what was issued for a check is revoked"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_manifest_of_a_file_is_checked_in_a_section_of_its_own() {
    let (github, folder) = github().await;
    let config = configure(&folder, &github);
    let token = |name: &str, spec: &str| {
        format!("apiVersion: github.as-code.io/v1\nkind: Token\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n")
    };
    let all = [
        token("one", "{permissions: {contents: read}}"),
        token("two", "{permisions: {contents: read}}"),
        token("three", "{appRef: {name: mine}}"),
    ];
    let file = folder
        .write("tokens.yaml", all.concat())
        .expect("a file")
        .display()
        .to_string();
    let report = Report::of(&config, None, &["-f", &file]);
    assert!(!report.success);
    let of = |object: &str| Report {
        links: report
            .links
            .iter()
            .filter(|link| link["object"] == object)
            .cloned()
            .collect(),
        success: true,
    };
    of("Token one").expect("can read", "good", "");
    of("Token two").expect("token", "bad", "spec.permisions is unknown: did you mean permissions?");
    of("Token three").expect("cluster", "bad", "to check the App mine");
    of("Token three").expect("cluster", "bad", "KUBECONFIG");
    assert_eq!(github.mint_count(), 1);

    let mut command = Command::new(env!("CARGO_BIN_EXE_gtm"));
    command
        .env_clear()
        .args(["check", "-f", &file, "--config"])
        .arg(&config);
    let output = command.output().expect("gtm runs");
    let (text, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.starts_with("Token one\nok token") && text.contains("\n\nToken two\nNO token"),
        "{text}"
    );
    assert!(
        error.contains("error: the check of token failed for Token two"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_objects_of_a_list_are_checked_as_well() {
    let (github, folder) = github().await;
    let config = configure(&folder, &github);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}},
        {"apiVersion": "github.as-code.io/v1", "kind": "Token", "metadata": {"name": "one"}},
        {"apiVersion": "github.as-code.io/v1", "kind": "TokenList", "items": [
            {"apiVersion": "github.as-code.io/v1", "kind": "Token", "metadata": {"name": "two"}, "spec": {"x": 1}}]}]});
    let file = folder.write("list.yaml", list.to_string()).expect("a file");
    let report = Report::of(&config, None, &["-f", &file.display().to_string()]);
    let mut objects: Vec<_> = report.links.iter().map(|link| link["object"].clone()).collect();
    objects.dedup();
    assert_eq!(objects, ["Token one", "Token two"]);
    let two = report.links.last().expect("a check of the second");
    assert!(
        two["message"]
            .as_str()
            .is_some_and(|said| said.contains("spec.x is unknown")),
        "{two}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_is_given_some_seconds_and_may_be_good_for_an_organization_alone() {
    let (github, folder) = github().await;
    let config = configure(&folder, &github);
    let manifest = "apiVersion: github.as-code.io/v1\nkind: Token\nmetadata: {name: t}\nspec: {}\n";
    let file = folder.write("token.yaml", manifest.as_bytes()).expect("a file");
    let file = file.display().to_string();
    github.fail_next(1, Some(Route::Token), Fault::BadCredentials);
    let late = Report::of(&config, None, &["-f", &file]);
    assert!(late.success);
    late.expect("authentication", "good", "");

    let no_repositories = Fault::Status {
        status: 403,
        body: json!({"message": "Resource not accessible by integration"}).to_string(),
    };
    for (fault, success, verdict, part) in [
        (no_repositories, true, "doubtful", "permissions of an organization"),
        (Fault::BadCredentials, false, "bad", "does not take"),
    ] {
        github.fail_while(Some(Route::Token), fault);
        let report = Report::of(&config, None, &["-f", &file]);
        github.clear_faults();
        assert_eq!(report.success, success, "{verdict}");
        report.expect("authentication", verdict, part);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_cluster_is_checked_with_the_app_that_it_names() {
    let world = World::new().await;
    let config = world.folder.path().join("gtm.yaml");
    world.token("plain", json!({"permissions": {"contents": "read"}})).await;
    world.ready("plain").await;
    let kubeconfig = Some(world.cluster.kubeconfig_path());
    let name = format!("{}/plain", world.namespace);
    let plain = Report::of(&config, kubeconfig, &["token", &name]);
    assert!(plain.success, "{:?}", plain.links);
    plain.expect("token", "good", &name);
    plain.expect("can read", "good", "");

    world.token("lost", json!({"appRef": {"name": "nowhere"}})).await;
    world.condition("lost", "Ready", "False", "AppNotFound").await;
    let lost = Report::of(&config, kubeconfig, &["token", &format!("{}/lost", world.namespace)]);
    assert!(!lost.success);
    lost.expect("configuration", "bad", "nowhere");

    let absent = Report::of(&config, kubeconfig, &["token", &format!("{}/absent", world.namespace)]);
    assert!(!absent.success);
    absent.expect("token", "bad", "does not exist");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_installation_that_is_none_or_suspended_is_no_good_one() {
    let (github, folder) = github().await;
    let config = configure(&folder, &github);
    assert!(github.suspend(67890));
    let report = Report::of(&config, None, &[]);
    assert!(!report.success);
    report.expect("installation", "bad", "InstallationSuspended");
    report.expect("installation", "bad", "its owner lifts that");

    assert!(github.unsuspend(67890));
    let text = std::fs::read_to_string(&config).expect("it is there");
    std::fs::write(&config, text.replace("67890", "77")).expect("it is written");
    let report = Report::of(&config, None, &[]);
    assert!(!report.success);
    report.expect("installation", "bad", "installation_id 77: it is none of the App's");
}

#[tokio::test(flavor = "multi_thread")]
async fn until_when_github_wants_nothing_to_be_asked_is_told() {
    let (github, folder) = github().await;
    let config = configure(&folder, &github);
    let limit = Fault::SecondaryLimit {
        status: 403,
        retry_after: Some(120),
    };
    github.fail_while(None, limit);
    let until = Report::of(&config, None, &[]).verdict("github").1;
    let at = until.rsplit_once("ask again after ").expect(&until).1;
    let at: jiff::Timestamp = at.parse().expect("a time");
    let left = at.duration_since(github.now());
    assert!(
        left > SignedDuration::from_secs(60) && left <= SignedDuration::from_secs(121),
        "{left}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_ready_is_told_and_nothing_is_issued_where_the_operator_would_not() {
    let world = World::new().await;
    let config = world.folder.path().join("gtm.yaml");
    let foreign = json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "taken", "namespace": world.namespace}, "stringData": {"a": "b"}});
    world.cluster.apply(&foreign.to_string()).await.expect("a Secret");
    let policy = json!({"apiVersion": "github.as-code.io/v1", "kind": "TokenPolicy", "metadata": {"name": "none"},
        "spec": {"permissions": {"*": "read"}}});
    world.cluster.apply(&policy.to_string()).await.expect("a policy");
    let read = |name: &str| json!({"permissions": {"contents": "read"}, "secret": {"name": name}});
    world.token("taken", read("taken")).await;
    world
        .token("greedy", json!({"permissions": {"contents": "write"}}))
        .await;
    world.condition("taken", "Ready", "False", "SecretConflict").await;
    world.condition("greedy", "Ready", "False", "PolicyForbids").await;
    for (name, reason) in [("taken", "SecretConflict"), ("greedy", "PolicyForbids")] {
        let name = format!("{}/{name}", world.namespace);
        let report = Report::of(&config, Some(world.cluster.kubeconfig_path()), &["token", &name]);
        assert!(!report.success, "{:?}", report.links);
        report.expect("token", "bad", &format!("Failing: {reason}"));
    }
    assert_eq!(world.github.mint_count(), 0);
}
