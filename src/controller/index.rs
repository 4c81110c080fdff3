//! What the watches have shown, kept small: with ten thousand Tokens this is most of the operator's memory.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;

use crate::api::names::{FINALIZER, annotation};
use crate::api::{Format, Time};
use crate::cluster::{Metadata, OwnerRef, TokenRecord};
use crate::domain::intent::{Key, Kind, SecretKey};
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
    pub owner: Option<Box<OwnerRef>>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it has our finalizer.
    pub held: bool,
    /// The version at which its content was looked at, and what was found.
    judged: Option<(Box<str>, Content)>,
    issued_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    hashes: [Option<[u8; 32]>; HASHES.len()],
    format: Option<Format>,
    /// Whether it has the labels that every Secret of its owner has.
    labelled: bool,
    /// All other labels and annotations, as JSON; most Secrets have none.
    rest: Option<Box<[u8]>>,
}

/// Annotations that are kept as 32 bytes.
const HASHES: [&str; 3] = [
    annotation::SCOPE_HASH,
    annotation::HASHED_TOKEN,
    annotation::METADATA_HASH,
];
/// Names and values.
type Pairs = BTreeMap<String, String>;

impl SecretRecord {
    /// Takes what is needed of a Secret's metadata. `None` if it has no UID, which the API server never lets happen.
    #[must_use]
    pub fn new(meta: &Metadata) -> Option<Self> {
        let meta = &meta.metadata;
        let owner = OwnerRef::of(meta).map(Box::new);
        let mut labels = meta.labels.clone().unwrap_or_default();
        let mut notes = meta.annotations.clone().unwrap_or_default();
        let own = owner.as_ref().map(|owner| own_labels(&owner.key)).unwrap_or_default();
        let labelled = !own.is_empty() && own.iter().all(|(name, value)| labels.get(name) == Some(value));
        if labelled {
            labels.retain(|name, _| !own.contains_key(name));
        }
        let mut time = |name: &str| notes.remove(name).and_then(|text| text.parse().ok());
        let (issued_at, expires_at) = (time(annotation::ISSUED_AT), time(annotation::EXPIRES_AT));
        let hashes = HASHES.map(|name| STANDARD.decode(notes.remove(name)?).ok()?.try_into().ok());
        notes.remove(annotation::CONTENT_HASH);
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
    pub const fn issued_at(&self) -> Option<Timestamp> {
        self.issued_at
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
            (annotation::ISSUED_AT, self.issued_at),
            (annotation::EXPIRES_AT, self.expires_at),
        ];
        let times = times
            .into_iter()
            .filter_map(|(name, at)| Some((name, Time::from(at?).to_string())));
        let hashes = HASHES.into_iter().zip(&self.hashes);
        let hashes = hashes.filter_map(|(name, hash)| Some((name, STANDARD.encode((*hash)?))));
        let format = self
            .format
            .map(|format| (annotation::FORMAT, format.as_str().to_owned()));
        let kept = times.chain(hashes).chain(format);
        annotations.extend(kept.map(|(name, value)| (name.to_owned(), value)));
        let content = match &self.judged {
            Some((version, content)) if *version == self.version => *content,
            _ if written == Some(&*self.version) => Content::Intact,
            _ => Content::Unknown,
        };
        SecretFacts {
            uid: self.uid.to_string(),
            resource_version: self.version.to_string(),
            owner: self.owner.as_ref().map(|owner| owner.uid.clone()),
            deleting: self.deleting,
            labels,
            annotations,
            content,
        }
    }
}

/// Tokens and managed Secrets of the cluster.
#[derive(Debug, Default)]
pub struct Index {
    tokens: HashMap<Arc<Key>, Box<TokenRecord>>,
    owners: HashMap<Box<str>, Arc<Key>>,
    wanted: HashMap<SecretKey, Vec<Arc<Key>>>,
    wants: HashMap<Arc<Key>, SecretKey>,
    strays: HashMap<Arc<Key>, Vec<SecretKey>>,
    secrets: HashMap<SecretKey, Box<SecretRecord>>,
    relisted_tokens: HashMap<Kind, HashSet<Arc<Key>>>,
    relisted_secrets: Option<HashSet<SecretKey>>,
}

impl Index {
    /// A Token or ClusterToken as it is now. Returns its key, or `None` if something newer is known already.
    pub fn put_token(&mut self, record: TokenRecord) -> Option<Arc<Key>> {
        let key = self
            .tokens
            .get_key_value(&record.key)
            .map_or_else(|| Arc::new(record.key.clone()), |(key, _)| key.clone());
        if let Some(seen) = self.relisted_tokens.get_mut(&key.kind) {
            seen.insert(key.clone());
        }
        match self.tokens.entry(key.clone()) {
            Entry::Occupied(mut known) => {
                if known.get().uid == record.uid && older(&record.resource_version, &known.get().resource_version) {
                    return None;
                }
                if known.get().uid != record.uid {
                    self.owners.remove(&known.get().uid);
                }
                self.owners.insert(record.uid.clone(), key.clone());
                known.insert(Box::new(record));
            }
            Entry::Vacant(free) => {
                self.owners.insert(record.uid.clone(), key.clone());
                free.insert(Box::new(record));
            }
        }
        Some(key)
    }

    /// A Token or ClusterToken is gone.
    pub fn remove_token(&mut self, key: &Key, uid: &str) -> Option<Arc<Key>> {
        if self.tokens.get(key).is_none_or(|known| *known.uid != *uid) {
            return None;
        }
        let (key, record) = self.tokens.remove_entry(key)?;
        self.owners.remove(&record.uid);
        self.strays.remove(&key);
        self.want(&key, None);
        Some(key)
    }

    /// The Token of this key.
    #[must_use]
    pub fn token(&self, key: &Key) -> Option<&TokenRecord> {
        self.tokens.get(key).map(Box::as_ref)
    }

    /// The key of the Token with this UID.
    #[must_use]
    pub fn owner(&self, uid: &str) -> Option<&Arc<Key>> {
        self.owners.get(uid)
    }

    /// Every Token's key.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.tokens.keys()
    }

    /// Every managed Secret.
    pub fn secrets(&self) -> impl Iterator<Item = (&SecretKey, &SecretRecord)> {
        self.secrets.iter().map(|(key, secret)| (key, &**secret))
    }

    /// Notes which Secret a Token wants.
    pub fn want(&mut self, key: &Arc<Key>, secret: Option<&SecretKey>) {
        if self.wants.get(key) == secret {
            return;
        }
        if let Some(before) = self.wants.remove(key)
            && let Entry::Occupied(mut others) = self.wanted.entry(before)
        {
            others.get_mut().retain(|other| other != key);
            let stray = others.key().clone();
            if others.get().is_empty() {
                others.remove();
            }
            if secret.is_some() {
                self.strays.entry(key.clone()).or_default().push(stray);
            }
        }
        if let Some(secret) = secret {
            self.wants.insert(key.clone(), secret.clone());
            self.wanted.entry(secret.clone()).or_default().push(key.clone());
        }
    }

    /// The Secret that a Token wants.
    #[must_use]
    pub fn wanted(&self, key: &Key) -> Option<&SecretKey> {
        self.wants.get(key)
    }

    /// The Tokens that a change of this Secret concerns: its owner, and whoever wants one of its name.
    #[must_use]
    pub fn concerned(&self, key: &SecretKey) -> Vec<Arc<Key>> {
        let owner = self
            .secrets
            .get(key)
            .and_then(|secret| self.owner(&secret.owner.as_ref()?.uid));
        let mut keys: Vec<_> = self
            .wanted
            .get(key)
            .into_iter()
            .flatten()
            .chain(owner)
            .cloned()
            .collect();
        keys.dedup();
        keys
    }

    /// The managed Secret of this key.
    #[must_use]
    pub fn secret(&self, key: &SecretKey) -> Option<&SecretRecord> {
        self.secrets.get(key).map(Box::as_ref)
    }

    /// The Secrets that a Token owns, but does not want any more: former names.
    #[must_use]
    pub fn former(&self, key: &Key, uid: &str) -> Vec<SecretKey> {
        let wanted = self.wants.get(key);
        let strays = self
            .strays
            .get(key)
            .into_iter()
            .flatten()
            .filter(|stray| Some(*stray) != wanted);
        let owned = |stray: &&SecretKey| {
            let secret = self.secrets.get(*stray);
            secret.is_some_and(|s| !s.deleting && s.owner.as_ref().is_some_and(|owner| owner.uid == uid))
        };
        strays.filter(owned).cloned().collect()
    }

    /// Finds Secrets whose Tokens want another name: some may have been renamed while nobody watched.
    pub fn find_strays(&mut self) {
        self.strays.clear();
        for (secret, record) in &self.secrets {
            let owner = record.owner.as_ref().and_then(|owner| self.owners.get(&*owner.uid));
            if let Some(owner) = owner
                && self.wants.get(owner) != Some(secret)
            {
                self.strays.entry(owner.clone()).or_default().push(secret.clone());
            }
        }
    }

    /// A managed Secret as it is now. `false` if something newer is known already.
    pub fn put_secret(&mut self, key: &SecretKey, mut record: SecretRecord, content: Option<Content>) -> bool {
        if let Some(seen) = &mut self.relisted_secrets {
            seen.insert(key.clone());
        }
        let known = self.secrets.get_mut(key).filter(|known| known.uid == record.uid);
        if let Some(known) = known {
            if older(&record.version, &known.version) {
                return false;
            }
            record.judged = known.judged.take();
        }
        if let Some(content) = content {
            record.judged = Some((record.version.clone(), content));
        }
        self.secrets.insert(key.clone(), Box::new(record));
        true
    }

    /// A managed Secret is gone.
    pub fn remove_secret(&mut self, key: &SecretKey, uid: &str) {
        if self.secrets.get(key).is_some_and(|known| *known.uid == *uid) {
            self.secrets.remove(key);
        }
    }

    /// The objects of this kind are about to be listed anew.
    pub fn relist_tokens(&mut self, kind: Kind) {
        self.relisted_tokens.insert(kind, HashSet::new());
    }

    /// All objects of this kind have been listed: what was not among them is gone.
    pub fn tokens_listed(&mut self, kind: Kind) -> Vec<TokenRecord> {
        let Some(seen) = self.relisted_tokens.remove(&kind) else {
            return Vec::new();
        };
        self.tokens
            .iter()
            .filter(|(key, _)| key.kind == kind && !seen.contains(*key))
            .map(|(_, record)| (**record).clone())
            .collect()
    }

    /// The managed Secrets are about to be listed anew.
    pub fn relist_secrets(&mut self) {
        self.relisted_secrets = Some(HashSet::new());
    }

    /// All managed Secrets have been listed: what was not among them is gone. Returns what is lost.
    pub fn secrets_listed(&mut self) -> Vec<SecretKey> {
        let Some(seen) = self.relisted_secrets.take() else {
            return Vec::new();
        };
        let lost: Vec<SecretKey> = self
            .secrets
            .keys()
            .filter(|key| !seen.contains(*key))
            .cloned()
            .collect();
        for key in &lost {
            self.secrets.remove(key);
        }
        lost
    }
}

/// Whether `version` came before `than`. Resource versions of one resource count up; should they ever not be numbers, the later
/// word counts.
fn older(version: &str, than: &str) -> bool {
    match (version.parse::<u64>(), than.parse::<u64>()) {
        (Ok(version), Ok(than)) => version < than,
        _ => false,
    }
}
