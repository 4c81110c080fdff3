//! What to do about a Token: a pure function of the clock, the intent and what is observed.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::Reason;
use crate::api::names::annotation;

pub use super::facts::AppFacts;
use super::intent::{Intent, Key, SecretKey};
use super::problem::Problem;
use super::schedule::{Retry, due};
use super::secret;

/// How often a Secret that stands in the way is looked at again: it is not watched, since it is not ours.
const CONFLICT_PERIOD: std::time::Duration = std::time::Duration::from_secs(60);

/// What is known of a Secret's keys and values, without keeping them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Not looked at since it last changed.
    Unknown,
    /// As we wrote it.
    Intact,
    /// Changed by someone else, or without a token.
    Tampered,
}

/// A Secret as its metadata shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFacts {
    /// Its UID.
    pub uid: String,
    /// Its resource version.
    pub resource_version: String,
    /// The UID of its controlling owner, if it has one; nothing is known of one that is no Token.
    pub owner: Option<String>,
    /// What keeps a deleted Secret, if it is being deleted.
    pub deleting: bool,
    /// Whether it has our finalizer.
    pub held: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// What is known of its keys and values.
    pub content: Content,
}

impl SecretFacts {
    /// When its token was issued, by GitHub's clock.
    #[must_use]
    pub fn issued_at(&self) -> Option<Timestamp> {
        self.time(annotation::ISSUED_AT)
    }

    /// When its token expires, by GitHub's clock.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.time(annotation::EXPIRES_AT)
    }

    /// The hash of its token.
    #[must_use]
    pub fn hashed_token(&self) -> Option<&str> {
        self.annotations.get(annotation::HASHED_TOKEN).map(String::as_str)
    }

    /// Whether it is the Secret of this Token: by its owner or, if someone has taken that away, by its labels, and our finalizer or the
    /// token that the Token's status tells of.
    #[must_use]
    pub fn is_of(&self, key: &Key, uid: &str, told: Option<&str>) -> bool {
        match &self.owner {
            Some(owner) => owner == uid,
            None => (self.held || self.is_told(told)) && self.is_labelled(key),
        }
    }

    /// Whether its labels say that it is of this Token.
    #[must_use]
    pub fn is_labelled(&self, key: &Key) -> bool {
        has(&self.labels, &secret::own_labels(key))
    }

    /// Whether it is a Secret of ours that has lost both owner and labels, and holds the token that its Token's status tells of.
    #[must_use]
    pub fn is_stripped(&self, told: Option<&str>) -> bool {
        self.owner.is_none() && self.held && self.is_told(told)
    }

    /// Whether it says that it holds the token that a status tells of.
    fn is_told(&self, told: Option<&str>) -> bool {
        told.is_some() && self.hashed_token() == told
    }

    fn time(&self, name: &str) -> Option<Timestamp> {
        self.annotations.get(name)?.parse().ok()
    }
}

/// The wanted Secret's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Not looked at yet: it is not among the managed Secrets, but a foreign one may stand there.
    Unknown,
    /// Nothing is there.
    Free,
    /// A Secret that is not this Token's.
    Foreign {
        /// Who it belongs to, for people.
        whose: String,
    },
    /// This Token's Secret.
    Ours(SecretFacts),
}

/// What is observed of a Token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The wanted Secret's place.
    pub place: Place,
    /// Other Secrets of this Token: former names.
    pub former: Vec<SecretKey>,
    /// When the status says that the token was issued and expires: all that isometry/github-token-manager writes down.
    pub status_life: Option<(Timestamp, Timestamp)>,
    /// The token in the Secret is of another App of the pool.
    pub lent: Option<Lent>,
}

/// What a token of another App of the pool would be asked for with now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lent {
    /// The hash of its scope; `None` if that App cannot issue it any more.
    For(Option<String>),
    /// That App is not known well enough yet: the token is taken for what it was.
    Unknown,
}

/// Why a token is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no Secret.
    Missing,
    /// The Secret's content is not what we wrote.
    Tampered,
    /// App, installation, permissions or repositories changed.
    ScopeChanged,
    /// The form of the Secret changed.
    FormatChanged,
    /// Someone asked for it.
    Requested,
    /// Its time has come.
    Due,
}

impl Why {
    /// One word for logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Why::Missing => "missing",
            Why::Tampered => "tampered",
            Why::ScopeChanged => "scope-changed",
            Why::FormatChanged => "format-changed",
            Why::Requested => "requested",
            Why::Due => "due",
        }
    }

    /// Whether what is in the Secret is not what is wanted.
    #[must_use]
    pub const fn is_amiss(self) -> bool {
        match self {
            Why::Tampered | Why::ScopeChanged | Why::FormatChanged => true,
            // Of what is missing there is nothing to be said.
            Why::Missing | Why::Requested | Why::Due => false,
        }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Ask the API server whether something stands at the wanted place (metadata only).
    Look,
    /// Delete this Token's Secrets, whose tokens are revoked then: no policy allows it any more.
    Withdraw(Vec<SecretKey>),
    /// Read the Secret, which is ours, and compare its content with its hash.
    Inspect,
    /// Issue a token.
    Mint {
        /// Why.
        why: Why,
        /// Until when the Token can wait: when what is in the Secret expires; the beginning of time if nothing is.
        deadline: Timestamp,
    },
    /// Write the same token again, with the wanted labels and annotations.
    Rewrite,
    /// Remove Secrets of former names.
    Remove(Vec<SecretKey>),
    /// Something stands in the way.
    Refuse(Problem),
    /// All is well until then.
    Rest {
        /// When the next token is due.
        until: Timestamp,
    },
}

/// Decides. The rules and their order are those of the rotation: each one that applies ends the search.
///
/// | observed | plan |
/// |---|---|
/// | place unknown | look |
/// | place taken by another's Secret | refuse |
/// | our Secret is being deleted | rest: the next event is its end |
/// | the same, and it is held by others alone | refuse |
/// | place free | mint |
/// | content unknown | inspect |
/// | content changed, or no token in it | mint |
/// | written by isometry/github-token-manager, its status says until when it is good | rewrite: adopted |
/// | other scope, other format, refresh asked for, due | mint |
/// | other labels or annotations, its owner taken away | rewrite |
/// | Secrets of former names | remove |
/// | none of these | rest |
#[must_use]
pub fn plan(now: Timestamp, intent: &Intent, app: &AppFacts, observed: &Observed) -> Plan {
    let facts = match &observed.place {
        Place::Unknown => return Plan::Look,
        Place::Foreign { whose } => return Plan::Refuse(conflict(intent, whose)),
        Place::Free => {
            return Plan::Mint {
                why: Why::Missing,
                deadline: Timestamp::MIN,
            };
        }
        Place::Ours(facts) => facts,
    };
    if facts.deleting {
        // It stands although we have let it go: for as long as others like, and without a new token.
        let others = || conflict(intent, "is being deleted, and a finalizer of someone else holds it");
        return if facts.held {
            Plan::Rest { until: Timestamp::MAX }
        } else {
            Plan::Refuse(others())
        };
    }
    match facts.content {
        Content::Unknown => return Plan::Inspect,
        Content::Tampered => {
            return Plan::Mint {
                why: Why::Tampered,
                deadline: Timestamp::MIN,
            };
        }
        Content::Intact => {}
    }
    let adopted = !facts.annotations.contains_key(annotation::SCOPE_HASH);
    let Some((issued, expires)) = life(facts, observed, adopted) else {
        return Plan::Mint {
            why: Why::Tampered,
            deadline: Timestamp::MIN,
        };
    };
    let due = due(issued, expires, intent.refresh, &intent.uid);
    let wanted = match &observed.lent {
        None => scope_hash(intent, app),
        Some(Lent::For(hash)) => hash.clone(),
        Some(Lent::Unknown) => facts.annotations.get(annotation::SCOPE_HASH).cloned(),
    };
    if let Some(why) = reason_to_mint(now, due, intent, wanted.as_deref(), facts, adopted) {
        return Plan::Mint { why, deadline: expires };
    }
    if adopted || facts.owner.is_none() || !dressed(intent, facts) {
        return Plan::Rewrite;
    }
    if !observed.former.is_empty() {
        return Plan::Remove(observed.former.clone());
    }
    Plan::Rest { until: due }
}

/// Issue and expiry: the Secret's own word, else the status'. For a Secret that is to be adopted, the status' alone: that is what
/// adopting writes down, and without it the Secret would be rewritten for ever.
fn life(facts: &SecretFacts, observed: &Observed, adopted: bool) -> Option<(Timestamp, Timestamp)> {
    let own = facts.issued_at().zip(facts.expires_at());
    own.filter(|_| !adopted).or(observed.status_life)
}

fn reason_to_mint(
    now: Timestamp,
    due: Timestamp,
    intent: &Intent,
    wanted: Option<&str>,
    facts: &SecretFacts,
    adopted: bool,
) -> Option<Why> {
    let note = |name: &str| facts.annotations.get(name).map(String::as_str);
    // Without an installation there is nothing to compare, and nothing that adopting could write down: asking for a token then
    // fails, and says what is missing.
    if wanted.is_none() || (!adopted && note(annotation::SCOPE_HASH) != wanted) {
        return Some(Why::ScopeChanged);
    }
    if !adopted && note(annotation::FORMAT) != Some(secret::format_mark(&intent.secret).as_str()) {
        return Some(Why::FormatChanged);
    }
    let asked = intent.refresh_request.as_deref();
    if asked.is_some() && asked != note(annotation::REFRESH_REQUESTED) {
        return Some(Why::Requested);
    }
    (now >= due).then_some(Why::Due)
}

/// The hash of the wanted scope; `None` while no installation is known.
#[must_use]
pub fn scope_hash(intent: &Intent, app: &AppFacts) -> Option<String> {
    let installation = app.installation_of(intent)?;
    Some(intent.scope.hash(&app.identity, installation))
}

/// Whether the Secret has every label and annotation that it should have.
fn dressed(intent: &Intent, facts: &SecretFacts) -> bool {
    has(&facts.labels, &secret::labels(intent))
        && has(&facts.annotations, &intent.secret.annotations)
        && facts.annotations.get(annotation::METADATA_HASH) == Some(&secret::metadata_hash(&intent.secret))
}

fn has(all: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| all.get(name) == Some(value))
}

/// What a Token is told whose Secret's place is taken; `whose`: by whom.
#[must_use]
pub fn conflict(intent: &Intent, whose: &str) -> Problem {
    Problem::new(
        Reason::SecretConflict,
        Retry::Every(CONFLICT_PERIOD),
        format!(
            "spec.secret.name: the Secret {} exists and {whose}; it is left as it is. Choose another name, or remove that Secret",
            intent.secret.key
        ),
    )
}

#[cfg(test)]
mod tests;
