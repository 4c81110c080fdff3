//! A managed Secret as the index keeps it.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;

use crate::api::names::{FINALIZER, annotation};
use crate::api::{Format, Time};
use crate::cluster::{Metadata, OwnerRef};
use crate::domain::intent::AppKey;
use crate::domain::plan::{Content, SecretFacts};
use crate::domain::secret::own_labels;

/// A managed Secret's metadata.
#[derive(Clone, Debug)]
pub struct SecretRecord {
    /// Its UID.
    pub uid: Box<str>,
    /// Its resource version.
    pub version: Box<str>,
    /// Its controlling owner, if that is a Token or ClusterToken.
    pub owner: Option<OwnerRef>,
    /// Whether something else is its controlling owner.
    controlled: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it has our finalizer.
    pub held: bool,
    /// What its content is, if that was looked at in this version.
    pub judged: Option<Content>,
    issued_at: Second,
    expires_at: Second,
    hashes: [Hash; HASHES.len()],
    format: Option<Format>,
    /// Whether it has the labels that every Secret of its owner has.
    labelled: bool,
    /// All other labels and annotations, as JSON; most Secrets have none.
    rest: Option<Box<[u8]>>,
}

/// Seconds since 1970, which is how exactly annotations tell times: a third of an `Option<Timestamp>`.
#[derive(Clone, Copy, Debug)]
struct Second(i64);

impl Second {
    const NEVER: Second = Second(i64::MIN);

    fn of(time: Option<Timestamp>) -> Self {
        time.map_or(Second::NEVER, |time| Second(time.as_second()))
    }

    fn time(self) -> Option<Timestamp> {
        Timestamp::from_second(self.0).ok()
    }
}

/// Annotations that are kept as 32 bytes.
const HASHES: [&str; 3] = [
    annotation::SCOPE_HASH,
    annotation::HASHED_TOKEN,
    annotation::METADATA_HASH,
];
/// SHA-256.
type Hash = [u8; 32];
/// No text has this one.
const NONE: Hash = [0; 32];
/// Names and values.
type Pairs = BTreeMap<String, String>;

impl SecretRecord {
    /// Takes what is needed of a Secret's metadata. `None` if it has no UID, which the API server never lets happen.
    #[must_use]
    pub fn new(meta: &Metadata) -> Option<Self> {
        let meta = &meta.metadata;
        let owner = OwnerRef::of(meta);
        let mut owners = meta.owner_references.iter().flatten();
        let controlled = owner.is_none() && owners.any(|owner| owner.controller == Some(true));
        let mut labels = meta.labels.clone().unwrap_or_default();
        let mut notes = meta.annotations.clone().unwrap_or_default();
        let own = owner.as_ref().map(|owner| own_labels(&owner.key)).unwrap_or_default();
        let labelled = !own.is_empty() && own.iter().all(|(name, value)| labels.get(name) == Some(value));
        if labelled {
            labels.retain(|name, _| !own.contains_key(name));
        }
        let mut time = |name: &str| Second::of(notes.remove(name).and_then(|text| text.parse().ok()));
        let (issued_at, expires_at) = (time(annotation::ISSUED_AT), time(annotation::EXPIRES_AT));
        let mut hash = |name: &str| STANDARD.decode(notes.remove(name)?).ok()?.try_into().ok();
        let hashes = HASHES.map(|name| hash(name).unwrap_or(NONE));
        for read_elsewhere in [annotation::CONTENT_HASH, annotation::BASE_URL] {
            notes.remove(read_elsewhere);
        }
        let named = |format: &Format| {
            notes
                .get(annotation::FORMAT)
                .is_some_and(|text| text == format.as_str())
        };
        let format = Format::ALL.into_iter().find(named);
        if format.is_some() {
            notes.remove(annotation::FORMAT);
        }
        let rest = (!labels.is_empty() || !notes.is_empty()).then(|| serde_json::to_vec(&(labels, notes)));
        Some(SecretRecord {
            uid: meta.uid.as_deref()?.into(),
            version: meta.resource_version.as_deref().unwrap_or_default().into(),
            owner,
            controlled,
            deleting: meta.deletion_timestamp.is_some(),
            held: meta.finalizers.iter().flatten().any(|name| name == FINALIZER),
            judged: None,
            issued_at,
            expires_at,
            hashes,
            format,
            labelled,
            rest: rest.and_then(Result::ok).map(Into::into),
        })
    }

    /// When its token was issued.
    #[must_use]
    pub fn issued_at(&self) -> Option<Timestamp> {
        self.issued_at.time()
    }

    /// The hash of its token.
    #[must_use]
    pub fn hashed_token(&self) -> Option<&[u8; 32]> {
        let [_, hashed_token, _] = &self.hashes;
        Some(hashed_token).filter(|hash| **hash != NONE)
    }

    /// The App object that issued its token, if one did.
    #[must_use]
    pub fn issuer(&self) -> Option<AppKey> {
        self.note(annotation::APP).map(|name| AppKey::named(&name))
    }

    /// Whether someone has taken our finalizer off it: not we, when it was let go of.
    #[must_use]
    pub fn is_loose(&self) -> bool {
        let ours = !self.held && !self.deleting && self.hashed_token().is_some();
        ours && self.note(annotation::RELEASED).is_none()
    }

    /// One of the annotations that are kept as JSON.
    fn note(&self, name: &str) -> Option<String> {
        let (_, mut annotations): (Pairs, Pairs) = serde_json::from_slice(self.rest.as_ref()?).ok()?;
        annotations.remove(name)
    }

    /// What the plan has to know. `written` is the version that the owner's status says we wrote: nobody touched it since.
    #[must_use]
    pub fn facts(&self, written: Option<&str>) -> SecretFacts {
        let rest = self.rest.as_ref().and_then(|rest| serde_json::from_slice(rest).ok());
        let (mut labels, mut annotations): (Pairs, Pairs) = rest.unwrap_or_default();
        if let Some(owner) = self.owner.as_ref().filter(|_| self.labelled) {
            labels.extend(own_labels(&owner.key));
        }
        let times = [
            (annotation::ISSUED_AT, self.issued_at.time()),
            (annotation::EXPIRES_AT, self.expires_at.time()),
        ];
        let times = times
            .into_iter()
            .filter_map(|(name, at)| Some((name, Time::from(at?).to_string())));
        let hashes = HASHES.into_iter().zip(&self.hashes).filter(|(_, hash)| **hash != NONE);
        let hashes = hashes.map(|(name, hash)| (name, STANDARD.encode(hash)));
        let format = self
            .format
            .map(|format| (annotation::FORMAT, format.as_str().to_owned()));
        let kept = times.chain(hashes).chain(format);
        annotations.extend(kept.map(|(name, value)| (name.to_owned(), value)));
        let untouched = written == Some(&*self.version);
        let content = self
            .judged
            .unwrap_or(if untouched { Content::Intact } else { Content::Unknown });
        SecretFacts {
            uid: self.uid.to_string(),
            resource_version: self.version.to_string(),
            owner: match &self.owner {
                Some(owner) => Some(owner.uid.to_string()),
                None => self.controlled.then(String::new),
            },
            deleting: self.deleting,
            held: self.held,
            labels,
            annotations,
            content,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There is one for each Token, and the allocator has sizes of its own: 192, 224, 256.
    #[test]
    fn a_record_takes_three_lines_of_a_cache() {
        assert!(size_of::<SecretRecord>() <= 192, "{}", size_of::<SecretRecord>());
    }

    #[test]
    fn nothing_that_every_secret_says_is_kept_as_text() {
        let hash = STANDARD.encode([7; 32]);
        let meta = serde_json::from_value(serde_json::json!({"metadata": {"uid": "1", "annotations": {
            annotation::SCOPE_HASH: hash, annotation::HASHED_TOKEN: hash, annotation::METADATA_HASH: hash,
            annotation::CONTENT_HASH: hash, annotation::FORMAT: "netrc", annotation::BASE_URL: "https://api.github.com",
            annotation::ISSUED_AT: "2026-01-02T03:04:05Z", annotation::EXPIRES_AT: "2026-01-02T04:04:05Z"}}}));
        let record = SecretRecord::new(&meta.unwrap()).unwrap();
        assert!(record.rest.is_none(), "{record:?}");
    }
}
