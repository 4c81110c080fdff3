//! What a stand-in remembers, for assertions.

use std::sync::Arc;

use super::{Counts, GitHub, Mint, MintRequest, RequestRecord, Revocation, TokenState};

impl GitHub {
    /// All tokens in the order in which they were issued.
    #[must_use]
    pub fn mints(&self) -> Vec<Mint> {
        self.mints_since(0)
    }

    /// The tokens from the one of that sequence number on.
    #[must_use]
    pub fn mints_since(&self, sequence: usize) -> Vec<Mint> {
        self.state().records.mints.get(sequence..).unwrap_or_default().to_vec()
    }

    /// How many tokens were issued.
    #[must_use]
    pub fn mint_count(&self) -> usize {
        self.state().records.mints.len()
    }

    /// Every token ever issued, to look for leaks.
    #[must_use]
    pub fn tokens(&self) -> Vec<Arc<str>> {
        self.state()
            .records
            .mints
            .iter()
            .map(|mint| Arc::clone(&mint.token))
            .collect()
    }

    /// The different JWTs that came, accepted or not, to look for leaks: the first 1,000.
    #[must_use]
    pub fn jwts(&self) -> Vec<String> {
        self.state().records.jwts.clone()
    }

    /// The newest 200,000 requests, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.state().records.requests.iter().cloned().collect()
    }

    /// All revocations by request, oldest first.
    #[must_use]
    pub fn revocations(&self) -> Vec<Revocation> {
        self.state().records.revocations.clone()
    }

    /// Counters since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.state().records.counts.clone()
    }

    /// What GitHub thinks of a token now, whichever of its Apps has issued it.
    #[must_use]
    pub fn token_state(&self, token: &str) -> TokenState {
        match self.shared.other(token) {
            Some(other) => other.state().token_state(token),
            None => self.state().token_state(token),
        }
    }

    /// Whether a request for everything that the installation has would be granted now: it is there and not suspended,
    /// the App has a key, no fault waits for a mint, no limit is reached. Whether the caller's key and clock are right
    /// is not looked at.
    #[must_use]
    pub fn would_issue(&self, installation: u64) -> bool {
        self.would_issue_for(installation, &MintRequest::default())
    }

    /// The same for a request of that scope.
    #[must_use]
    pub fn would_issue_for(&self, installation: u64, asked: &MintRequest) -> bool {
        self.state().would_issue(installation, asked)
    }
}
