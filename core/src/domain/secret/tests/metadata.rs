//! Labels, annotations, and what is taken over from isometry/github-token-manager.

use proptest::prelude::*;

use super::*;
use crate::api::names::USERNAME;
use crate::domain::fixtures::token;

fn strings<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn bytes<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, Vec<u8>> {
    pairs
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        .into()
}

/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>
fn is_label_value(value: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    value.len() <= 63
        && edge(value.chars().next())
        && edge(value.chars().last())
        && value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[test]
fn the_users_labels_and_annotations_are_there_and_never_win_over_ours() {
    let mine = strings([
        ("team", "a"),
        (label::NAME, "x"),
        (label::INSTANCE, "x"),
        (label::PART_OF, "x"),
        (label::CREATED_BY, "x"),
        ("argocd.argoproj.io/secret-type", "repository"),
    ]);
    let spec = json!({"secret": {"format": "argoCDRepoCreds", "labels": mine,
        "annotations": {"note": "b", annotation::EXPIRES_AT: "2999-01-01T00:00:00Z"}}});
    let rendered = render(&fixtures::intent(spec), &site(SITES[0]), &issued(FAKE_TOKEN), "scope").unwrap();
    let labels = strings([
        ("team", "a"),
        (label::NAME, "Token"),
        (label::INSTANCE, "ci"),
        (label::PART_OF, MANAGER),
        (label::CREATED_BY, MANAGER),
        ("argocd.argoproj.io/secret-type", "repo-creds"),
    ]);
    assert_eq!(rendered.labels, labels);
    assert_eq!(rendered.annotations.get("note").map(String::as_str), Some("b"));
    let expires = rendered.annotations.get(annotation::EXPIRES_AT).map(String::as_str);
    assert_eq!(expires, Some("2026-01-02T04:04:05Z"));
}

#[test]
fn who_issued_the_token_is_written_down_and_believed_where_it_is_said() {
    let spec = json!({"appRef": {"name": "team", "namespace": "team-a"}});
    let intent = fixtures::intent(spec);
    let rendered = render(
        &intent,
        &site("https://API.github.com:443/"),
        &issued(FAKE_TOKEN),
        "scope",
    )
    .unwrap();
    let data = stored(&rendered);
    let said = |name| rendered.annotations.get(name).map(String::as_str);
    assert_eq!(said(annotation::BASE_URL), Some(BaseUrl::GITHUB_COM));
    assert_eq!(said(annotation::APP), intent.app.name().as_deref());
    for other in [Some("https://github.acme.example/api/v3"), None] {
        let mut changed = rendered.annotations.clone();
        changed.remove(annotation::BASE_URL);
        changed.extend(other.map(|url| (annotation::BASE_URL.to_owned(), url.to_owned())));
        assert_eq!(judge(&intent.secret, &changed, &data), Content::Tampered, "{other:?}");
    }
}

/// Its hash is what it was when nothing was said of that.
#[test]
fn a_secret_that_does_not_say_who_issued_its_token_is_believed() {
    let data = bytes([("token", "ghs_x")]);
    let said = strings([
        (annotation::SCOPE_HASH, "scope"),
        (annotation::CONTENT_HASH, "ovSX/izEUXG5+ih8Ig5preCwtUVdPMxzh9hbxN2A/zo="),
    ]);
    assert_eq!(judge(&intent(Format::Token).secret, &said, &data), Content::Intact);
}

#[test]
fn the_request_that_is_served_is_written_down() {
    let mut intent = intent(Format::Token);
    let request = |intent: &Intent| {
        let rendered = render(intent, &site(SITES[0]), &issued(FAKE_TOKEN), "scope").unwrap();
        rendered.annotations.get(annotation::REFRESH_REQUESTED).cloned()
    };
    assert_eq!(request(&intent), None);
    intent.refresh_request = Some("now".to_owned());
    assert_eq!(request(&intent).as_deref(), Some("now"));
}

#[test]
fn the_peers_secret_is_judged_by_its_filled_keys_and_becomes_ours_with_a_hash() {
    let life = (
        "2026-01-02T03:04:05Z".parse().unwrap(),
        "2026-01-02T04:04:05Z".parse().unwrap(),
    );
    for (format, data) in [
        (Format::Token, bytes([("token", FAKE_TOKEN), ("extra", "x")])),
        (
            Format::BasicAuth,
            bytes([("username", USERNAME), ("password", FAKE_TOKEN), ("extra", "x")]),
        ),
    ] {
        let intent = intent(format);
        let none = BTreeMap::new();
        assert_eq!(judge(&intent.secret, &none, &data), Content::Intact);
        let found = find_token(&data, None).unwrap();
        assert_eq!(found.expose_secret(), FAKE_TOKEN);
        let notes = adopt(&intent, &site(SITES[0]), "scope", life, &data);
        assert_eq!(judge(&intent.secret, &notes, &data), Content::Intact);
        let written = render(&intent, &site(SITES[0]), &issued(FAKE_TOKEN), "scope").unwrap();
        for (name, value) in &notes {
            assert_eq!(written.annotations.get(name), Some(value), "{name}");
        }
        for key in keys(&intent.secret) {
            let mut emptied = data.clone();
            emptied.insert(key.to_owned(), Vec::new());
            assert_eq!(judge(&intent.secret, &none, &emptied), Content::Tampered, "{key}");
            assert_eq!(judge(&intent.secret, &notes, &emptied), Content::Tampered, "{key}");
        }
    }
}

#[test]
fn the_peers_secret_of_the_other_kind_is_not_taken_for_the_wanted_one() {
    let data = bytes([("token", FAKE_TOKEN)]);
    assert_eq!(
        judge(&intent(Format::BasicAuth).secret, &BTreeMap::new(), &data),
        Content::Tampered
    );
}

#[test]
fn an_empty_secret_holds_no_token() {
    assert!(find_token(&BTreeMap::new(), None).is_none());
    assert!(find_token(&bytes([("token", "")]), None).is_none());
    let binary = BTreeMap::from([("token".to_owned(), vec![0xff, 0xfe])]);
    assert!(find_token(&binary, None).is_none());
    assert!(find_token(&binary, Some("hash")).is_none());
}

#[test]
fn managed_fields_tell_which_labels_and_annotations_were_ours() {
    let entry = |manager: &str, labels: Value, annotations: Value| {
        json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": {"f:labels": labels, "f:annotations": annotations}}})
    };
    let meta: ObjectMeta = serde_json::from_value(json!({"managedFields": [
        entry(MANAGER, json!({".": {}, "f:team": {}}), json!({"f:note": {}})),
        entry("manager", json!({"f:old": {}}), json!({})),
        entry("kubectl-label", json!({"f:theirs": {}}), json!({"f:theirs": {}})),
    ]}))
    .unwrap();
    let managed = managed_metadata(&meta);
    assert_eq!(managed.labels, BTreeSet::from(["team".to_owned(), "old".to_owned()]));
    assert_eq!(managed.annotations, BTreeSet::from(["note".to_owned()]));
    assert_eq!(managed_metadata(&ObjectMeta::default()), ManagedMetadata::default());
}

proptest! {
    #[test]
    fn every_name_that_an_object_can_have_gives_valid_labels(
        name in "([a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\\.){0,7}[a-z0-9]([a-z0-9-]{0,19}[a-z0-9])?"
    ) {
        let mut object = token(json!({}));
        object.metadata.name = Some(name.clone());
        let labels = labels(&Intent::new(&object).unwrap());
        let instance = labels.get(label::INSTANCE).unwrap();
        prop_assert!(labels.values().all(|value| is_label_value(value)), "{labels:?}");
        prop_assert!(name.starts_with(instance.as_str()) && (name.len() > 63 || *instance == name));
    }

    #[test]
    fn no_annotation_of_the_users_wins_over_ours(suffix in "[a-z-]{1,20}", value in ".{0,20}") {
        let name = format!("{}{suffix}", annotation::PREFIX);
        let plain = render(&fixtures::intent(json!({})), &site(SITES[0]), &issued(FAKE_TOKEN), "scope").unwrap();
        let spec = json!({"secret": {"annotations": {name: value}}});
        let with = render(&fixtures::intent(spec), &site(SITES[0]), &issued(FAKE_TOKEN), "scope").unwrap();
        prop_assert_eq!(plain.annotations, with.annotations);
    }
}

#[test]
fn a_secrets_labels_name_its_token() {
    let intent = fixtures::intent(json!({"secret": {"labels": {"team": "a"}}}));
    assert_eq!(labelled(&labels(&intent), "team-a"), Some(intent.key));
    let shared = Intent::new(&fixtures::cluster_token(json!({"secret": {"namespace": "team-a"}}))).unwrap();
    assert_eq!(labelled(&labels(&shared), "team-a"), Some(shared.key));
    let foreign = strings([(label::NAME, "something"), (label::INSTANCE, "ci")]);
    assert_eq!(labelled(&foreign, "team-a"), None);
}
