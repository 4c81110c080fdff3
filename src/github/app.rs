//! `GET /app` and `GET /app/installations`: what GitHub knows of the App, pure. See
//! <https://docs.github.com/en/rest/apps/apps>.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::answer::{Answer, Asked, classify};
use super::error::Error;

/// The App itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct App {
    /// The App ID.
    pub id: u64,
    /// The name in the App's URL; it is also the login of its bot, as `SLUG[bot]`.
    #[serde(default)]
    pub slug: String,
    /// The client ID; not on old Enterprise Servers.
    #[serde(default)]
    pub client_id: Option<String>,
    /// The name for people.
    #[serde(default)]
    pub name: String,
    /// Who registered it.
    #[serde(default)]
    pub owner: Option<Account>,
    /// What it asks installations for: names and levels.
    #[serde(default)]
    pub permissions: BTreeMap<String, String>,
}

/// An organization, a user or an enterprise.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "AnyAccount")]
pub struct Account {
    /// The login of an organization or a user, the slug of an enterprise.
    pub login: String,
    /// `Organization`, `User`; enterprises have none.
    pub kind: Option<String>,
}

#[derive(Deserialize)]
struct AnyAccount {
    login: Option<String>,
    slug: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl From<AnyAccount> for Account {
    fn from(any: AnyAccount) -> Self {
        Account {
            login: any.login.or(any.slug).unwrap_or_default(),
            kind: any.kind,
        }
    }
}

/// One installation of the App.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Installation {
    /// The installation ID.
    pub id: u64,
    /// Where it is installed.
    #[serde(default)]
    pub account: Option<Account>,
    /// `all` or `selected`.
    #[serde(default)]
    pub repository_selection: Option<String>,
    /// What it grants: names and levels.
    #[serde(default)]
    pub permissions: BTreeMap<String, String>,
    /// Since when it has been suspended.
    #[serde(default)]
    pub suspended_at: Option<Timestamp>,
}

/// Reads the answer to `GET /app`.
///
/// # Errors
/// What [`classify`] says of any status but 200; [`Error::InvalidAnswer`].
pub fn parse_app(asked: &Asked<'_>, answer: &Answer) -> Result<App, Error> {
    if answer.status() == 200 {
        answer.json(asked)
    } else {
        Err(classify(asked, answer))
    }
}

/// Reads a page of `GET /app/installations`.
///
/// # Errors
/// What [`classify`] says of any status but 200; [`Error::InvalidAnswer`].
pub fn parse_installations(asked: &Asked<'_>, answer: &Answer) -> Result<Vec<Installation>, Error> {
    if answer.status() == 200 {
        answer.json(asked)
    } else {
        Err(classify(asked, answer))
    }
}
