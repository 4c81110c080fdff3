//! What the watches have shown, kept small: with ten thousand Tokens this is most of the operator's memory. So whatever is named
//! in several places is held once, and shared.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::cluster::{OwnerRef, TokenRecord};
use crate::domain::intent::{Key, Kind, SecretKey};
use crate::domain::plan::Content;
use crate::domain::secret::labelled;

use super::record::SecretRecord;

/// A Token or ClusterToken, and the Secret that it wants.
#[derive(Debug)]
struct Known {
    record: TokenRecord,
    wants: Option<Arc<SecretKey>>,
}

/// Tokens and managed Secrets of the cluster.
#[derive(Debug, Default)]
pub struct Index {
    tokens: HashMap<Arc<Key>, Box<Known>>,
    wanted: HashMap<Arc<SecretKey>, Vec<Arc<Key>>>,
    strays: HashMap<Arc<Key>, Vec<Arc<SecretKey>>>,
    secrets: HashMap<Arc<SecretKey>, Box<SecretRecord>>,
    relisted_tokens: HashMap<Kind, HashSet<Arc<Key>>>,
    relisted_secrets: Option<HashSet<Arc<SecretKey>>>,
}

impl Index {
    /// A Token or ClusterToken as it is now. Returns its key, or `None` if that, or something newer, is known already.
    pub fn put_token(&mut self, record: TokenRecord) -> Option<Arc<Key>> {
        self.put(record, false)
    }

    /// A Token or ClusterToken as the API server answered when its status was written: of one version, that counts before what a watch
    /// says, which leaves out fields that are new for a moment after the kinds were upgraded.
    pub fn wrote_token(&mut self, record: TokenRecord) {
        self.put(record, true);
    }

    fn put(&mut self, mut record: TokenRecord, answered: bool) -> Option<Arc<Key>> {
        if let Some((key, _)) = self.tokens.get_key_value(&record.key) {
            record.key = key.clone();
        }
        let key = record.key.clone();
        if let Some(seen) = self.relisted_tokens.get_mut(&key.kind) {
            seen.insert(key.clone());
        }
        match self.tokens.entry(key.clone()) {
            Entry::Occupied(mut entry) => {
                let known = &mut entry.get_mut().record;
                if known.uid == record.uid {
                    let same = record.resource_version == known.resource_version;
                    if not_newer(&record.resource_version, &known.resource_version) && !(same && answered) {
                        return None;
                    }
                    record.uid = known.uid.clone();
                }
                *known = record;
            }
            Entry::Vacant(free) => {
                free.insert(Box::new(Known { record, wants: None }));
            }
        }
        Some(key)
    }

    /// A Token or ClusterToken is gone.
    pub fn remove_token(&mut self, key: &Key, uid: &str) -> Option<Arc<Key>> {
        let key = self
            .tokens
            .get(key)
            .filter(|known| *known.record.uid == *uid)?
            .record
            .key
            .clone();
        self.want(&key, None);
        self.tokens.remove(&key);
        self.strays.remove(&key);
        Some(key)
    }

    /// The Token of this key.
    #[must_use]
    pub fn token(&self, key: &Key) -> Option<&TokenRecord> {
        self.tokens.get(key).map(|known| &known.record)
    }

    /// The Token that this names, if it still exists: one of the same name that came after does not count.
    #[must_use]
    pub fn owner(&self, owner: &OwnerRef) -> Option<&TokenRecord> {
        self.token(&owner.key).filter(|token| token.uid == owner.uid)
    }

    /// Whose a managed Secret is: its owner's or, if someone has taken that away from one that we hold, the Token's that its labels name,
    /// which need not exist. One that was given to somebody else is theirs, until it is being deleted: then only we can let it go.
    #[must_use]
    pub fn owner_of(&self, key: &SecretKey, secret: &SecretRecord) -> Option<OwnerRef> {
        if secret.owner.is_some() {
            return secret.owner.clone();
        }
        let facts = secret.facts(None);
        if !facts.held || (facts.owner.is_some() && !secret.deleting) {
            return None;
        }
        let named = labelled(&facts.labels, &key.namespace)?;
        let uid = self.token(&named).map_or("".into(), |token| token.uid.clone());
        let wanted = self.wanted.get(key).into_iter().flatten();
        let mut claimants = wanted.filter_map(|key| self.token(key));
        let claimant = claimants.find(|token| facts.is_of(&token.key, &token.uid, None));
        Some(claimant.map_or_else(
            || OwnerRef {
                key: Arc::new(named),
                uid,
            },
            TokenRecord::reference,
        ))
    }

    /// Whether another Secret of a living Token has the same token.
    #[must_use]
    pub fn has_copy(&self, key: &SecretKey, secret: &SecretRecord) -> bool {
        let lives =
            |other: &SecretRecord| !other.deleting && other.owner.as_ref().is_some_and(|o| self.owner(o).is_some());
        let hash = secret.hashed_token();
        let mut others = self.secrets.iter().filter(|(other, _)| ***other != *key);
        hash.is_some() && others.any(|(_, other)| other.hashed_token() == hash && lives(other))
    }

    /// Every Token's key.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.tokens.keys()
    }

    /// Every managed Secret.
    pub fn secrets(&self) -> impl Iterator<Item = (&SecretKey, &SecretRecord)> {
        self.secrets.iter().map(|(key, secret)| (&**key, &**secret))
    }

    /// The one copy of a Secret's name that is kept.
    fn shared(&self, key: &SecretKey) -> Arc<SecretKey> {
        let of_secret = self.secrets.get_key_value(key).map(|(known, _)| known);
        let of_token = || self.wanted.get_key_value(key).map(|(known, _)| known);
        of_secret
            .or_else(of_token)
            .cloned()
            .unwrap_or_else(|| Arc::new(key.clone()))
    }

    /// Notes which Secret a Token wants.
    pub fn want(&mut self, key: &Arc<Key>, secret: Option<&SecretKey>) {
        let secret = secret.map(|secret| self.shared(secret));
        let Some(known) = self.tokens.get_mut(key).filter(|known| known.wants != secret) else {
            return;
        };
        let before = std::mem::replace(&mut known.wants, secret.clone());
        if let Some(before) = before
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
            // Most Secrets are wanted by one Token, for which a Vec would make room for four.
            self.wanted
                .entry(secret)
                .or_insert_with(|| Vec::with_capacity(1))
                .push(key.clone());
        }
    }

    /// The Secret that a Token wants.
    #[must_use]
    pub fn wanted(&self, key: &Key) -> Option<&SecretKey> {
        self.tokens.get(key)?.wants.as_deref()
    }

    /// The Tokens that a change of this Secret concerns: its owner, and whoever wants one of its name.
    #[must_use]
    pub fn concerned(&self, key: &SecretKey) -> Vec<Arc<Key>> {
        let owner = self
            .secrets
            .get(key)
            .and_then(|secret| self.owner(secret.owner.as_ref()?));
        let owner = owner.map(|token| &token.key);
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
        let wanted = self.wanted(key);
        let owned = |stray: &&Arc<SecretKey>| {
            let secret = self.secrets.get(*stray);
            secret.is_some_and(|s| !s.deleting && s.owner.as_ref().is_some_and(|owner| *owner.uid == *uid))
        };
        let strays = self.strays.get(key).into_iter().flatten().filter(owned);
        strays
            .map(|stray| &**stray)
            .filter(|stray| Some(*stray) != wanted)
            .cloned()
            .collect()
    }

    /// Finds Secrets whose Tokens want another name: some may have been renamed while nobody watched.
    pub fn find_strays(&mut self) {
        let mut strays: HashMap<_, Vec<_>> = HashMap::new();
        for (secret, record) in &self.secrets {
            let owner = record.owner.as_ref().and_then(|owner| self.owner(owner));
            if let Some(owner) = owner
                && self.wanted(&owner.key) != Some(secret)
            {
                strays.entry(owner.key.clone()).or_default().push(secret.clone());
            }
        }
        self.strays = strays;
    }

    /// A managed Secret as it is now. `false` if that, or something newer, is known already.
    pub fn put_secret(&mut self, key: &SecretKey, mut record: SecretRecord, content: Option<Content>) -> bool {
        let key = self.shared(key);
        if let Some(seen) = &mut self.relisted_secrets {
            seen.insert(key.clone());
        }
        if let Some(known) = self.secrets.get(&key).filter(|known| known.uid == record.uid) {
            let news = content.is_some() && content != known.judged;
            let same = known.version == record.version;
            if not_newer(&record.version, &known.version) && !(same && news) {
                return false;
            }
        }
        record.judged = content;
        self.share_owner(&mut record);
        self.secrets.insert(key, Box::new(record));
        true
    }

    /// A Secret's owner is named by the words that its Token is.
    fn share_owner(&self, secret: &mut SecretRecord) {
        let token = secret.owner.as_ref().and_then(|owner| self.owner(owner));
        secret.owner = token.map(TokenRecord::reference).or_else(|| secret.owner.take());
    }

    /// A managed Secret is gone.
    pub fn remove_secret(&mut self, key: &SecretKey, uid: &str) {
        if self.secrets.get(key).is_some_and(|known| *known.uid == *uid) {
            self.secrets.remove(key);
        }
    }

    /// We have deleted a managed Secret: it is not deleted again until the watch tells.
    pub fn deleted(&mut self, key: &SecretKey, uid: &str) {
        if let Some(secret) = self.secrets.get_mut(key).filter(|known| *known.uid == *uid) {
            secret.deleting = true;
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
            .map(|(_, known)| known.record.clone())
            .collect()
    }

    /// The managed Secrets are about to be listed anew.
    pub fn relist_secrets(&mut self) {
        self.relisted_secrets = Some(HashSet::new());
    }

    /// Everything has been listed, the Secrets perhaps before their Tokens.
    pub fn share_owners(&mut self) {
        let mut secrets = std::mem::take(&mut self.secrets);
        secrets.values_mut().for_each(|secret| self.share_owner(secret));
        self.secrets = secrets;
    }

    /// All managed Secrets have been listed: what was not among them is gone. Returns what is lost, with
    /// the UIDs.
    pub fn secrets_listed(&mut self) -> Vec<(SecretKey, Box<str>)> {
        let Some(seen) = self.relisted_secrets.take() else {
            return Vec::new();
        };
        let lost = self.secrets.extract_if(|key, _| !seen.contains(key));
        lost.map(|(key, secret)| ((*key).clone(), secret.uid)).collect()
    }
}

/// Whether `version` is `than`, or came before it. Resource versions of one resource count up; should they ever not be numbers, the
/// later word counts.
fn not_newer(version: &str, than: &str) -> bool {
    match (version.parse::<u64>(), than.parse::<u64>()) {
        (Ok(version), Ok(than)) => version <= than,
        _ => version == than,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_version_the_answer_to_a_write_counts_before_what_a_watch_says() {
        let record = |version: &str, generation: Option<i64>| {
            let object = serde_json::json!({"metadata": {"name": "t", "namespace": "n", "uid": "u", "resourceVersion": version},
                "spec": {}, "status": {"observedGeneration": generation}});
            TokenRecord::new(Kind::Token, serde_json::from_value(object).unwrap()).unwrap()
        };
        let mut index = Index::default();
        let key = index.put_token(record("7", None)).unwrap();
        let known = |index: &Index| index.token(&key).unwrap().read().1.observed_generation;
        assert_eq!(index.put_token(record("7", Some(1))), None);
        assert_eq!(known(&index), None);
        index.wrote_token(record("7", Some(1)));
        assert_eq!(known(&index), Some(1));
        assert_eq!(index.put_token(record("7", None)), None);
        index.wrote_token(record("6", None));
        assert_eq!(known(&index), Some(1));
    }
}
