//! What the watches have shown, kept small: with ten thousand Tokens this is most of the operator's memory.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;

use crate::api::Time;
use crate::api::names::{FINALIZER, annotation};
use crate::cluster::{Metadata, OwnerRef, TokenRecord};
use crate::domain::intent::{Key, Kind, SecretKey};
use crate::domain::plan::{Content, SecretFacts};

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
    hashes: [Option<Box<[u8; 32]>>; HASHES.len()],
    labels: Pairs,
    annotations: Pairs,
}

/// Annotations that are kept as 32 bytes.
const HASHES: [&str; 3] = [
    annotation::SCOPE_HASH,
    annotation::HASHED_TOKEN,
    annotation::METADATA_HASH,
];
/// Names and values in one allocation each.
type Pairs = Box<[(Box<str>, Box<str>)]>;

impl SecretRecord {
    /// Takes what is needed of a Secret's metadata. `None` if it has no UID, which the API server never lets happen.
    #[must_use]
    pub fn new(meta: &Metadata) -> Option<Self> {
        let meta = &meta.metadata;
        let note = |name: &str| meta.annotations.as_ref().and_then(|all| all.get(name));
        let hash = |name: &str| STANDARD.decode(note(name)?).ok()?.try_into().ok().map(Box::new);
        let compact = |pairs: Option<&BTreeMap<String, String>>, skip: &dyn Fn(&str) -> bool| -> Pairs {
            let kept = pairs.into_iter().flatten().filter(|(name, _)| !skip(name));
            kept.map(|(name, value)| (name.as_str().into(), value.as_str().into()))
                .collect()
        };
        let elsewhere = |name: &str| {
            HASHES.contains(&name)
                || [annotation::ISSUED_AT, annotation::EXPIRES_AT, annotation::CONTENT_HASH].contains(&name)
        };
        Some(SecretRecord {
            uid: meta.uid.as_deref()?.into(),
            version: meta.resource_version.as_deref().unwrap_or_default().into(),
            owner: OwnerRef::of(meta).map(Box::new),
            deleting: meta.deletion_timestamp.is_some(),
            held: meta.finalizers.iter().flatten().any(|name| name == FINALIZER),
            judged: None,
            issued_at: note(annotation::ISSUED_AT).and_then(|text| text.parse().ok()),
            expires_at: note(annotation::EXPIRES_AT).and_then(|text| text.parse().ok()),
            hashes: HASHES.map(hash),
            labels: compact(meta.labels.as_ref(), &|_| false),
            annotations: compact(meta.annotations.as_ref(), &elsewhere),
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
        let spread = |pairs: &Pairs| pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let mut annotations: BTreeMap<String, String> = spread(&self.annotations);
        let times = [
            (annotation::ISSUED_AT, self.issued_at),
            (annotation::EXPIRES_AT, self.expires_at),
        ];
        annotations.extend(
            times
                .iter()
                .filter_map(|(name, at)| Some(((*name).to_owned(), Time::from((*at)?).to_string()))),
        );
        let hashes = HASHES.iter().zip(&self.hashes);
        annotations
            .extend(hashes.filter_map(|(name, hash)| Some(((*name).to_owned(), STANDARD.encode(hash.as_deref()?)))));
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
            labels: spread(&self.labels),
            annotations,
            content,
        }
    }
}

/// Tokens and managed Secrets of the cluster.
#[derive(Debug, Default)]
pub struct Index {
    tokens: HashMap<Arc<Key>, TokenRecord>,
    owners: HashMap<Box<str>, Arc<Key>>,
    wanted: HashMap<SecretKey, Vec<Arc<Key>>>,
    wants: HashMap<Arc<Key>, SecretKey>,
    strays: HashMap<Arc<Key>, Vec<SecretKey>>,
    secrets: HashMap<SecretKey, SecretRecord>,
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
                known.insert(record);
            }
            Entry::Vacant(free) => {
                self.owners.insert(record.uid.clone(), key.clone());
                free.insert(record);
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
        self.tokens.get(key)
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
        self.secrets.iter()
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
        self.secrets.get(key)
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
        self.secrets.insert(key.clone(), record);
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
        let lost = |(key, _): &(&Arc<Key>, &TokenRecord)| key.kind == kind && !seen.contains(*key);
        self.tokens
            .iter()
            .filter(lost)
            .map(|(_, record)| record.clone())
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
