//! What an App object's status says, and which keys it may use.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::{AppStatus, Condition, InstallationStatus, Reason, Time, condition};

use super::policy::fits_exactly;
use super::problem::Problem;

/// What was found out about an App.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The App's slug at GitHub.
    pub slug: Option<String>,
    /// The public key's fingerprint.
    pub fingerprint: Option<String>,
    /// Where it is installed; `None`: not known, so what the status says is left.
    pub installations: Option<Vec<InstallationStatus>>,
    /// Why the key cannot be used; `Some(None)`: it can; `None`: that is not known.
    pub key: Option<Option<Problem>>,
    /// Why the App does not work.
    pub problem: Option<Problem>,
    /// The key does not work as it is now, or a newer one does not, and the one that worked before is in use.
    pub refused_key: Option<Problem>,
    /// Whether every member of its pool takes its share.
    pub pool: Share,
}

/// Whether every member of an App's pool takes its share of the load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Share {
    /// Not known yet: what the status says is left.
    #[default]
    Unknown,
    /// It has no pool.
    Alone,
    /// So many Apps do, itself included.
    All(usize),
    /// These do not, and why.
    Without(String),
}

/// The most installations that a status shows.
pub const MOST_INSTALLATIONS: usize = 100;

/// The status that is to be written; equal to `previous` if nothing has changed.
#[must_use]
pub fn settle(previous: &AppStatus, generation: i64, found: &Findings, now: Timestamp) -> AppStatus {
    let mut status = previous.clone();
    status.observed_generation = Some(generation);
    if let Some(slug) = &found.slug {
        status.slug = Some(slug.clone());
    }
    if let Some(fingerprint) = &found.fingerprint {
        status.fingerprint = Some(fingerprint.clone());
    }
    if let Some(installations) = &found.installations {
        status.installations = installations.iter().take(MOST_INSTALLATIONS).cloned().collect();
    }
    let mut set = |kind: &str, truth: &str, reason: Reason, message: String| {
        let value = Some((truth, reason, message));
        Condition::set(&mut status.conditions, kind, value, generation, Time::from(now));
    };
    match &found.problem {
        Some(problem) => set(condition::READY, "False", problem.reason, problem.message.clone()),
        None => set(
            condition::READY,
            "True",
            Reason::Accepted,
            "GitHub takes the App's key".to_owned(),
        ),
    }
    match (&found.key, &found.refused_key) {
        (_, Some(problem)) => {
            let message = format!("the key that worked before stays in use: {}", problem.message);
            set(condition::KEY_VALID, "False", problem.reason, message);
        }
        (Some(Some(problem)), None) => set(condition::KEY_VALID, "False", problem.reason, problem.message.clone()),
        (Some(None), None) => {
            let message = "the key signs, and its public key says that the signature is right".to_owned();
            set(condition::KEY_VALID, "True", Reason::Accepted, message);
        }
        (None, None) => {
            let message = "the key has not been tried yet".to_owned();
            set(condition::KEY_VALID, "Unknown", Reason::Pending, message);
        }
    }
    let pool = match &found.pool {
        Share::Unknown => return status,
        Share::Alone => None,
        Share::All(apps) => Some(("True", Reason::Accepted, format!("{apps} Apps share the load"))),
        Share::Without(skipped) => Some(("False", Reason::PoolIncomplete, skipped.clone())),
    };
    Condition::set(
        &mut status.conditions,
        condition::POOL,
        pool,
        generation,
        Time::from(now),
    );
    status
}

/// Whether an App of this namespace may have the operator use this key with its own identity. Apps of the operator's own
/// namespace may use any; others what `allowed` says: namespace pattern -> key patterns.
#[must_use]
pub fn may_use(allowed: &BTreeMap<String, Vec<String>>, own: &str, namespace: &str, key: &str) -> bool {
    let here = allowed.iter().filter(|(pattern, _)| fits_exactly(pattern, namespace));
    let mut patterns = here.flat_map(|(_, keys)| keys);
    namespace == own || patterns.any(|pattern| fits_exactly(pattern, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schedule::Retry;

    #[test]
    fn keys_are_for_the_operators_namespace_and_for_those_that_are_named() {
        let allowed = BTreeMap::from([("team-*".to_owned(), vec!["alias/team-*".to_owned(), "exact".to_owned()])]);
        for (namespace, key, may) in [
            ("gtm", "anything", true),
            ("team-a", "alias/team-a", true),
            ("team-a", "exact", true),
            ("team-a", "alias/other", false),
            ("team-a", "ALIAS/TEAM-A", false),
            ("other", "alias/team-a", false),
        ] {
            assert_eq!(may_use(&allowed, "gtm", namespace, key), may, "{namespace} {key}");
        }
        assert!(!may_use(&BTreeMap::new(), "gtm", "team-a", "exact"));
    }

    #[test]
    fn a_status_changes_when_what_is_found_does_and_its_times_only_with_the_condition() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let good = Findings {
            slug: Some("app".into()),
            key: Some(None),
            ..Findings::default()
        };
        let first = settle(&AppStatus::default(), 1, &good, at(10));
        assert_eq!(settle(&first, 1, &good, at(20)), first);
        let problem = Problem::new(Reason::AppAuthenticationFailed, Retry::Backoff, "refused");
        let bad = Findings {
            problem: Some(problem.clone()),
            ..good.clone()
        };
        let second = settle(&first, 1, &bad, at(30));
        let ready = second.condition(condition::READY).unwrap();
        assert_eq!((&*ready.status, &*ready.reason), ("False", "AppAuthenticationFailed"));
        assert_eq!(Timestamp::from(ready.last_transition_time), at(30));
        assert_eq!(second.slug.as_deref(), Some("app"));
        let kept = Findings {
            refused_key: Some(problem),
            ..good
        };
        let third = settle(&second, 1, &kept, at(40));
        assert_eq!(third.condition(condition::READY).unwrap().status, "True");
        assert!(
            third
                .condition(condition::KEY_VALID)
                .unwrap()
                .message
                .contains("stays in use")
        );
    }
}
