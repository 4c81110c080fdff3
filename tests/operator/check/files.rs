//! `gtm check -f`: which files are read, and what they are checked with.

use std::process::{Command, Output};

use lab::process::Folder;
use serde_json::{Value, json};

use super::{Report, github};
use crate::world::{World, configure};

fn object(kind: &str, name: &str, spec: &Value) -> String {
    json!({"apiVersion": "github.as-code.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}).to_string()
}

fn token(name: &str, spec: &Value) -> String {
    object("Token", name, spec)
}

fn write(folder: &Folder, name: &str, text: &str) -> String {
    folder.write(name, text).expect("a file").display().to_string()
}

fn objects(report: &Report) -> Vec<String> {
    let mut all: Vec<_> = report
        .links
        .iter()
        .map(|link| link["object"].as_str().unwrap_or_default().to_owned())
        .collect();
    all.dedup();
    all
}

fn refused(args: &[&str], parts: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gtm"));
    let Output { status, stderr, .. } = command.env_clear().arg("check").args(args).output().expect("gtm runs");
    let told = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(2), "{told}");
    assert!(parts.iter().all(|part| told.contains(part)), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_files_that_are_named_are_checked_and_those_of_a_folder_by_name() {
    let (github, folder) = github().await;
    let config = configure(&folder, &github);
    let broken = write(
        &folder,
        "broken.yaml",
        &token("broken", &json!({"repositories": "fleet"})),
    );
    let good = write(&folder, "good.yaml", &token("good", &json!({})));
    let report = Report::of(&config, None, &["-f", &broken, "-f", &good]);
    assert!(!report.success, "the first is broken");
    assert_eq!(objects(&report), ["Token broken", "Token good"]);
    report.expect("token", "bad", "spec.repositories: 'fleet' is no list: write one");

    let place = folder.path().join("all");
    std::fs::create_dir_all(place.join("below")).expect("a folder");
    for (name, kind) in [
        ("c.json", "Token"),
        ("a.yml", "Token"),
        ("b.yaml", "Token"),
        ("map.yaml", "ConfigMap"),
        ("notes.txt", "Token"),
        ("below/d.yaml", "Token"),
    ] {
        let text = object(kind, &format!("of-{}", name.replace('/', "-")), &json!({}));
        std::fs::write(place.join(name), text).expect("a file");
    }
    let report = Report::of(&config, None, &["-f", &place.display().to_string()]);
    assert!(report.success, "{:?}", report.links);
    assert_eq!(
        objects(&report),
        ["Token of-a.yml", "Token of-b.yaml", "Token of-c.json"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_which_there_is_nothing_to_check_is_named() {
    let (_github, folder) = github().await;
    let good = write(&folder, "good.yaml", &token("good", &json!({})));
    let other = write(&folder, "other.yaml", &object("ConfigMap", "c", &json!({})));
    let app = write(&folder, "app.yaml", &object("App", "a", &json!({})));
    let twice = write(&folder, "twice.yaml", "kind: Token\nkind: Token\n");
    let folder = folder.path().display().to_string();
    std::fs::create_dir(format!("{folder}/empty")).expect("a folder");
    refused(
        &["-f", &other, "-f", &good],
        &[&other, "holds no Token, ClusterToken or App"],
    );
    refused(&["-f", &format!("{folder}/empty")], &["/empty holds no Token"]);
    refused(&["-f", &app], &["there is no Token", "add one that names the App"]);
    refused(&["-f", &format!("{folder}/absent")], &["/absent cannot be read"]);
    refused(
        &["-f", &twice],
        &[&twice, "kind is given twice (line 2, column 1): keep one\n"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_of_the_files_counts_before_the_clusters_and_takes_one_for_its_key_alone() {
    let world = World::new().await;
    let config = world.folder.path().join("gtm.yaml");
    let spec = json!({"appID": world.github.app_id(), "installationID": 67890, "provider": "file",
        "key": world.folder.path().join("key.pem")});
    let app = write(&world.folder, "app.yaml", &object("App", "team", &spec));
    let of_team = token(
        "t",
        &json!({"appRef": {"name": "team"}, "permissions": {"contents": "read"}}),
    );
    let file = write(&world.folder, "token.yaml", &of_team);
    // Only Apps of the operator's own namespace may use a file of the operator's.
    let args = ["--namespace", "default", "-f", &app, "-f", &file];
    let report = Report::of(&config, None, &args);
    assert!(report.success, "{:?}", report.links);
    report.expect("app", "good", "default/team as the manifest has it");
    report.expect("can read", "good", "");

    let wrong = write(&world.folder, "app.yaml", &object("App", "team", &json!({"appId": 1})));
    let report = Report::of(&config, None, &["-f", &wrong, "-f", &file]);
    report.expect("app", "bad", "spec.appId is unknown: did you mean appID?");

    let spec = json!({"appID": 1, "provider": "secret", "keyRef": {"name": "team-key"}});
    let by_secret = write(&world.folder, "app.yaml", &object("App", "team", &spec));
    let args = ["-f", &by_secret, "-f", &file];
    let report = Report::of(&config, None, &args);
    report.expect(
        "cluster",
        "bad",
        "the key of the App team is in the Secret default/team-key",
    );
    let kubeconfig = world.cluster.kubeconfig_path();
    let report = Report::of(&config, Some(kubeconfig), &args);
    report.expect("configuration", "bad", "the Secret default/team-key does not exist");
}
