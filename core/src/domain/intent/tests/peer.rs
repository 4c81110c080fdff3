//! Manifests with every field that isometry/github-token-manager documents mean here what they mean there.

use serde::de::DeserializeOwned;

use super::super::*;
use crate::api::{ClusterToken, Token};

macro_rules! manifest {
    ($name:literal) => {
        read(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/fixtures/peer/",
            $name,
            ".yaml"
        )))
    };
}

fn read<T: DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap()
}

fn strings<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

#[test]
fn a_token_without_any_field_has_everything_for_half_an_hour() {
    let token: Token = manifest!("token-minimal");
    let intent = Intent::new(&token).unwrap();
    assert_eq!(intent.app, AppKey::Startup);
    assert_eq!(intent.scope, Scope::default());
    assert_eq!((intent.refresh, intent.retry), (minutes(30), minutes(5)));
    assert_eq!(intent.secret.key.to_string(), "team-a/minimal");
    assert_eq!(intent.secret.format, Format::Token);
}

#[test]
fn a_token_with_every_field_means_the_same() {
    let token: Token = manifest!("token-every-field");
    let intent = Intent::new(&token).unwrap();
    let app = AppKey::Object {
        namespace: Some("team-a".to_owned()),
        name: "team-app".to_owned(),
    };
    assert_eq!(intent.app, app);
    assert_eq!(intent.installation, Some(321));
    let permissions = strings([
        ("contents", "read"),
        ("metadata", "read"),
        ("repository_projects", "admin"),
        ("team_discussions", "write"),
        ("workflows", "write"),
    ]);
    assert_eq!(intent.scope.permissions, Some(permissions));
    assert_eq!(intent.scope.repositories, ["api", "web"]);
    assert_eq!(intent.scope.repository_ids, [111, 222]);
    assert_eq!((intent.refresh, intent.retry), (minutes(45), minutes(1)));
    assert_eq!(intent.secret.key.to_string(), "team-a/git-credentials");
    assert_eq!(intent.secret.format, Format::BasicAuth);
    assert_eq!(intent.secret.labels, strings([("team", "a")]));
    let annotations = strings([("replicator.example.org/replicate-to", "staging")]);
    assert_eq!(intent.secret.annotations, annotations);
}

#[test]
fn a_token_for_flux_has_username_and_password() {
    let token: Token = manifest!("token-flux");
    let intent = Intent::new(&token).unwrap();
    assert_eq!(intent.secret.format, Format::BasicAuth);
    assert_eq!(intent.secret.key.to_string(), "flux-system/flux");
    assert_eq!(intent.warnings, []);
}

#[test]
fn a_stored_token_keeps_its_defaults_and_the_life_that_its_status_tells() {
    let token: Token = manifest!("token-as-stored");
    let intent = Intent::new(&token).unwrap();
    assert_eq!(intent.installation, None);
    assert_eq!(
        (intent.scope.repositories.len(), intent.scope.repository_ids.len()),
        (0, 0)
    );
    assert_eq!((intent.refresh, intent.retry), (minutes(30), minutes(5)));
    assert_eq!(intent.secret.key.to_string(), "team-a/stored");
    assert_eq!(intent.secret.format, Format::Token);
    assert_eq!((intent.generation, intent.uid.len()), (2, 36));
    let status = token.into_status().unwrap();
    let life = status.installation_access_token.unwrap();
    assert_eq!(life.updated_at.unwrap().to_string(), "2026-01-02T03:04:05Z");
    assert_eq!(life.expires_at.unwrap().to_string(), "2026-01-02T04:04:05Z");
    assert_eq!(status.managed_secret.unwrap().name.as_deref(), Some("stored"));
}

#[test]
fn a_cluster_token_with_every_field_means_the_same() {
    let token: ClusterToken = manifest!("clustertoken-every-field");
    let intent = Intent::new(&token).unwrap();
    let app = AppKey::Object {
        namespace: Some("apps".to_owned()),
        name: "shared-app".to_owned(),
    };
    assert_eq!(intent.app, app);
    assert_eq!(intent.installation, Some(654));
    assert_eq!(intent.scope.permissions, Some(strings([("statuses", "write")])));
    assert_eq!(intent.scope.repositories, ["infrastructure"]);
    assert_eq!(intent.scope.repository_ids, [333]);
    assert_eq!(intent.refresh, minutes(10));
    assert_eq!(intent.retry, Duration::from_secs(30));
    assert_eq!(intent.secret.key.to_string(), "flux-system/status");
    assert_eq!(intent.secret.format, Format::BasicAuth);
    assert_eq!(intent.secret.labels, strings([("purpose", "status")]));
    assert_eq!(intent.secret.annotations, strings([("note", "yes")]));
}

#[test]
fn a_cluster_token_finds_its_app_in_the_operators_namespace() {
    let token: ClusterToken = manifest!("clustertoken-minimal");
    let intent = Intent::new(&token).unwrap();
    let app = AppKey::Object {
        namespace: None,
        name: "shared-app".to_owned(),
    };
    assert_eq!(intent.app, app);
    assert_eq!(intent.secret.key.to_string(), "default/minimal");
}

#[test]
fn extra_data_is_texts_beside_the_token_and_nothing_is_copied_out_of_other_objects() {
    let read = |extra: serde_json::Value, format: &str| {
        let token = serde_json::json!({"metadata": {"name": "t", "namespace": "n", "uid": "u"},
            "spec": {"secret": {"format": format, "extraData": extra}}});
        Intent::new(&serde_json::from_value::<Token>(token).unwrap())
    };
    let extra = serde_json::json!([
        {"inline": {"url": "first", "password": "not this"}},
        {"inline": {"url": "second", "type": "git"}},
        {"configMap": {"name": "ca", "keys": ["ca.crt"]}},
    ]);
    let intent = read(extra.clone(), "basicAuth").unwrap();
    assert_eq!(intent.secret.extra, strings([("url", "second"), ("type", "git")]));
    let [warning] = &intent.warnings[..] else {
        panic!("{:?}", intent.warnings)
    };
    assert_eq!(warning.reason, Reason::ExtraDataIgnored);
    assert!(
        warning.message.contains("spec.secret.extraData[2].configMap"),
        "{}",
        warning.message
    );
    // With other texts, or none, it is another form of the Secret.
    let marks = [
        extra,
        serde_json::json!([{"inline": {"url": "second"}}]),
        serde_json::json!([]),
    ];
    let marks = marks.map(|extra| secret::format_mark(&read(extra, "basicAuth").unwrap().secret));
    assert!(marks[0] != marks[1] && marks[1] != marks[2], "{marks:?}");
    assert_eq!(marks[2], "basicAuth");
    let wrong = read(serde_json::json!([{"inline": {"a/b": ""}}]), "token").unwrap_err();
    assert!(
        wrong.message.contains("spec.secret.extraData: a/b: "),
        "{}",
        wrong.message
    );
}
