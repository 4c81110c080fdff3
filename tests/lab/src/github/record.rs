//! What happened, for assertions.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::digest::{Sha256, sha256};
use super::fault::Route;
use super::settings::Permissions;

/// How many requests are remembered one by one; the counters go on.
const REQUESTS_KEPT: usize = 200_000;

/// How many JWTs are remembered. A client makes a new one every few minutes, and one comes many times in a row.
const JWTS_KEPT: usize = 1_000;
/// With how many of the last ones a JWT is compared.
const JWTS_COMPARED: usize = 4;

/// The body of a mint request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct MintRequest {
    /// Permissions asked for; all, if not given.
    pub permissions: Option<Permissions>,
    /// Bare names of repositories; with `repository_ids`, all if neither is given.
    pub repositories: Option<Vec<String>>,
    /// IDs of repositories.
    pub repository_ids: Option<Vec<u64>>,
}

/// What a token may do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Grant {
    /// Permissions, always with `metadata`.
    pub permissions: Permissions,
    /// IDs of the repositories; `None`: whatever the installation has.
    pub repositories: Option<BTreeSet<u64>>,
}

/// A token that was issued.
#[derive(Clone, Debug, Serialize)]
pub struct Mint {
    /// 0 for the first token, and so on: the order in which GitHub issued them.
    pub sequence: u64,
    /// When, by the stand-in's clock.
    pub at: Timestamp,
    /// For which installation.
    pub installation: u64,
    /// What was asked for.
    pub requested: Arc<MintRequest>,
    /// What was granted.
    pub granted: Arc<Grant>,
    /// The token.
    pub token: Arc<str>,
    /// When it ends, by the stand-in's clock.
    pub expires_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// SHA-256 of the JWT that asked: equal for mints by one JWT.
    #[serde(skip)]
    pub jwt: [u8; 32],
}

/// A request that came in.
#[derive(Clone, Debug, Serialize)]
pub struct RequestRecord {
    /// When it came, by the stand-in's clock.
    pub at: Timestamp,
    /// HTTP method.
    pub method: String,
    /// Path without `/api/v3` and without the query.
    pub path: String,
    /// What it was about.
    pub route: Route,
    /// The answer's status; `None`: the client left, or the connection was reset.
    pub status: Option<u16>,
    /// How long it took, in seconds.
    pub seconds: f32,
}

/// A token that was revoked by `DELETE /installation/token`.
#[derive(Clone, Debug, Serialize)]
pub struct Revocation {
    /// When, by the stand-in's clock.
    pub at: Timestamp,
    /// Its installation.
    pub installation: u64,
    /// The token.
    pub token: Arc<str>,
}

/// What GitHub thinks of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    /// It works until then, by the stand-in's clock.
    Valid {
        /// End.
        expires_at: Timestamp,
    },
    /// Its time is over.
    Expired,
    /// It was revoked, or its installation is gone.
    Revoked,
    /// Never issued.
    Unknown,
}

/// Counters since the start.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// Requests of any kind, but for `/_lab`.
    pub requests: u64,
    /// Requests by what they were about and by status (0: no answer).
    pub by_answer: HashMap<Route, HashMap<u16, u64>>,
    /// Tokens issued.
    pub mints: u64,
    /// Tokens revoked by request.
    pub revocations: u64,
    /// Requests that exceeded a secondary limit.
    pub secondary_violations: u64,
    /// Requests that exceeded the primary limit.
    pub primary_violations: u64,
    /// Different JWTs that were accepted.
    pub jwts: u64,
    /// Most requests with the App's JWT that were under way at once.
    pub most_at_once: u32,
}

/// Everything that was recorded.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub mints: Vec<Mint>,
    pub requests: VecDeque<RequestRecord>,
    pub revocations: Vec<Revocation>,
    pub counts: Counts,
    by_token: HashMap<Sha256, usize>,
    /// Every different JWT that came, whether it was accepted or not, in the order in which they came.
    pub jwts: Vec<String>,
    accepted_jwts: HashSet<Sha256>,
    asked: HashSet<Arc<MintRequest>>,
    granted: HashSet<Arc<Grant>>,
}

impl Records {
    pub fn mint(&mut self, token: Arc<str>, mut mint: Mint) -> &Mint {
        let index = self.mints.len();
        mint.sequence = index as u64;
        self.by_token.insert(sha256(token.as_bytes()), index);
        self.counts.mints += 1;
        self.mints.push(Mint { token, ..mint });
        &self.mints[index]
    }

    /// Ten thousand tokens of one scope hold one copy of it.
    pub fn share(&mut self, asked: MintRequest, granted: Grant) -> (Arc<MintRequest>, Arc<Grant>) {
        (shared(&mut self.asked, asked), shared(&mut self.granted, granted))
    }

    pub fn find(&self, token: &str) -> Option<&Mint> {
        self.by_token
            .get(&sha256(token.as_bytes()))
            .map(|&index| &self.mints[index])
    }

    pub fn revoke(&mut self, token: &str, at: Timestamp) {
        let Some(&index) = self.by_token.get(&sha256(token.as_bytes())) else {
            return;
        };
        let mint = &mut self.mints[index];
        mint.revoked_at = Some(at);
        let (installation, token) = (mint.installation, Arc::clone(&mint.token));
        self.revocations.push(Revocation {
            at,
            installation,
            token,
        });
        self.counts.revocations += 1;
    }

    /// Remembers a JWT that came, to look for leaks.
    pub fn jwt_came(&mut self, jwt: &str) {
        let known = self.jwts.iter().rev().take(JWTS_COMPARED).any(|known| known == jwt);
        if !known && self.jwts.len() < JWTS_KEPT {
            self.jwts.push(jwt.to_owned());
        }
    }

    /// Counts a JWT that was accepted.
    pub fn jwt(&mut self, hash: Sha256) {
        if self.accepted_jwts.insert(hash) {
            self.counts.jwts += 1;
        }
    }

    pub fn request(&mut self, request: RequestRecord) {
        self.counts.requests += 1;
        let by_status = self.counts.by_answer.entry(request.route).or_default();
        *by_status.entry(request.status.unwrap_or(0)).or_default() += 1;
        if self.requests.len() == REQUESTS_KEPT {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }
}

fn shared<T: Eq + Hash>(known: &mut HashSet<Arc<T>>, value: T) -> Arc<T> {
    if let Some(known) = known.get(&value) {
        return Arc::clone(known);
    }
    let value = Arc::new(value);
    known.insert(Arc::clone(&value));
    value
}

impl Mint {
    /// Whether the token was issued longer ago than `delay`.
    pub(super) fn is_active(&self, now: Timestamp, delay: SignedDuration) -> bool {
        now.duration_since(self.at) >= delay
    }
}
