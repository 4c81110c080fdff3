//! The Tokens and ClusterTokens of the cluster, in memory, on every replica: a review waits for no API server.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use futures::{Stream, StreamExt};
use tokio::sync::watch;

use crate::cluster::{Change, TokenRecord, Tokens, unserved};
use crate::domain::intent::{Key, Kind};
use crate::domain::pod::{SecretFacts, TokenFacts};

use super::inquiry::Inquiries;

/// What is known of every Token. A clone is a handle on the same.
#[derive(Clone)]
pub struct Known {
    inquiries: Inquiries,
    facts: Arc<RwLock<Table>>,
    warm: watch::Sender<bool>,
}

/// By namespace, and by name; ClusterTokens have no namespace. A replica that leads has the Tokens beside it once more, so this is
/// kept small.
type Table = HashMap<Option<Box<str>>, HashMap<Box<str>, Entry>>;

struct Entry {
    /// `None`: as nearly all are, see [`plain`].
    facts: Option<Box<TokenFacts>>,
    /// The listing in which it was last seen.
    listing: u32,
}

/// A Token that is ready and keeps a Secret of its own name, with the bare token in it. There is no such ClusterToken: where its
/// Secret is has to be remembered.
fn plain(key: &Key) -> Option<TokenFacts> {
    Some(TokenFacts {
        deleting: false,
        secret: Ok(SecretFacts::presumed(key, key.namespace.as_deref()?)),
        not_ready: None,
    })
}

impl Known {
    /// Nothing yet: [`Known::follow`] fills it.
    #[must_use]
    pub fn new(tokens: Tokens) -> Self {
        Known {
            inquiries: Inquiries::new(tokens),
            facts: Arc::default(),
            warm: watch::Sender::new(false),
        }
    }

    /// The API server, for what is not in memory.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        self.inquiries.tokens()
    }

    /// Becomes true when both kinds have been listed once.
    #[must_use]
    pub fn warm(&self) -> watch::Receiver<bool> {
        self.warm.subscribe()
    }

    /// What is known of a Token; one that is not in memory is asked for, so that a Token and its pod can be applied together.
    /// `None`: it does not exist.
    ///
    /// # Errors
    /// When the API server does not say within a second whether it exists.
    pub async fn get(&self, key: &Key) -> Result<Option<TokenFacts>, String> {
        if let Some(facts) = self.in_memory(key) {
            return Ok(Some(facts));
        }
        let found = self.inquiries.ask(key).await?;
        // The watch may have told of it meanwhile.
        Ok(self.in_memory(key).or_else(|| found.as_ref().map(facts_of)))
    }

    fn in_memory(&self, key: &Key) -> Option<TokenFacts> {
        let known = self.facts.read().unwrap_or_else(PoisonError::into_inner);
        let entry = known.get(&key.namespace)?.get(&key.name)?;
        entry.facts.as_deref().cloned().or_else(|| plain(key))
    }

    /// Keeps what is known up to date, for as long as there are changes.
    pub async fn follow(self, changes: impl Stream<Item = Change> + Send) {
        let mut changes = std::pin::pin!(changes);
        let mut listings = [0_u32; 2];
        let mut listed = [false; 2];
        let at = |kind: Kind| usize::from(kind == Kind::ClusterToken);
        while let Some(change) = changes.next().await {
            let mut known = self.facts.write().unwrap_or_else(PoisonError::into_inner);
            match change {
                Change::Token(record) => {
                    let listing = listings.get(at(record.key.kind)).copied().unwrap_or_default();
                    let Key { namespace, name, .. } = &*record.key;
                    let facts = Some(facts_of(&record)).filter(|facts| plain(&record.key).as_ref() != Some(facts));
                    let facts = facts.map(Box::new);
                    let there = known.entry(namespace.clone()).or_default();
                    there.insert(name.clone(), Entry { facts, listing });
                    self.inquiries.forget(&record.key);
                }
                Change::TokenGone(record) => {
                    self.inquiries.forget(&record.key);
                    let namespace = &record.key.namespace;
                    if let Some(there) = known.get_mut(namespace) {
                        there.remove(&record.key.name);
                        if there.is_empty() {
                            known.remove(namespace);
                        }
                    }
                }
                Change::TokensRestart(kind) => {
                    if let Some(listing) = listings.get_mut(at(kind)) {
                        *listing = listing.wrapping_add(1);
                    }
                }
                Change::TokensListed(kind) => {
                    let listing = listings.get(at(kind)).copied().unwrap_or_default();
                    known.retain(|namespace, there| {
                        if namespace.is_some() == (kind == Kind::Token) {
                            there.retain(|_, entry| entry.listing == listing);
                            there.shrink_to_fit();
                        }
                        !there.is_empty()
                    });
                    if let Some(listed) = listed.get_mut(at(kind)) {
                        *listed = true;
                    }
                    self.warm.send_replace(listed == [true; 2]);
                }
                Change::Failed(error) | Change::Unlisted(_, error) => {
                    tracing::warn!(%error, "a watch of the webhook was interrupted; it is taken up again")
                }
                Change::Unserved(kind) => tracing::warn!("{}", unserved(kind.as_str())),
                Change::NamespaceEnds(_)
                | Change::Secret(_)
                | Change::SecretGone(_)
                | Change::SecretsRestart
                | Change::SecretsListed => {}
            }
        }
    }
}

fn facts_of(record: &TokenRecord) -> TokenFacts {
    let (read, status) = record.read();
    TokenFacts::new(&read, &status, record.deleting)
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use serde_json::json;

    use super::*;
    use crate::cluster::Scope;

    fn record(name: &str) -> TokenRecord {
        let object = json!({"apiVersion": "github.as-code.io/v1", "kind": "Token",
            "metadata": {"name": name, "namespace": "team", "uid": name}, "spec": {}});
        TokenRecord::new(Kind::Token, serde_json::from_value(object).unwrap()).unwrap()
    }

    /// What is known after these changes. The API server is out of reach.
    async fn known(changes: Vec<Change>) -> Known {
        let client = kube::Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let known = Known::new(Tokens::new(client, Scope::new(&[])));
        known.clone().follow(stream::iter(changes)).await;
        known
    }

    fn has(known: &Known, name: &str) -> bool {
        known.in_memory(&record(name).key).is_some()
    }

    #[tokio::test]
    async fn what_a_new_listing_lacks_is_gone_and_what_it_has_was_there_all_the_time() {
        let first = || {
            vec![
                Change::TokensRestart(Kind::Token),
                Change::Token(record("stays")),
                Change::Token(record("goes")),
                Change::TokensListed(Kind::Token),
                Change::TokensRestart(Kind::Token),
                Change::Token(record("stays")),
            ]
        };
        let half = known(first()).await;
        assert!(has(&half, "stays") && has(&half, "goes"), "half a listing says nothing");
        let mut all = first();
        all.push(Change::TokensListed(Kind::Token));
        let whole = known(all).await;
        assert!(has(&whole, "stays") && !has(&whole, "goes"));
    }

    #[tokio::test]
    async fn what_is_remembered_is_what_the_object_says_whether_it_is_plain_or_not() {
        let object = |name: &str, spec: serde_json::Value, ready: &str| {
            let condition = json!({"type": "Ready", "status": ready, "reason": "Issued", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let object = json!({"apiVersion": "github.as-code.io/v1", "kind": "Token", "spec": spec,
                "metadata": {"name": name, "namespace": "team", "uid": name}, "status": {"conditions": [condition]}});
            TokenRecord::new(Kind::Token, serde_json::from_value(object).unwrap()).unwrap()
        };
        let all = || {
            [
                object("plain", json!({}), "True"),
                object("waits", json!({}), "False"),
                object("named", json!({"secret": {"name": "other"}}), "True"),
                object("flux", json!({"secret": {"format": "basicAuth"}}), "True"),
                object("wrong", json!({"permissions": {}}), "False"),
            ]
        };
        let known = known(all().map(Change::Token).into()).await;
        for record in all() {
            assert_eq!(known.in_memory(&record.key), Some(facts_of(&record)), "{}", record.key);
        }
        let table = known.facts.read().unwrap();
        let whole = table
            .values()
            .flat_map(HashMap::values)
            .filter(|entry| entry.facts.is_some());
        assert_eq!(whole.count(), 4, "only the plain one costs nothing");
    }

    #[tokio::test]
    async fn it_is_warm_when_both_kinds_have_been_listed() {
        let one = known(vec![Change::TokensListed(Kind::Token)]).await;
        assert!(!*one.warm().borrow());
        let both = known(vec![
            Change::TokensListed(Kind::Token),
            Change::TokensListed(Kind::ClusterToken),
        ])
        .await;
        assert!(*both.warm().borrow());
    }

    #[tokio::test]
    async fn a_token_that_is_gone_is_asked_for_and_no_answer_is_no_statement() {
        let known = known(vec![Change::Token(record("goes")), Change::TokenGone(record("goes"))]).await;
        assert!(!has(&known, "goes"));
        assert!(known.get(&record("goes").key).await.is_err());
    }
}
