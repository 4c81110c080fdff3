mod peer;
mod wrong;

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::fixtures::{cluster_token, intent, refused, token};

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[test]
fn an_empty_token_asks_the_startup_app_for_everything_and_keeps_a_secret_of_its_own_name() {
    let intent = intent(json!({}));
    assert_eq!(intent.key.to_string(), "Token team-a/ci");
    assert_eq!(intent.app, AppKey::Startup);
    assert_eq!(intent.installation, None);
    assert_eq!(intent.scope, Scope::default());
    assert_eq!(intent.refresh, Duration::from_secs(30 * 60));
    assert_eq!(intent.retry, Duration::from_secs(5 * 60));
    assert_eq!(intent.revoke_previous_after, None);
    assert_eq!(intent.secret.key.to_string(), "team-a/ci");
    assert_eq!(intent.secret.format, Format::Token);
    assert_eq!(intent.refresh_request, None);
    assert_eq!(intent.warnings, []);
}

#[test]
fn a_token_finds_its_app_in_its_own_namespace_and_a_cluster_token_in_any() {
    let own = intent(json!({"appRef": {"name": "app"}}));
    let object = |namespace: Option<&str>| AppKey::Object {
        namespace: namespace.map(str::to_owned),
        name: "app".to_owned(),
    };
    assert_eq!(own.app, object(Some("team-a")));
    for (app_ref, key) in [
        (json!({"name": "app"}), object(None)),
        (json!({"name": "app", "namespace": "apps"}), object(Some("apps"))),
    ] {
        let shared = cluster_token(json!({"appRef": app_ref, "secret": {"namespace": "flux-system"}}));
        let shared = Intent::new(&shared).unwrap();
        assert_eq!(shared.app, key);
        assert_eq!(shared.key.to_string(), "ClusterToken shared");
        assert_eq!(shared.secret.key.to_string(), "flux-system/shared");
    }
}

#[test]
fn five_hundred_repositories_are_taken() {
    let names: Vec<String> = (0..500).map(|i| format!("repo-{i}")).collect();
    assert_eq!(intent(json!({"repositories": names})).scope.repositories.len(), 500);
}

#[test]
fn an_installation_of_zero_is_none() {
    assert_eq!(intent(json!({"installationID": 0})).installation, None);
    assert_eq!(intent(json!({"installationID": 42})).installation, Some(42));
}

#[test]
fn durations_are_read_as_go_writes_them() {
    for (text, wanted) in [
        ("1h30m", 5400.0),
        ("1h30m0s", 5400.0),
        ("1h0m0s", 3600.0),
        ("90s", 90.0),
        ("1m30s", 90.0),
        ("1.5h", 5400.0),
        ("0.5h", 1800.0),
        ("1m0.5s", 60.5),
        ("5400000ms", 5400.0),
        ("2000000us", 2.0),
        ("2000000µs", 2.0),
        ("3000000000ns", 3.0),
        ("+45m", 2700.0),
        ("300ms", 0.3),
        ("0s", 0.0),
    ] {
        let mut warnings = Vec::new();
        let read = interval("refreshInterval", text, (0, 24 * 3600), &mut warnings)
            .unwrap_or_else(|p| panic!("{}", p.message));
        assert!((seconds(read) - wanted).abs() < 1e-6, "{text} was read as {read:?}");
        assert_eq!(warnings, [], "{text}");
    }
}

#[test]
fn an_interval_out_of_bounds_is_brought_to_the_nearest_bound_with_a_warning() {
    for (field, text, used) in [
        ("refreshInterval", "300ms", 60),
        ("refreshInterval", "0s", 60),
        ("refreshInterval", "1h", 55 * 60),
        ("refreshInterval", "8760h", 55 * 60),
        ("retryInterval", "1ms", 1),
        ("retryInterval", "90m", 3600),
        ("revokePreviousAfter", "1m", 600),
    ] {
        let intent = intent(json!({field: text}));
        let read = match field {
            "refreshInterval" => intent.refresh,
            "retryInterval" => intent.retry,
            _ => intent.revoke_previous_after.unwrap(),
        };
        assert_eq!(read, Duration::from_secs(used), "{field}: {text}");
        let [warning] = intent.warnings.as_slice() else {
            panic!("{field}: {text}: {:?}", intent.warnings);
        };
        assert_eq!(warning.reason, Reason::IntervalOutOfBounds);
        for part in [
            &format!("spec.{field}"),
            &format!("'{text}'"),
            &format!("{used}s is used"),
        ] {
            assert!(
                warning.message.contains(part.as_str()),
                "{part:?} is not in: {}",
                warning.message
            );
        }
    }
}

#[test]
fn the_bounds_themselves_are_within_bounds() {
    for (field, text) in [
        ("refreshInterval", "1m"),
        ("refreshInterval", "55m"),
        ("retryInterval", "1s"),
        ("retryInterval", "1h"),
        ("revokePreviousAfter", "10m"),
    ] {
        assert_eq!(intent(json!({field: text})).warnings, [], "{field}: {text}");
    }
}

#[test]
fn an_unknown_permission_or_level_is_passed_on_with_a_warning() {
    let intent = intent(json!({"permissions": {"content": "read", "issues": "own", "metadata": "read"}}));
    let asked = intent.scope.permissions.unwrap();
    assert_eq!(asked.get("content").map(String::as_str), Some("read"));
    assert_eq!(asked.get("issues").map(String::as_str), Some("own"));
    let reasons: Vec<Reason> = intent.warnings.iter().map(|w| w.reason).collect();
    assert_eq!(reasons, [Reason::UnknownPermission; 2]);
    assert!(
        intent
            .warnings
            .iter()
            .any(|w| w.message.contains("did you mean 'contents'?"))
    );
    assert!(intent.warnings.iter().any(|w| w.message.contains("known: read, write")));
}

#[test]
fn an_organization_permission_is_warned_of_only_beside_repositories() {
    let permissions = json!({"members": "read", "contents": "read"});
    assert_eq!(intent(json!({"permissions": permissions})).warnings, []);
    for confined in [json!({"repositories": ["web"]}), json!({"repositoryIDs": [7]})] {
        let mut spec = confined;
        spec["permissions"] = permissions.clone();
        let intent = intent(spec);
        let [warning] = intent.warnings.as_slice() else {
            panic!("{:?}", intent.warnings);
        };
        assert_eq!(warning.reason, Reason::ScopeWiderThanRepositories);
        assert!(
            warning.message.contains("spec.permissions.members"),
            "{}",
            warning.message
        );
    }
}

#[test]
fn the_refresh_request_is_the_annotations_value() {
    let mut object = token(json!({}));
    object.metadata.annotations = Some([(annotation::REFRESH_REQUESTED.to_owned(), "now".to_owned())].into());
    assert_eq!(Intent::new(&object).unwrap().refresh_request.as_deref(), Some("now"));
}

#[test]
fn the_old_spelling_of_basic_auth_and_the_new_one_mean_the_same() {
    let old = intent(json!({"secret": {"basicAuth": true}}));
    let new = intent(json!({"secret": {"format": "basicAuth"}}));
    let both = intent(json!({"secret": {"basicAuth": true, "format": "basicAuth"}}));
    let other = intent(json!({"secret": {"basicAuth": false, "format": "netrc"}}));
    assert_eq!(old, new);
    assert_eq!(old, both);
    assert_eq!(other.secret.format, Format::Netrc);
}

#[test]
fn annotations_with_our_prefix_are_not_the_users_to_set() {
    let intent = intent(json!({"secret": {"annotations": {
        annotation::EXPIRES_AT: "2999-01-01T00:00:00Z", "github.as-code.io/anything": "x", "team": "a"}}}));
    assert_eq!(
        intent.secret.annotations,
        BTreeMap::from([("team".to_owned(), "a".to_owned())])
    );
}

/// Specs as the API server could hand them over: well typed, otherwise anything.
fn any_spec() -> impl Strategy<Value = Value> {
    let words = || proptest::collection::vec(prop_oneof!["[a-z/]{0,8}", any::<String>()], 0..6);
    let map = || proptest::collection::btree_map(prop_oneof!["[a-z_]{0,12}", any::<String>()], any::<String>(), 0..4);
    let interval = || {
        prop_oneof![
            any::<String>(),
            "[+-]?[0-9.]{0,12}(ns|us|ms|s|m|h|d)?",
            "[0-9]{1,3}h[0-9]{1,3}m"
        ]
    };
    let format = prop_oneof![
        Just(None),
        prop::sample::select(&["token", "basicAuth", "netrc", "template"][..]).prop_map(Some),
    ];
    let secret = (any::<Option<String>>(), map(), any::<Option<bool>>(), format, proptest::option::of(map())).prop_map(
        |(name, labels, basic_auth, format, template)| {
            json!({"name": name, "labels": labels.clone(), "annotations": labels, "basicAuth": basic_auth, "format": format, "template": template})
        },
    );
    let ids = (any::<Option<i64>>(), proptest::collection::vec(any::<i64>(), 0..6));
    let rest = (
        words(),
        proptest::option::of(map()),
        interval(),
        interval(),
        proptest::option::of(interval()),
    );
    (secret, ids, rest).prop_map(|(secret, (installation, ids), (names, permissions, refresh, retry, revoke))| {
        json!({"secret": secret, "installationID": installation, "repositoryIDs": ids, "repositories": names,
            "permissions": permissions, "refreshInterval": refresh, "retryInterval": retry, "revokePreviousAfter": revoke})
    })
}

proptest! {
    #[test]
    fn no_spec_panics_and_one_spec_has_one_meaning(spec in any_spec()) {
        let object = token(spec);
        let read = Intent::new(&object);
        prop_assert_eq!(&read, &Intent::new(&object));
        match read {
            Ok(intent) => {
                prop_assert!((60..=55 * 60).contains(&intent.refresh.as_secs()));
                prop_assert!((1..=3600).contains(&intent.retry.as_secs()));
                prop_assert!(intent.revoke_previous_after.is_none_or(|after| after.as_secs() >= 600));
                prop_assert!(intent.scope.repositories.is_sorted() && intent.scope.repository_ids.is_sorted());
            }
            Err(problem) => prop_assert!(problem.message.starts_with("spec."), "{}", problem.message),
        }
    }

    #[test]
    fn the_hash_of_a_scope_ignores_order_and_duplicates(
        names in proptest::collection::vec("[a-z]{1,6}", 0..8),
        ids in proptest::collection::vec(1i64..1000, 0..8),
    ) {
        let hash = |names: Vec<String>, ids: Vec<i64>| {
            intent(json!({"repositories": names, "repositoryIDs": ids})).scope.hash("app", 7)
        };
        let once = hash(names.clone(), ids.clone());
        let backwards = hash(names.iter().rev().cloned().collect(), ids.iter().rev().copied().collect());
        let twice = hash([names.clone(), names].concat(), [ids.clone(), ids].concat());
        prop_assert_eq!(&once, &backwards);
        prop_assert_eq!(&once, &twice);
    }
}

#[test]
fn every_part_of_a_scope_changes_its_hash() {
    let hash = |spec: Value, app: &str, installation: u64| intent(spec).scope.hash(app, installation);
    let hashes = [
        hash(json!({}), "app", 7),
        hash(json!({}), "app", 8),
        hash(json!({}), "other", 7),
        hash(json!({"permissions": {"contents": "read"}}), "app", 7),
        hash(json!({"permissions": {"contents": "write"}}), "app", 7),
        hash(json!({"repositories": ["web"]}), "app", 7),
        hash(json!({"repositoryIDs": [7]}), "app", 7),
    ];
    let different: BTreeSet<&String> = hashes.iter().collect();
    assert_eq!(different.len(), hashes.len(), "{hashes:?}");
}
