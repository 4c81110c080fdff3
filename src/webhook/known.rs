//! The Tokens and ClusterTokens of the cluster, in memory, on every replica: a review waits for no API server.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::cluster::{Change, TokenRecord, Tokens};
use crate::domain::intent::{Key, Kind};
use crate::domain::pod::TokenFacts;

/// How long the API server may take to say whether a Token exists that is not known here.
const LOOK: Duration = Duration::from_secs(1);

/// What is known of every Token. A clone is a handle on the same.
#[derive(Clone)]
pub struct Known {
    tokens: Tokens,
    facts: Arc<RwLock<HashMap<Key, Entry>>>,
    warm: watch::Sender<bool>,
}

struct Entry {
    facts: Arc<TokenFacts>,
    /// The listing in which it was last seen.
    listing: u64,
}

impl Known {
    /// Nothing yet: [`Known::follow`] fills it.
    #[must_use]
    pub fn new(tokens: Tokens) -> Self {
        Known {
            tokens,
            facts: Arc::default(),
            warm: watch::Sender::new(false),
        }
    }

    /// The API server, for what is not in memory.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Becomes true when both kinds have been listed once.
    #[must_use]
    pub fn warm(&self) -> watch::Receiver<bool> {
        self.warm.subscribe()
    }

    /// What is known of a Token; one that is not in memory is asked for once, so that a Token and its pod can be applied
    /// together. `None`: it does not exist.
    ///
    /// # Errors
    /// When the API server does not say within a second whether it exists.
    pub async fn get(&self, key: &Key) -> Result<Option<Arc<TokenFacts>>, String> {
        if let Some(facts) = self.in_memory(key) {
            return Ok(Some(facts));
        }
        match timeout(LOOK, self.tokens.get(key)).await {
            Ok(Ok(found)) => Ok(found.map(|record| Arc::new(facts_of(&record)))),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {LOOK:?}")),
        }
    }

    fn in_memory(&self, key: &Key) -> Option<Arc<TokenFacts>> {
        let known = self.facts.read().unwrap_or_else(PoisonError::into_inner);
        known.get(key).map(|entry| entry.facts.clone())
    }

    /// Keeps what is known up to date, for as long as there are changes.
    pub async fn follow(self, changes: impl Stream<Item = Change> + Send) {
        let mut changes = std::pin::pin!(changes);
        let mut listings = [0_u64; 2];
        let mut listed = [false; 2];
        let at = |kind: Kind| usize::from(kind == Kind::ClusterToken);
        while let Some(change) = changes.next().await {
            let mut known = self.facts.write().unwrap_or_else(PoisonError::into_inner);
            match change {
                Change::Token(record) => {
                    let listing = listings.get(at(record.key.kind)).copied().unwrap_or_default();
                    let facts = Arc::new(facts_of(&record));
                    known.insert(record.key, Entry { facts, listing });
                }
                Change::TokenGone(record) => drop(known.remove(&record.key)),
                Change::TokensRestart(kind) => {
                    if let Some(listing) = listings.get_mut(at(kind)) {
                        *listing += 1;
                    }
                }
                Change::TokensListed(kind) => {
                    let listing = listings.get(at(kind)).copied().unwrap_or_default();
                    known.retain(|key, entry| key.kind != kind || entry.listing == listing);
                    if let Some(listed) = listed.get_mut(at(kind)) {
                        *listed = true;
                    }
                    self.warm.send_replace(listed == [true; 2]);
                }
                Change::Failed(error) => {
                    tracing::warn!(%error, "a watch of the webhook was interrupted; it is taken up again")
                }
                Change::Secret(_) | Change::SecretGone(_) | Change::SecretsRestart | Change::SecretsListed => {}
            }
        }
    }
}

fn facts_of(record: &TokenRecord) -> TokenFacts {
    let (read, status) = record.read();
    TokenFacts::new(&read, &status, record.deleting)
}
