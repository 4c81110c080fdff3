//! README and docs say what the code does.

use std::path::Path;
use std::process::Command;

use github_token_manager::api::{App, ClusterToken, Format, Reason, Token};
use github_token_manager::domain::intent::Intent;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}

/// The output of `gtm` with these arguments.
fn gtm(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gtm"))
        .args(args)
        .output()
        .expect("gtm runs");
    String::from_utf8(output.stdout).expect("a text")
}

#[test]
fn every_reason_has_its_cure() {
    let text = read("docs/troubleshooting.md");
    for reason in Reason::ALL {
        assert!(
            text.contains(&format!("| `{reason}` |")),
            "docs/troubleshooting.md lacks {reason}"
        );
    }
}

#[test]
fn every_reason_in_the_docs_exists() {
    let text = read("docs/troubleshooting.md");
    let table = text.split("## By what people see").next().expect("a table");
    for line in table.lines().filter_map(|line| line.strip_prefix("| `")) {
        let name = line.split('`').next().unwrap_or_default();
        assert!(
            Reason::ALL.iter().any(|reason| reason.as_str() == name),
            "{name} is no reason"
        );
    }
}

#[test]
fn every_flag_and_variable_is_in_the_readme() {
    let readme = read("README.md");
    let help = gtm(&["manager", "--help"]);
    let words = help.split(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c)));
    let mut seen = 0;
    for word in words.filter(|word| word.starts_with("--") && word.len() > 2 || word.starts_with("GTM_")) {
        if word != "--help" {
            assert!(readme.contains(word), "README.md lacks {word}");
            seen += 1;
        }
    }
    assert!(seen > 10, "{help}");
}

#[test]
fn every_configuration_key_is_in_the_readme() {
    let readme = read("README.md");
    let help = gtm(&["manager", "--help"]);
    let keys = help
        .split("Its keys:")
        .nth(1)
        .and_then(|rest| rest.split('.').next())
        .expect("the keys");
    let keys: Vec<&str> = keys.split(',').map(str::trim).collect();
    assert!(keys.len() > 10, "{keys:?}");
    for key in keys {
        assert!(
            readme.contains(&format!("| `{key}` | `GTM_{}`", key.to_uppercase())),
            "README.md lacks {key}"
        );
    }
}

#[test]
fn every_form_of_secret_is_in_the_readme() {
    let readme = read("README.md");
    for format in Format::ALL {
        assert!(
            readme.contains(&format!("| `{}` |", format.as_str())),
            "README.md lacks {}",
            format.as_str()
        );
    }
}

#[test]
fn every_metric_is_in_the_readme() {
    let readme = read("README.md");
    let text = github_token_manager::telemetry::metrics::Metrics::new("test")
        .render()
        .expect("metrics");
    let families = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let families: Vec<&str> = families.collect();
    assert!(families.len() >= 10, "{families:?}");
    for family in families {
        assert!(readme.contains(&format!("`{family}")), "README.md lacks {family}");
    }
}

#[test]
fn every_manifest_in_readme_and_examples_means_something() {
    let readme = read("README.md");
    let blocks = readme
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let mut manifests: Vec<(String, String)> = blocks.map(|text| ("README.md".to_owned(), text.to_owned())).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples");
    for entry in std::fs::read_dir(folder).expect("docs/examples") {
        let path = entry.expect("an entry").path();
        manifests.push((
            path.display().to_string(),
            std::fs::read_to_string(&path).expect("a text"),
        ));
    }
    assert!(manifests.len() >= 5);
    let documents = manifests.into_iter().flat_map(|(place, text)| {
        let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).expect(&place);
        documents.into_iter().map(move |document| (place.clone(), document))
    });
    for (place, value) in documents {
        if value["kind"] == "App" {
            serde_json::from_value::<App>(value).expect(&place);
            continue;
        }
        if value["kind"] == "Pod" {
            let annotations = value["metadata"]["annotations"].as_object().expect(&place);
            let ours = |name: &String| name.strip_prefix("github.as-code.io/").map(str::to_owned);
            let keys: Vec<String> = annotations.keys().filter_map(ours).collect();
            let known = github_token_manager::api::names::pod::ALL;
            assert!(
                !keys.is_empty() && keys.iter().all(|key| known.contains(&&**key)),
                "{place}: {keys:?}"
            );
            continue;
        }
        let intent = match value["kind"].as_str() {
            Some("Token") => Intent::new(&serde_json::from_value::<Token>(value).expect(&place)),
            Some("ClusterToken") => Intent::new(&serde_json::from_value::<ClusterToken>(value).expect(&place)),
            other => panic!("{place}: {other:?} is no kind of ours"),
        };
        assert_eq!(intent.expect(&place).warnings, [], "{place}");
    }
}

#[test]
fn every_annotation_of_a_pod_and_every_field_of_a_policy_is_in_the_guide() {
    let guide = read("docs/pods.md");
    for key in github_token_manager::api::names::pod::ALL {
        assert!(guide.contains(&format!("| `{key}` |")), "docs/pods.md lacks {key}");
    }
    let policy = read("crds/github.as-code.io_tokenpolicies.yaml");
    let value: serde_json::Value = serde_saphyr::from_str(&policy).expect("YAML");
    let spec = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    let fields = spec.as_object().expect("fields");
    assert!(fields.len() >= 10, "{fields:?}");
    for field in fields.keys() {
        assert!(guide.contains(&format!("| `{field}` |")), "docs/pods.md lacks {field}");
    }
}
