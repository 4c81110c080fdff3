mod properties;

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::domain::fixtures;
use crate::domain::intent::Intent;
use crate::domain::schedule::Retry;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn intent() -> Intent {
    fixtures::intent(json!({"secret": {"basicAuth": true}}))
}

fn facts(version: &str) -> SecretFacts {
    let notes = [
        (annotation::ISSUED_AT, Time::from(at(0)).to_string()),
        (annotation::EXPIRES_AT, Time::from(at(3600)).to_string()),
        (annotation::HASHED_TOKEN, "hash-of-token".to_owned()),
    ];
    SecretFacts {
        uid: "uid-of-secret".to_owned(),
        resource_version: version.to_owned(),
        owner: None,
        deleting: false,
        held: true,
        labels: BTreeMap::new(),
        annotations: notes.map(|(name, value)| (name.to_owned(), value)).into(),
        content: Content::Intact,
    }
}

fn problem(reason: Reason, retry: Retry) -> Problem {
    Problem::new(reason, retry, "spec.x: 'y' is wrong; write 'z'")
}

fn outage() -> Problem {
    problem(Reason::GitHubUnavailable, Retry::Backoff)
}

fn mistake() -> Problem {
    problem(Reason::InvalidSpec, Retry::Every(Duration::from_secs(600)))
}

#[test]
fn the_expiry_of_the_peers_secret_is_the_one_of_its_status() {
    let issued = Case::issued().settle(&TokenStatus::default());
    let mut bare = facts("10");
    bare.annotations.clear();
    for (now, expired) in [(at(3500), false), (at(3700), true)] {
        let failed = Case {
            facts: Some(bare.clone()),
            ..Case::failed(now, outage())
        };
        let status = failed.settle(&issued);
        assert_eq!(status.condition(condition::EXPIRED).is_some(), expired, "{now}");
        let said = condition(&status, condition::READY)
            .message
            .contains("is good until 2027");
        assert_eq!(said, !expired, "{now}");
    }
}

/// What a test says of an outcome; the rest is as after a token was issued.
#[derive(Debug)]
struct Case {
    now: Timestamp,
    generation: i64,
    intent: Option<Intent>,
    facts: Option<SecretFacts>,
    wrote: bool,
    granted: Option<Granted>,
    problem: Option<Problem>,
    warnings: Vec<Warning>,
    next: Option<Timestamp>,
}

impl Case {
    fn issued() -> Case {
        Case {
            now: at(1),
            generation: 3,
            intent: Some(intent()),
            facts: Some(facts("10")),
            wrote: true,
            granted: Some(Granted {
                permissions: [("contents".to_owned(), "read".to_owned())].into(),
                repository_selection: Some("selected".to_owned()),
                repositories: vec!["web".to_owned()],
            }),
            problem: None,
            warnings: Vec::new(),
            next: Some(at(1700)),
        }
    }

    fn failed(now: Timestamp, problem: Problem) -> Case {
        Case {
            now,
            wrote: false,
            granted: None,
            problem: Some(problem),
            next: Some(now + Duration::from_secs(60)),
            ..Case::issued()
        }
    }

    fn settle(&self, previous: &TokenStatus) -> TokenStatus {
        let outcome = Outcome {
            now: self.now,
            generation: self.generation,
            secret: self.intent.as_ref().map(|intent| &intent.secret),
            facts: self.facts.as_ref(),
            wrote: self.wrote,
            granted: self.granted.as_ref(),
            problem: self.problem.as_ref(),
            warnings: &self.warnings,
            next: self.next,
        };
        settle(previous, &outcome)
    }
}

fn condition<'a>(status: &'a TokenStatus, kind: &str) -> &'a Condition {
    status
        .condition(kind)
        .unwrap_or_else(|| panic!("no {kind}: {status:?}"))
}

fn kinds(status: &TokenStatus) -> Vec<&str> {
    status.conditions.iter().map(|c| c.kind.as_str()).collect()
}

#[test]
fn an_issued_token_is_described_whole() {
    let status = Case::issued().settle(&TokenStatus::default());
    let wanted = json!({
        "observedGeneration": 3,
        "managedSecret": {"basicAuth": true, "namespace": "team-a", "name": "ci", "resourceVersion": "10"},
        "installationAccessToken": {"updatedAt": "2027-01-15T08:00:00Z", "expiresAt": "2027-01-15T09:00:00Z"},
        "hashedToken": "hash-of-token",
        "permissions": {"contents": "read"},
        "repositorySelection": "selected",
        "repositories": ["web"],
        "nextAttemptAt": "2027-01-15T08:28:20Z",
        "conditions": [{"type": "Ready", "status": "True", "reason": "Issued",
            "message": "The Secret team-a/ci holds a good token",
            "lastTransitionTime": "2027-01-15T08:00:01Z", "observedGeneration": 3}],
    });
    assert_eq!(serde_json::to_value(&status).unwrap(), wanted);
}

#[test]
fn an_outage_is_reconciling_and_a_mistake_is_stalled_and_both_end_with_the_trouble() {
    let issued = Case::issued().settle(&TokenStatus::default());
    for (problem, abnormal) in [(outage(), condition::RECONCILING), (mistake(), condition::STALLED)] {
        let failed = Case::failed(at(1800), problem.clone()).settle(&issued);
        assert_eq!(kinds(&failed), [condition::READY, abnormal]);
        let ready = condition(&failed, condition::READY);
        assert_eq!(
            (ready.status.as_str(), ready.reason.as_str()),
            ("False", problem.reason.as_str())
        );
        assert!(ready.message.starts_with(&problem.message), "{}", ready.message);
        let note = "(the token in the Secret is good until 2027-01-15T09:00:00Z)";
        assert!(ready.message.ends_with(note), "{}", ready.message);
        let why = condition(&failed, abnormal);
        assert_eq!(
            (why.status.as_str(), why.reason.as_str()),
            ("True", problem.reason.as_str())
        );
        assert_eq!(why.message, problem.message);
        let healed = Case::issued().settle(&failed);
        assert_eq!(kinds(&healed), [condition::READY]);
    }
}

#[test]
fn an_outage_that_turns_out_to_be_a_mistake_is_not_both() {
    let failed = Case::failed(at(1800), outage()).settle(&TokenStatus::default());
    let stalled = Case::failed(at(1900), mistake()).settle(&failed);
    assert_eq!(kinds(&stalled), [condition::READY, condition::STALLED]);
}

#[test]
fn a_failure_keeps_what_is_known_of_the_token_that_still_works() {
    let issued = Case::issued().settle(&TokenStatus::default());
    let failed = Case::failed(at(1800), outage()).settle(&issued);
    assert_eq!(failed.managed_secret, issued.managed_secret);
    assert_eq!(failed.installation_access_token, issued.installation_access_token);
    assert_eq!(failed.hashed_token, issued.hashed_token);
    assert_eq!(failed.permissions, issued.permissions);
    assert_eq!(failed.next_attempt_at, Some(Time::from(at(1860))));
}

#[test]
fn a_token_that_has_expired_is_said_to_have_expired() {
    let issued = Case::issued().settle(&TokenStatus::default());
    for (now, expired) in [(at(3599), false), (at(3600), true), (at(9999), true)] {
        let failed = Case::failed(now, outage()).settle(&issued);
        assert_eq!(failed.condition(condition::EXPIRED).is_some(), expired, "{now}");
        let said = condition(&failed, condition::READY).message.contains("is good until");
        assert_eq!(said, !expired, "{now}");
    }
    let healed = Case::issued().settle(&Case::failed(at(9999), outage()).settle(&issued));
    assert_eq!(kinds(&healed), [condition::READY]);
}

#[test]
fn a_token_that_expired_while_it_waited_for_its_turn_is_not_called_good() {
    let issued = Case::issued().settle(&TokenStatus::default());
    let waits = |now| Case {
        now,
        wrote: false,
        granted: None,
        ..Case::issued()
    };
    let status = waits(at(3599)).settle(&issued);
    assert_eq!(kinds(&status), [condition::READY]);
    let late = waits(at(3600)).settle(&status);
    for (kind, value) in [
        (condition::READY, "False"),
        (condition::RECONCILING, "True"),
        (condition::EXPIRED, "True"),
    ] {
        let told = condition(&late, kind);
        assert_eq!(
            (told.status.as_str(), told.reason.as_str()),
            (value, "TokenExpired"),
            "{kind}"
        );
    }
    assert_eq!(kinds(&Case::issued().settle(&late)), [condition::READY]);
}

#[test]
fn a_warning_stands_beside_ready_and_goes_with_its_cause() {
    let warning = |message: &str| Warning {
        reason: Reason::UnknownPermission,
        message: message.to_owned(),
    };
    let warned = Case {
        warnings: vec![warning("one"), warning("two")],
        ..Case::issued()
    };
    let status = warned.settle(&TokenStatus::default());
    assert_eq!(condition(&status, condition::READY).status, "True");
    assert_eq!(condition(&status, condition::WARNING).message, "one; two");
    assert_eq!(kinds(&Case::issued().settle(&status)), [condition::READY]);
}

#[test]
fn the_transition_time_changes_with_the_status_only() {
    let since = |status: &TokenStatus| condition(status, condition::READY).last_transition_time;
    let issued = Case::issued().settle(&TokenStatus::default());
    let refreshed = Case {
        now: at(1700),
        ..Case::issued()
    }
    .settle(&issued);
    assert_eq!(since(&refreshed), Time::from(at(1)));
    let failed = Case::failed(at(3400), outage()).settle(&refreshed);
    assert_eq!(since(&failed), Time::from(at(3400)));
    let failed_otherwise = Case::failed(at(3500), mistake()).settle(&failed);
    assert_eq!(since(&failed_otherwise), Time::from(at(3400)));
    assert_eq!(condition(&failed_otherwise, condition::READY).reason, "InvalidSpec");
}

#[test]
fn foreign_conditions_survive_in_their_place() {
    let foreign = Condition {
        kind: "example.org/Audited".to_owned(),
        status: "True".to_owned(),
        reason: "Seen".to_owned(),
        message: String::new(),
        last_transition_time: Time::from(at(-100)),
        observed_generation: Some(1),
    };
    let previous = TokenStatus {
        conditions: vec![foreign.clone()],
        ..TokenStatus::default()
    };
    let failed = Case::failed(at(5000), mistake()).settle(&previous);
    assert_eq!(failed.conditions.first(), Some(&foreign));
    let healed = Case::issued().settle(&failed);
    assert_eq!(kinds(&healed), ["example.org/Audited", condition::READY]);
    assert_eq!(healed.conditions.first(), Some(&foreign));
}

#[test]
fn a_secret_that_is_gone_leaves_nothing_of_its_token_behind() {
    let issued = Case::issued().settle(&TokenStatus::default());
    let gone = Case {
        facts: None,
        ..Case::failed(at(10), outage())
    }
    .settle(&issued);
    assert_eq!(
        (gone.managed_secret, gone.installation_access_token, gone.hashed_token),
        (None, None, None)
    );
}

#[test]
fn of_a_token_that_is_being_deleted_nothing_is_good_any_more() {
    let warned = Case {
        warnings: vec![Warning {
            reason: Reason::UnknownPermission,
            message: "one".to_owned(),
        }],
        ..Case::issued()
    };
    let forbidden = Problem::new(Reason::PolicyForbids, Retry::Backoff, "no");
    let issued = warned.settle(&TokenStatus::default());
    let expired = Case::failed(at(9999), forbidden).settle(&issued);
    for previous in [TokenStatus::default(), issued, expired] {
        let ended = end(&previous, 4, at(10_000));
        let wanted = json!({"observedGeneration": 4, "conditions": [{"type": "Ready", "status": "False",
            "reason": "Deleting", "message": "It is being deleted, and its Secret with it",
            "lastTransitionTime": ended.conditions[0].last_transition_time, "observedGeneration": 4}]});
        assert_eq!(serde_json::to_value(&ended).unwrap(), wanted);
        assert_eq!(end(&ended, 4, at(20_000)), ended, "it is told once");
    }
}

#[test]
fn a_spec_that_cannot_be_read_keeps_what_is_known_of_the_secret() {
    let issued = Case::issued().settle(&TokenStatus::default());
    let unreadable = Case {
        intent: None,
        ..Case::failed(at(10), mistake())
    }
    .settle(&issued);
    assert_eq!(unreadable.managed_secret, issued.managed_secret);
    assert_eq!(unreadable.hashed_token, issued.hashed_token);
}

#[test]
fn the_resource_version_is_that_of_our_own_last_write() {
    let version = |status: &TokenStatus| status.managed_secret.clone().unwrap().resource_version;
    let issued = Case::issued().settle(&TokenStatus::default());
    let touched = Case {
        facts: Some(facts("11")),
        wrote: false,
        ..Case::issued()
    }
    .settle(&issued);
    assert_eq!(version(&touched).as_deref(), Some("10"));
    let written = Case {
        facts: Some(facts("12")),
        ..Case::issued()
    }
    .settle(&touched);
    assert_eq!(version(&written).as_deref(), Some("12"));
    let mut renamed = Case {
        wrote: false,
        ..Case::issued()
    };
    renamed.intent = Some(fixtures::intent(json!({"secret": {"name": "other"}})));
    assert_eq!(version(&renamed.settle(&written)), None);
}

#[test]
fn a_tampered_secret_does_not_speak_for_its_token() {
    let issued = Case::issued().settle(&TokenStatus::default());
    let mut lying = facts("11");
    lying.content = Content::Tampered;
    lying
        .annotations
        .insert(annotation::EXPIRES_AT.to_owned(), "2999-01-01T00:00:00Z".to_owned());
    let status = Case {
        facts: Some(lying),
        ..Case::failed(at(10), outage())
    }
    .settle(&issued);
    assert_eq!(status.installation_access_token, issued.installation_access_token);
    assert_eq!(kinds(&status), [condition::READY, condition::RECONCILING]);
    let ready = condition(&status, condition::READY);
    assert!(!ready.message.contains("is good until"), "{}", ready.message);
}
