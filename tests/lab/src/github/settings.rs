//! What the stand-in starts with, and the knobs that can be turned while it runs.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::key::AppKey;

/// How much of something a token may do. `Admin` includes `Write`, which includes `Read`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Look.
    Read,
    /// Change.
    Write,
    /// Administer.
    Admin,
}

/// Permission names and levels, as in GitHub's `app-permissions` schema; any name is allowed.
pub type Permissions = BTreeMap<String, Level>;

/// Makes a permissions map from pairs.
#[must_use]
pub fn permissions<const N: usize>(pairs: [(&str, Level); N]) -> Permissions {
    pairs
        .into_iter()
        .map(|(name, level)| (name.to_owned(), level))
        .collect()
}

/// Who an installation belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountKind {
    /// An organization.
    #[default]
    Organization,
    /// A person.
    User,
}

/// A repository of an installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// GitHub's number for it, unique over all installations.
    pub id: u64,
    /// Bare name, without the owner.
    pub name: String,
    /// Whether reading it takes a token.
    #[serde(default = "yes")]
    pub private: bool,
}

fn yes() -> bool {
    true
}

/// One installation of the App.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installation {
    /// Installation ID.
    pub id: u64,
    /// Login of the account that it is installed on.
    pub account: String,
    /// Organization or user.
    #[serde(default)]
    pub kind: AccountKind,
    /// The repositories it may see.
    #[serde(default)]
    pub repositories: Vec<Repository>,
    /// What it was granted.
    #[serde(default)]
    pub permissions: Permissions,
    /// Suspended by its owner: nothing is minted, and its tokens do not work.
    #[serde(default)]
    pub suspended: bool,
    /// `true`: installed on all repositories of the account, as `repository_selection: all`.
    #[serde(default)]
    pub all_repositories: bool,
}

impl Default for Installation {
    /// Organization `octo-org` with two private repositories, `alpha` and `beta`, and a public one, `gamma`.
    fn default() -> Self {
        let repository = |id, name: &str, private| Repository {
            id,
            name: name.to_owned(),
            private,
        };
        Self {
            id: 67_890,
            account: "octo-org".to_owned(),
            kind: AccountKind::Organization,
            repositories: vec![
                repository(101, "alpha", true),
                repository(102, "beta", true),
                repository(103, "gamma", false),
            ],
            permissions: permissions([
                ("contents", Level::Write),
                ("issues", Level::Write),
                ("metadata", Level::Read),
                ("pull_requests", Level::Write),
            ]),
            suspended: false,
            all_repositories: false,
        }
    }
}

/// What a token looks like. GitHub issues both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenShape {
    /// `ghs_` and 36 letters and digits.
    #[default]
    Short,
    /// `ghs_<app>_<jwt>`, some 520 characters.
    Long,
}

/// GitHub's secondary limits, which protect it from bursts. They count for one App or one installation.
/// <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits>
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecondaryLimit {
    /// Requests at once.
    pub concurrent: u32,
    /// Points for one endpoint within `window`; a request that changes something costs 5, any other 1.
    pub points: u32,
    /// The sliding window.
    #[serde(with = "seconds")]
    pub window: Duration,
    /// What `retry-after` says, and how long everything is then refused.
    #[serde(with = "seconds")]
    pub retry_after: Duration,
    /// 403 or 429: GitHub uses both.
    pub status: u16,
}

impl Default for SecondaryLimit {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            concurrent: 100,
            points: 900,
            window: minute,
            retry_after: minute,
            status: 403,
        }
    }
}

/// GitHub's primary limit: requests in a fixed window, counted for the App's JWT and for each installation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrimaryLimit {
    /// Requests within `window`.
    pub requests: u32,
    /// The fixed window.
    #[serde(with = "seconds")]
    pub window: Duration,
    /// 403 or 429: GitHub uses both.
    pub status: u16,
}

impl Default for PrimaryLimit {
    fn default() -> Self {
        Self {
            requests: 5_000,
            window: Duration::from_secs(3_600),
            status: 403,
        }
    }
}

/// Rate limits. The default has none, as Enterprise Server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests at once and points a minute.
    pub secondary: Option<SecondaryLimit>,
    /// Requests an hour.
    pub primary: Option<PrimaryLimit>,
}

impl Limits {
    /// The limits of github.com.
    #[must_use]
    pub fn github_com() -> Self {
        Self {
            secondary: Some(SecondaryLimit::default()),
            primary: Some(PrimaryLimit::default()),
        }
    }
}

/// What can be changed while the stand-in runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// How long a new token lives; `expires_at` is cut to whole seconds, as GitHub's is.
    #[serde(with = "seconds")]
    pub token_lifetime: Duration,
    /// How long each request takes: half of it before it has its effect, half after.
    #[serde(with = "seconds")]
    pub latency: Duration,
    /// What the stand-in's clock is ahead of ours (negative: behind).
    #[serde(with = "signed_seconds")]
    pub clock_offset: SignedDuration,
    /// How long a new token answers 401 before it works.
    #[serde(with = "seconds")]
    pub activation_delay: Duration,
    /// What a new token looks like.
    pub token_shape: TokenShape,
    /// Rate limits.
    pub limits: Limits,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            token_lifetime: Duration::from_secs(3_600),
            latency: Duration::ZERO,
            clock_offset: SignedDuration::ZERO,
            activation_delay: Duration::ZERO,
            token_shape: TokenShape::Short,
            limits: Limits::default(),
        }
    }
}

/// What the stand-in starts with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The App's number.
    pub app_id: u64,
    /// The App's client ID.
    pub client_id: String,
    /// The App's slug.
    pub app_slug: String,
    /// The App's key; without one, the key that all stand-ins of the process share.
    #[serde(skip)]
    pub key: Option<AppKey>,
    /// Where to listen; port 0 takes a free one. Anything but loopback and the lab's node is refused.
    pub listen: SocketAddr,
    /// HTTPS with a certificate of the stand-in's own CA.
    pub tls: bool,
    /// What can be changed later.
    pub knobs: Knobs,
    /// Where the App is installed.
    pub installations: Vec<Installation>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            app_id: 12_345,
            client_id: "Iv23liStandIn".to_owned(),
            app_slug: "stand-in".to_owned(),
            key: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: false,
            knobs: Knobs::default(),
            installations: vec![Installation::default()],
        }
    }
}

/// Durations as seconds in JSON.
pub(super) mod seconds {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(value.as_secs_f64())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(D::Error::custom)
    }
}

mod signed_seconds {
    use jiff::SignedDuration;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &SignedDuration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(value.as_secs_f64())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SignedDuration, D::Error> {
        SignedDuration::try_from_secs_f64(f64::deserialize(from)?).map_err(D::Error::custom)
    }
}
