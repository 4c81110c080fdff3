//! Everything that can come of asking GitHub, other than what was asked for.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::Reason;
use crate::domain::SignError;
use crate::domain::schedule::Retry;

const MINUTE: Duration = Duration::from_secs(60);
/// What only heals by a change at GitHub is looked at again after this long.
const TEN_MINUTES: Duration = Duration::from_secs(10 * 60);
const QUARTER_OF_AN_HOUR: Duration = Duration::from_secs(15 * 60);

/// Why GitHub's answer is not what was asked for. It owns its [`Reason`] and its [`Retry`]; its text names the field, the
/// value and the cure, and never holds a token or a key. `said` is GitHub's own message, made safe by [`crate::domain::quote`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The JWT could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The request cannot be made as it was asked for.
    #[error("{0}")]
    InvalidRequest(String),
    /// 401 naming `exp` or `iat`: the clocks differ.
    #[error("GitHub refuses the App's JWT because of its times: {said}; set the clock of this machine right (NTP)")]
    Clock {
        /// GitHub's message.
        said: String,
    },
    /// Wrong key or wrong issuer.
    #[error(
        "GitHub at {base_url} does not accept the JWT of {issuer}: {said}; check that this ID and the private key belong to \
         one App of that GitHub, and that the key has not been deleted there"
    )]
    AppRefused {
        /// `appID N` or `clientID X`.
        issuer: String,
        /// Which GitHub.
        base_url: String,
        /// GitHub's message.
        said: String,
    },
    /// The installation is suspended.
    #[error("{installation} is suspended: {said}; its owner can lift that in the account's settings, \"GitHub Apps\"")]
    Suspended {
        /// `installationID N`, or the token's installation.
        installation: String,
        /// GitHub's message.
        said: String,
    },
    /// An IP allow list keeps us out.
    #[error("an IP allow list keeps this cluster out: {said}; its owner must add the cluster's outgoing address")]
    IpNotAllowed {
        /// GitHub's message.
        said: String,
    },
    /// The requests of the hour are used up: the whole App waits.
    #[error("GitHub's rate limit is used up: {said}; it is refilled within the hour")]
    PrimaryLimit {
        /// When there are new ones, by GitHub's clock.
        resets_at: Timestamp,
        /// GitHub's message.
        said: String,
    },
    /// Too much in too short a time: the whole App waits.
    #[error("GitHub asks the whole App to slow down: {said}; if this happens often, lower rate_limit")]
    SecondaryLimit {
        /// How long GitHub wants us to wait, if it says so.
        announced: Option<Duration>,
        /// When to go on, by GitHub's clock.
        until: Timestamp,
        /// GitHub's message.
        said: String,
    },
    /// Never installed, uninstalled, or installed again under a new ID.
    #[error(
        "installationID {installation_id} is no installation of {issuer} at {base_url}: {said}; check the ID, or install the \
         App again and use its new ID"
    )]
    InstallationNotFound {
        /// The ID that was asked for.
        installation_id: u64,
        /// `appID N` or `clientID X`.
        issuer: String,
        /// Which GitHub.
        base_url: String,
        /// GitHub's message.
        said: String,
    },
    /// More permissions than the installation has.
    #[error(
        "permissions {permissions} are more than installationID {installation_id} has: {said}; ask for less, or add them to \
         the App and let the account's owner accept them"
    )]
    PermissionsNotGranted {
        /// The ID that was asked for.
        installation_id: u64,
        /// What was asked for.
        permissions: String,
        /// GitHub's message.
        said: String,
    },
    /// A repository that does not exist or is outside of the installation.
    #[error(
        "{repositories} are not all within installationID {installation_id}: {said}; check the spelling (names without \
         owner), or let the account's owner add them to the installation"
    )]
    RepositoryNotAccessible {
        /// The ID that was asked for.
        installation_id: u64,
        /// What was asked for.
        repositories: String,
        /// GitHub's message.
        said: String,
    },
    /// A token that does not work, or does not yet: GitHub needs some seconds after minting.
    #[error("GitHub does not accept the token (HTTP {status}): {said}; a new token can take some seconds to work")]
    TokenNotActive {
        /// HTTP status.
        status: u16,
        /// GitHub's message.
        said: String,
    },
    /// Any other refusal.
    #[error("GitHub at {base_url} refuses the request (HTTP {status}): {said}; check base_url and what the App may do")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Which GitHub.
        base_url: String,
        /// GitHub's message.
        said: String,
    },
    /// No connection, no answer in time, or a server error.
    #[error("GitHub at {base_url} is not available: {problem}")]
    Unavailable {
        /// Which GitHub.
        base_url: String,
        /// What happened.
        problem: String,
    },
    /// An answer that cannot be understood. Its body is never quoted, since it may hold a token.
    #[error("the answer of {base_url} is not GitHub's: {problem}; check base_url and any proxy on the way")]
    InvalidAnswer {
        /// Which GitHub.
        base_url: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Error {
    /// The reason for conditions, events and metrics.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Error::Sign(error) => error.reason(),
            Error::InvalidRequest(_) => Reason::InvalidSpec,
            Error::Clock { .. } => Reason::ClockSkew,
            Error::AppRefused { .. } => Reason::AppAuthenticationFailed,
            Error::Suspended { .. } => Reason::InstallationSuspended,
            Error::IpNotAllowed { .. } => Reason::IpNotAllowed,
            Error::PrimaryLimit { .. } => Reason::RateLimited,
            Error::SecondaryLimit { .. } => Reason::SecondaryRateLimited,
            Error::InstallationNotFound { .. } => Reason::InstallationNotFound,
            Error::PermissionsNotGranted { .. } => Reason::PermissionsNotGranted,
            Error::RepositoryNotAccessible { .. } => Reason::RepositoryNotAccessible,
            Error::TokenNotActive { .. } | Error::Refused { .. } => Reason::RequestRefused,
            Error::Unavailable { .. } => Reason::GitHubUnavailable,
            Error::InvalidAnswer { .. } => Reason::InvalidAnswer,
        }
    }

    /// Whether another App of the same GitHub may be answered otherwise.
    #[must_use]
    pub const fn is_about_the_app(&self) -> bool {
        match self {
            Error::Sign(_)
            | Error::AppRefused { .. }
            | Error::Suspended { .. }
            | Error::PrimaryLimit { .. }
            | Error::SecondaryLimit { .. }
            | Error::InstallationNotFound { .. }
            | Error::PermissionsNotGranted { .. }
            | Error::RepositoryNotAccessible { .. } => true,
            Error::InvalidRequest(_)
            | Error::Clock { .. }
            | Error::IpNotAllowed { .. }
            | Error::TokenNotActive { .. }
            | Error::Refused { .. }
            | Error::Unavailable { .. }
            | Error::InvalidAnswer { .. } => false,
        }
    }

    /// When asking again makes sense.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Error::Sign(error) => error.retry(),
            Error::TokenNotActive { .. } | Error::Unavailable { .. } | Error::InvalidAnswer { .. } => Retry::Backoff,
            // The client has corrected the skew and tried once more by itself.
            Error::Clock { .. } => Retry::After(MINUTE),
            Error::InvalidRequest(_)
            | Error::AppRefused { .. }
            | Error::Suspended { .. }
            | Error::InstallationNotFound { .. }
            | Error::PermissionsNotGranted { .. }
            | Error::RepositoryNotAccessible { .. }
            | Error::Refused { .. } => Retry::Every(TEN_MINUTES),
            Error::IpNotAllowed { .. } => Retry::Every(QUARTER_OF_AN_HOUR),
            Error::PrimaryLimit { resets_at: until, .. } | Error::SecondaryLimit { until, .. } => {
                Retry::HoldApp(*until)
            }
        }
    }
}
