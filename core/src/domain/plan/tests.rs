mod properties;
mod rules;

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::api::Time;
use crate::domain::fixtures;
use crate::domain::schedule::later;

const INSTALLATION: u64 = 7;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn minutes(minutes: i64) -> Timestamp {
    at(60 * minutes)
}

fn app() -> AppFacts {
    AppFacts {
        github: "https://api.github.com".to_owned(),
        identity: "https://api.github.com#1".to_owned(),
        installation: Some(INSTALLATION),
        owner: None,
        installations: None,
    }
}

fn intent() -> Intent {
    fixtures::intent(json!({
        "permissions": {"contents": "read"},
        "secret": {"labels": {"team": "a"}, "annotations": {"note": "b"}},
    }))
}

/// The Secret as it is right after a token was issued at minute 0, to live for an hour.
fn healthy(intent: &Intent) -> SecretFacts {
    let mut annotations = intent.secret.annotations.clone();
    let notes = [
        (annotation::SCOPE_HASH, scope_hash(intent, &app()).unwrap()),
        (annotation::FORMAT, secret::format_mark(&intent.secret)),
        (annotation::METADATA_HASH, secret::metadata_hash(&intent.secret)),
        (annotation::ISSUED_AT, Time::from(minutes(0)).to_string()),
        (annotation::EXPIRES_AT, Time::from(minutes(60)).to_string()),
    ];
    annotations.extend(notes.map(|(name, value)| (name.to_owned(), value)));
    if let Some(request) = &intent.refresh_request {
        annotations.insert(annotation::REFRESH_REQUESTED.to_owned(), request.clone());
    }
    SecretFacts {
        uid: "uid-of-secret".to_owned(),
        resource_version: "1".to_owned(),
        owner: Some(intent.uid.clone()),
        deleting: false,
        held: true,
        labels: secret::labels(intent),
        annotations,
        content: Content::Intact,
    }
}

/// The Secret as isometry/github-token-manager leaves it: what there is to know stands in the Token's status.
fn of_the_peer(intent: &Intent) -> SecretFacts {
    let mut facts = healthy(intent);
    facts
        .annotations
        .retain(|name, _| !name.starts_with(annotation::PREFIX));
    facts
}

fn ours(facts: SecretFacts) -> Observed {
    Observed {
        place: Place::Ours(facts),
        former: Vec::new(),
        status_life: None,
        lent: None,
    }
}

fn adopted(intent: &Intent) -> Observed {
    Observed {
        status_life: Some((minutes(0), minutes(60))),
        lent: None,
        ..ours(of_the_peer(intent))
    }
}

fn at_place(place: Place) -> Observed {
    Observed {
        place,
        former: Vec::new(),
        status_life: None,
        lent: None,
    }
}

/// When the healthy Secret's token is due.
fn due_time(intent: &Intent) -> Timestamp {
    due(minutes(0), minutes(60), intent.refresh, &intent.uid)
}

fn mint(why: Why, deadline: Timestamp) -> Plan {
    Plan::Mint { why, deadline }
}

fn with(change: impl FnOnce(&mut SecretFacts)) -> Observed {
    let mut facts = healthy(&intent());
    change(&mut facts);
    ours(facts)
}

#[test]
fn a_secret_that_has_lost_its_owner_is_known_by_all_else_and_gets_it_back() {
    let intent = intent();
    let mut facts = healthy(&intent);
    facts.owner = None;
    facts
        .annotations
        .insert(annotation::HASHED_TOKEN.to_owned(), "hash".to_owned());
    let told = Some("hash");
    assert!(facts.is_of(&intent.key, &intent.uid, None));
    assert_eq!(plan(minutes(1), &intent, &app(), &ours(facts.clone())), Plan::Rewrite);
    let other = Key {
        name: "other".into(),
        ..intent.key.clone()
    };
    let changes: [fn(&mut SecretFacts); 2] = [
        |facts| facts.owner = Some("another".to_owned()),
        |facts| facts.labels.clear(),
    ];
    for change in changes {
        let mut changed = facts.clone();
        change(&mut changed);
        assert!(!changed.is_of(&intent.key, &intent.uid, told), "{changed:?}");
    }
    assert!(!facts.is_of(&other, &intent.uid, told));
}

#[test]
fn without_owner_and_finalizer_a_secret_is_known_by_the_token_that_the_status_tells_of() {
    let intent = intent();
    let is_of = |held, hash: Option<&str>, told| {
        let hash = hash.map(|hash| (annotation::HASHED_TOKEN.to_owned(), hash.to_owned()));
        let facts = SecretFacts {
            owner: None,
            held,
            annotations: hash.into_iter().collect(),
            ..healthy(&intent)
        };
        facts.is_of(&intent.key, &intent.uid, told)
    };
    assert!(is_of(false, Some("hash"), Some("hash")));
    assert!(is_of(true, None, Some("hash")), "nobody else has our finalizer");
    for (hash, told) in [
        (Some("hash"), None),
        (Some("hash"), Some("another")),
        (None, Some("hash")),
        (None, None),
    ] {
        assert!(!is_of(false, hash, told), "{hash:?} {told:?}");
    }
}

#[test]
fn a_secret_that_others_alone_keep_from_going_is_told_and_one_that_we_hold_is_waited_for() {
    let held = |held| {
        let observed = with(|facts| (facts.deleting, facts.held) = (true, held));
        plan(minutes(31), &intent(), &app(), &observed)
    };
    assert_eq!(held(true), Plan::Rest { until: Timestamp::MAX });
    let Plan::Refuse(problem) = held(false) else {
        panic!("{:?}", held(false))
    };
    assert_eq!(problem.reason, Reason::SecretConflict);
    assert!(
        problem.message.contains("a finalizer of someone else"),
        "{}",
        problem.message
    );
}

fn annotated(name: &str, value: &str) -> Observed {
    with(|facts| {
        facts.annotations.insert(name.to_owned(), value.to_owned());
    })
}

fn without(name: &str) -> Observed {
    with(|facts| {
        facts.annotations.remove(name);
    })
}

#[test]
fn each_row_of_the_table_holds() {
    let intent = intent();
    let former = SecretKey {
        namespace: "team-a".into(),
        name: "old".into(),
    };
    let renamed = Observed {
        former: vec![former.clone()],
        ..ours(healthy(&intent))
    };
    let unlabelled = with(|facts| facts.labels.clear());
    let rest = Plan::Rest {
        until: due_time(&intent),
    };
    let never = Plan::Rest { until: Timestamp::MAX };
    let expiry = minutes(60);
    for (row, now, observed, wanted) in [
        ("place unknown", 1, at_place(Place::Unknown), Plan::Look),
        (
            "our Secret is being deleted",
            1,
            with(|facts| facts.deleting = true),
            never,
        ),
        (
            "place free",
            1,
            at_place(Place::Free),
            mint(Why::Missing, Timestamp::MIN),
        ),
        (
            "content unknown",
            1,
            with(|facts| facts.content = Content::Unknown),
            Plan::Inspect,
        ),
        (
            "content changed",
            1,
            with(|facts| facts.content = Content::Tampered),
            mint(Why::Tampered, Timestamp::MIN),
        ),
        (
            "no life known",
            1,
            without(annotation::EXPIRES_AT),
            mint(Why::Tampered, Timestamp::MIN),
        ),
        (
            "a life that is none",
            1,
            annotated(annotation::ISSUED_AT, "yesterday"),
            mint(Why::Tampered, Timestamp::MIN),
        ),
        ("written by the peer, good", 1, adopted(&intent), Plan::Rewrite),
        ("written by the peer, due", 31, adopted(&intent), mint(Why::Due, expiry)),
        (
            "other scope",
            1,
            annotated(annotation::SCOPE_HASH, "x"),
            mint(Why::ScopeChanged, expiry),
        ),
        (
            "other format",
            1,
            annotated(annotation::FORMAT, "netrc"),
            mint(Why::FormatChanged, expiry),
        ),
        ("due", 31, ours(healthy(&intent)), mint(Why::Due, expiry)),
        ("expired", 90, ours(healthy(&intent)), mint(Why::Due, expiry)),
        ("other labels", 1, unlabelled, Plan::Rewrite),
        ("other annotations", 1, annotated("note", "c"), Plan::Rewrite),
        (
            "an annotation taken away from the spec",
            1,
            annotated(annotation::METADATA_HASH, "x"),
            Plan::Rewrite,
        ),
        ("former names", 1, renamed, Plan::Remove(vec![former])),
        ("none of these", 1, ours(healthy(&intent)), rest),
    ] {
        assert_eq!(plan(minutes(now), &intent, &app(), &observed), wanted, "{row}");
    }
}

#[test]
fn the_rules_come_in_their_order() {
    let intent = intent();
    let mut facts = healthy(&intent);
    let former = SecretKey {
        namespace: "team-a".into(),
        name: "old".into(),
    };
    // Everything is wrong at once; what comes first in the table is put right one by one.
    facts.deleting = true;
    facts.content = Content::Unknown;
    facts.labels.clear();
    facts
        .annotations
        .insert(annotation::SCOPE_HASH.to_owned(), "x".to_owned());
    facts.annotations.insert(annotation::FORMAT.to_owned(), "x".to_owned());
    let plan_of = |now, facts: &SecretFacts| {
        let observed = Observed {
            former: vec![former.clone()],
            ..ours(facts.clone())
        };
        plan(now, &intent, &app(), &observed)
    };
    let (late, early, expiry) = (minutes(31), minutes(1), minutes(60));
    assert_eq!(plan_of(late, &facts), Plan::Rest { until: Timestamp::MAX });
    facts.deleting = false;
    assert_eq!(plan_of(late, &facts), Plan::Inspect);
    facts.content = Content::Tampered;
    assert_eq!(plan_of(late, &facts), mint(Why::Tampered, Timestamp::MIN));
    facts.content = Content::Intact;
    assert_eq!(plan_of(late, &facts), mint(Why::ScopeChanged, expiry));
    facts.annotations = healthy(&intent).annotations;
    facts.annotations.insert(annotation::FORMAT.to_owned(), "x".to_owned());
    assert_eq!(plan_of(late, &facts), mint(Why::FormatChanged, expiry));
    facts.annotations = healthy(&intent).annotations;
    assert_eq!(plan_of(late, &facts), mint(Why::Due, expiry));
    assert_eq!(plan_of(early, &facts), Plan::Rewrite);
    facts.labels = healthy(&intent).labels;
    assert_eq!(plan_of(early, &facts), Plan::Remove(vec![former.clone()]));
}

#[test]
fn a_foreign_secret_is_refused_with_its_name_its_owner_and_the_cure() {
    let whose = "belongs to Token team-a/other".to_owned();
    let planned = plan(minutes(1), &intent(), &app(), &at_place(Place::Foreign { whose }));
    let Plan::Refuse(problem) = planned else {
        panic!("{planned:?}");
    };
    assert_eq!(problem.reason, Reason::SecretConflict);
    assert_eq!(problem.retry, Retry::Every(Duration::from_secs(60)));
    for part in [
        "spec.secret.name",
        "team-a/ci",
        "belongs to Token team-a/other",
        "Choose another name",
    ] {
        assert!(
            problem.message.contains(part),
            "{part:?} is not in: {}",
            problem.message
        );
    }
}
