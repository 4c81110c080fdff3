//! The Secrets that are being let go: what stands in the way, and when each is tried again.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::cluster::OwnerRef;
use crate::domain::Problem;
use crate::domain::intent::SecretKey;
use crate::domain::schedule::later;

use super::record::SecretRecord;
use super::revoke::PAUSE;

/// The longest that the pause grows to where the API server refuses again and again: so late it is found that someone has mended that.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Between two looks for the end of a Token, which the watch tells of.
const LONG_PAUSE: Duration = Duration::from_secs(30);

/// The Secrets that are being let go.
#[derive(Debug, Default)]
pub struct Retiring {
    entries: HashMap<SecretKey, Entry>,
}

#[derive(Debug)]
struct Entry {
    uid: Box<str>,
    standing: Standing,
    busy: bool,
    first: Option<Instant>,
    next: Option<Timestamp>,
    revoked: bool,
    trouble: Option<Trouble>,
}

/// What stands in the way of a Secret's end.
#[derive(Debug)]
pub struct Trouble {
    /// What the API server has against it.
    pub problem: Problem,
    /// When it is tried again, by the local clock.
    pub until: Timestamp,
    /// How many attempts in a row have failed.
    count: u32,
}

/// What is known of the Token of a Secret that is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It wants its Secret back.
    Lives,
    /// No policy allows it: its token is good for nothing any more.
    Forbidden,
    /// It is deleted.
    Gone,
}

/// What is to be done about one Secret.
#[derive(Debug)]
pub struct Retirement {
    /// The Secret's UID.
    pub uid: Box<str>,
    /// Its Token.
    pub owner: OwnerRef,
    /// What is known of that.
    pub standing: Standing,
    /// When its token was first to be revoked, if that was in vain.
    pub first: Option<Instant>,
    /// Nothing is left to be done about its token: what is tried again is the end of the Secret.
    pub revoked: bool,
    /// Its token is a living Token's, of whose Secret it is a copy.
    pub copied: bool,
    /// What stood in the way the last time.
    pub told: Option<Problem>,
}

/// How far it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retired {
    /// The Secret is let go: the watch will tell of its end.
    LetGo,
    /// It is not there any more.
    Gone,
    /// Its Token, which was thought to be there, does not exist.
    Orphaned,
    /// To be tried again.
    Later {
        /// When its token was first to be revoked.
        first: Option<Instant>,
        /// Nothing is left to be done about its token.
        revoked: bool,
        /// What the API server has against it.
        problem: Option<Problem>,
    },
    /// Its Token is about to go, and still there.
    Waits,
}

impl Entry {
    /// Notes what stands in the way. Returns when it is tried again.
    fn trouble_with(&mut self, problem: Problem, now: Timestamp) -> Timestamp {
        let count = self.trouble.as_ref().map_or(0, |trouble| trouble.count);
        let pause = PAUSE.saturating_mul(1 << count.min(16)).min(LONGEST_PAUSE);
        let (until, count) = (later(now, pause), count.saturating_add(1));
        self.trouble = Some(Trouble { problem, until, count });
        until
    }
}

impl Retiring {
    /// Takes a Secret on, unless that has happened already.
    pub fn begin(
        &mut self,
        key: &SecretKey,
        secret: &SecretRecord,
        owner: OwnerRef,
        standing: Standing,
        now: Timestamp,
    ) -> Option<Retirement> {
        let uid = secret.uid.clone();
        if self.entries.get(key).is_some_and(|entry| entry.uid != uid) {
            self.entries.remove(key);
        }
        let entry = self.entries.entry(key.clone()).or_insert(Entry {
            uid: uid.clone(),
            standing,
            busy: false,
            first: None,
            next: None,
            revoked: false,
            trouble: None,
        });
        if !entry.busy && entry.standing != standing {
            (entry.standing, entry.first, entry.next) = (standing, None, None);
        }
        if entry.busy || entry.next.is_some_and(|next| next > now) {
            return None;
        }
        entry.busy = true;
        Some(Retirement {
            uid,
            owner,
            standing,
            first: entry.first,
            revoked: entry.revoked,
            copied: false,
            told: entry.trouble.as_ref().map(|trouble| trouble.problem.clone()),
        })
    }

    /// What became of it.
    pub fn end(&mut self, key: &SecretKey, uid: &str, retired: &Retired, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| *entry.uid == *uid) else {
            return;
        };
        entry.busy = false;
        match retired {
            Retired::Gone => drop(self.entries.remove(key)),
            Retired::Orphaned => {}
            // Should the watch be silent, its end is found then.
            Retired::LetGo => entry.next = Some(later(now, PAUSE)),
            Retired::Later {
                first,
                revoked,
                problem,
            } => {
                (entry.first, entry.revoked) = (*first, *revoked);
                let until = match problem {
                    Some(problem) => entry.trouble_with(problem.clone(), now),
                    None => later(now, PAUSE),
                };
                entry.next = Some(until);
            }
            Retired::Waits => entry.next = Some(later(now, LONG_PAUSE)),
        }
    }

    /// What stands in the way of this Secret's end.
    #[must_use]
    pub fn trouble(&self, key: &SecretKey, uid: &str) -> Option<&Trouble> {
        let entry = self.entries.get(key).filter(|entry| *entry.uid == *uid)?;
        entry.trouble.as_ref()
    }

    /// The API server was away, and is back: whatever stood in the way is tried again at once.
    pub fn hurry(&mut self, now: Timestamp) {
        for entry in self.entries.values_mut().filter(|entry| !entry.busy) {
            if let Some(trouble) = &mut entry.trouble {
                trouble.count = 0;
                entry.next = Some(now);
            }
        }
    }

    /// The Secret is gone.
    pub fn forget(&mut self, key: &SecretKey) {
        self.entries.remove(key);
    }

    /// The Secrets whose next attempt is due: each is told once.
    pub fn ring(&mut self, now: Timestamp) -> Vec<SecretKey> {
        let waiting = self.entries.iter_mut().filter(|(_, entry)| !entry.busy);
        let due = waiting.filter_map(|(key, entry)| entry.next.take_if(|next| *next <= now).map(|_| key));
        due.cloned().collect()
    }

    /// When the next attempt is due.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.entries
            .values()
            .filter(|entry| !entry.busy)
            .filter_map(|entry| entry.next)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use kube::api::ObjectMeta;

    use super::*;
    use crate::api::Reason;
    use crate::cluster::Metadata;
    use crate::domain::intent::{Key, Kind};
    use crate::domain::schedule::Retry;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn key() -> SecretKey {
        SecretKey {
            namespace: "ns".into(),
            name: "s".into(),
        }
    }

    fn begin(retiring: &mut Retiring, standing: Standing, second: i64) -> Option<Retirement> {
        let owner = OwnerRef {
            key: std::sync::Arc::new(Key {
                kind: Kind::Token,
                namespace: Some("ns".into()),
                name: "t".into(),
            }),
            uid: "token".into(),
        };
        let meta = ObjectMeta {
            uid: Some("secret".to_owned()),
            ..ObjectMeta::default()
        };
        let secret = SecretRecord::new(&Metadata::from(meta)).unwrap();
        retiring.begin(&key(), &secret, owner, standing, at(second))
    }

    fn later_because(problem: Option<&Problem>, first: Option<Instant>) -> Retired {
        Retired::Later {
            first,
            revoked: false,
            problem: problem.cloned(),
        }
    }

    #[test]
    fn the_end_of_a_token_is_waited_for_and_only_then_its_revocation_is_counted() {
        let mut retiring = Retiring::default();
        let tried = |retirement: Option<Retirement>| retirement.map(|retirement| retirement.first);
        assert_eq!(tried(begin(&mut retiring, Standing::Lives, 0)), Some(None));
        assert!(begin(&mut retiring, Standing::Gone, 1).is_none(), "it is under way");
        retiring.end(&key(), "secret", &Retired::Waits, at(2));
        assert!(begin(&mut retiring, Standing::Lives, 20).is_none());
        assert_eq!(retiring.next(), Some(at(32)));
        let at_once = begin(&mut retiring, Standing::Gone, 25);
        assert_eq!(tried(at_once), Some(None));
        let first = Some(Instant::now());
        retiring.end(&key(), "secret", &later_because(None, first), at(26));
        assert!(begin(&mut retiring, Standing::Gone, 27).is_none());
        assert_eq!(tried(begin(&mut retiring, Standing::Gone, 29)), Some(first));
    }

    #[test]
    fn what_is_refused_again_and_again_is_tried_once_a_minute_and_at_once_when_the_api_server_is_back() {
        let problem = Problem::new(Reason::SecretWriteFailed, Retry::Backoff, "no");
        let mut retiring = Retiring::default();
        let fail = |retiring: &mut Retiring, second| {
            let begun = begin(retiring, Standing::Gone, second).expect("it is due");
            retiring.end(&key(), "secret", &later_because(Some(&problem), None), at(second));
            let next = retiring.next().unwrap().as_second();
            (begun.told.is_some(), next - second)
        };
        assert_eq!(fail(&mut retiring, 0), (false, 3));
        let (mut now, mut pauses) = (3, Vec::new());
        for _ in 0..6 {
            let (told, pause) = fail(&mut retiring, now);
            assert!(told, "it is known what stood in the way");
            pauses.push(pause);
            now += pause;
        }
        assert_eq!(pauses, [6, 12, 24, 48, 60, 60]);
        retiring.hurry(at(now - 50));
        assert_eq!(fail(&mut retiring, now - 50), (true, 3));
        assert_eq!(retiring.trouble(&key(), "secret").unwrap().until, at(now - 47));
        assert!(retiring.trouble(&key(), "another").is_none());
    }
}
