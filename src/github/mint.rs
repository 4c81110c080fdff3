//! `POST /app/installations/{id}/access_tokens`: the request and its answer, pure. See
//! <https://docs.github.com/en/rest/apps/apps#create-an-installation-access-token-for-an-app>.

use std::collections::BTreeMap;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Asked, classify};
use super::error::Error;
use crate::domain::digest::base64_sha256;
use crate::domain::intent::Scope;
use crate::domain::quote;

/// GitHub takes at most this many repositories.
const MOST_REPOSITORIES: usize = 500;
/// Tokens are opaque and their lengths vary (40 to some 520 today): longer than this is none, in bytes.
const LONGEST_TOKEN: usize = 8 * 1024;

/// What a token is to be good for. What is omitted is not limited: everything that the installation has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MintScope {
    /// Permission names and levels; `None` for all of the installation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<BTreeMap<String, String>>,
    /// Bare names, without owner.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
    /// GitHub's IDs of repositories.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repository_ids: Vec<u64>,
}

impl From<&Scope> for MintScope {
    fn from(scope: &Scope) -> Self {
        MintScope {
            permissions: scope.permissions.clone(),
            repositories: scope.repositories.clone(),
            repository_ids: scope.repository_ids.clone(),
        }
    }
}

impl MintScope {
    /// The body of the request.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for what GitHub would refuse or, worse, understand otherwise.
    pub fn body(&self) -> Result<Vec<u8>, Error> {
        // What `permissions: {}` grants is not documented; it might be everything.
        if self.permissions.as_ref().is_some_and(BTreeMap::is_empty) {
            return Err(Error::InvalidRequest(
                "permissions is empty, and what GitHub grants then is not documented: name at least one, or leave the field out".to_owned(),
            ));
        }
        let repositories = self.repositories.len() + self.repository_ids.len();
        if repositories > MOST_REPOSITORIES {
            return Err(Error::InvalidRequest(format!(
                "repositories and repositoryIDs are {repositories}, and GitHub takes at most {MOST_REPOSITORIES}: leave both out \
                 for all of the installation, or use several Tokens"
            )));
        }
        if let Some(name) = self
            .repositories
            .iter()
            .find(|name| name.is_empty() || name.contains('/'))
        {
            let bare = name.rsplit('/').find(|part| !part.is_empty()).unwrap_or("NAME");
            return Err(Error::InvalidRequest(format!(
                "repositories has {:?}, which is not a bare name: write {:?}",
                quote(name),
                quote(bare)
            )));
        }
        serde_json::to_vec(self).map_err(|error| Error::InvalidRequest(error.to_string()))
    }

    /// `{contents: write, issues: read}`, for messages.
    pub(super) fn permissions_text(&self) -> String {
        let pairs = self
            .permissions
            .iter()
            .flatten()
            .map(|(name, level)| format!("{name}: {level}"));
        format!("{{{}}}", quote(&pairs.collect::<Vec<_>>().join(", ")))
    }

    /// `repositories [a, b] and repositoryIDs [1]`, for messages.
    pub(super) fn repositories_text(&self) -> String {
        let ids: Vec<_> = self.repository_ids.iter().map(u64::to_string).collect();
        let lists = [
            ("repositories", self.repositories.join(", ")),
            ("repositoryIDs", ids.join(", ")),
        ];
        let texts = lists.iter().filter(|(_, list)| !list.is_empty());
        texts
            .map(|(name, list)| format!("{name} [{}]", quote(list)))
            .collect::<Vec<_>>()
            .join(" and ")
    }
}

/// Whether a token is good for every repository of its installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepositorySelection {
    /// All, also those that come later.
    All,
    /// Those that were chosen.
    Selected,
}

impl RepositorySelection {
    /// The word that GitHub has for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            RepositorySelection::All => "all",
            RepositorySelection::Selected => "selected",
        }
    }
}

/// A token and what GitHub says of it.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The token: opaque, printable ASCII, 1 to 8192 bytes.
    pub token: SecretString,
    /// When it was issued, by GitHub's clock.
    pub issued_at: Timestamp,
    /// When it ends, by GitHub's clock.
    pub expires_at: Timestamp,
    /// What was granted: names and levels.
    pub permissions: BTreeMap<String, String>,
    /// Which repositories, if GitHub says so in a way that we know.
    pub repository_selection: Option<RepositorySelection>,
    /// Bare names of the repositories, where GitHub lists them.
    pub repositories: Vec<String>,
    /// Standard base64 of the token's SHA-256: what GitHub's audit log calls `hashed_token`.
    pub hashed_token: String,
}

#[derive(Deserialize)]
struct Body {
    token: SecretString,
    expires_at: String,
    #[serde(default)]
    permissions: Option<BTreeMap<String, String>>,
    #[serde(default)]
    repository_selection: Option<String>,
    #[serde(default)]
    repositories: Option<Vec<Repository>>,
}

/// The name is all that is read of a repository: each is some 6 kB.
#[derive(Deserialize)]
struct Repository {
    name: String,
}

/// Reads the answer to a mint.
///
/// # Errors
/// What [`classify`] says of any status but 201; [`Error::InvalidAnswer`] for a 201 that is not a token now.
pub fn parse_mint_answer(asked: &Asked<'_>, answer: &Answer) -> Result<Minted, Error> {
    if answer.status() != 201 {
        return Err(classify(asked, answer));
    }
    let body: Body = answer.json(asked)?;
    let token = body.token.expose_secret();
    if token.is_empty() || token.len() > LONGEST_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let problem = "the field token is empty, too long, or holds characters that no token has";
        return Err(asked.invalid(problem.to_owned()));
    }
    let expires_at: Timestamp = body
        .expires_at
        .parse()
        .map_err(|_| asked.invalid("the field expires_at is not a time as in RFC 3339".to_owned()))?;
    if expires_at <= answer.at() {
        let problem = format!(
            "the token's expires_at {expires_at} is not after the answer's Date {}",
            answer.at()
        );
        return Err(asked.invalid(problem));
    }
    Ok(Minted {
        hashed_token: base64_sha256(token.as_bytes()),
        issued_at: answer.at(),
        expires_at,
        permissions: body.permissions.unwrap_or_default(),
        repository_selection: match body.repository_selection.as_deref() {
            Some("all") => Some(RepositorySelection::All),
            Some("selected") => Some(RepositorySelection::Selected),
            Some(_) | None => None,
        },
        repositories: body
            .repositories
            .into_iter()
            .flatten()
            .map(|repository| repository.name)
            .collect(),
        token: body.token,
    })
}
