//! Why something is as it is: one closed list, which feeds the condition, the event and the metric's label.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The reason of a condition, an event, a log line and the `reason` label of a metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason, in the order of this file.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)+];

            /// The CamelCase text, as Kubernetes wants a condition's reason.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Reason::$name => stringify!($name),)+
                }
            }
        }
    };
}

reasons! {
    /// A good token is in the Secret.
    Issued,
    /// No token has been asked for yet.
    Pending,
    /// The Token is being deleted, and its Secret with it.
    Deleting,
    /// The object cannot be read or contradicts itself.
    InvalidSpec,
    /// A template of `spec.secret.template` cannot be rendered.
    InvalidTemplate,
    /// A Secret of the wanted name exists and is not ours.
    SecretConflict,
    /// The API server refused a write of the Secret.
    SecretWriteFailed,
    /// The Secret's namespace is missing or being deleted.
    NamespaceUnavailable,
    /// `spec.appRef` names an App that does not exist.
    AppNotFound,
    /// The App exists but does not work yet.
    AppNotReady,
    /// An App of `spec.pool` is missing, does not work or cannot issue the same tokens, and is skipped.
    PoolIncomplete,
    /// No `spec.appRef`, and the operator has no App of its own.
    NoStartupConfig,
    /// The App's namespace may not use this key.
    KeyNotAllowed,
    /// The private key is not a usable RSA key.
    InvalidKey,
    /// The key of a key service is not meant for signing.
    KeyWrongUsage,
    /// The key of a key service is switched off.
    KeyDisabled,
    /// The key of a key service is destroyed or about to be.
    KeyDeleted,
    /// The key of a key service has no material yet.
    KeyPendingImport,
    /// The key service knows no such key.
    KeyNotFound,
    /// The key is in another region than the key service that is asked.
    KeyWrongRegion,
    /// The key service does not let the operator use the key.
    KeyAccessDenied,
    /// There are no credentials for the key service, or it does not accept them.
    KeyCredentialsMissing,
    /// The key service wants fewer requests.
    KeyServiceThrottled,
    /// The private key cannot be reached at the moment.
    KeyUnavailable,
    /// The key service did not answer in time.
    KeyServiceSlow,
    /// The key service's signature is not one of its public key.
    BadSignature,
    /// This program was built without the key's provider.
    ProviderNotBuilt,
    /// GitHub refused the App's JWT: wrong key, or wrong App ID or client ID.
    AppAuthenticationFailed,
    /// GitHub refused the App's JWT because of the clock.
    ClockSkew,
    /// No installation is known for this Token.
    InstallationUnknown,
    /// The installation does not exist, or no longer.
    InstallationNotFound,
    /// The installation is suspended.
    InstallationSuspended,
    /// An IP allow list of the account keeps the operator out.
    IpNotAllowed,
    /// The permissions asked for are more than the installation has.
    PermissionsNotGranted,
    /// A repository asked for does not exist or is outside of the installation.
    RepositoryNotAccessible,
    /// GitHub refused the request for another reason.
    RequestRefused,
    /// The primary rate limit is used up.
    RateLimited,
    /// A secondary rate limit was hit: the whole App waits.
    SecondaryRateLimited,
    /// GitHub cannot be reached, or answers with a server error.
    GitHubUnavailable,
    /// GitHub's answer cannot be understood.
    InvalidAnswer,
    /// The token in the Secret has expired.
    TokenExpired,
    /// A permission name or level is new to this version, or misspelt.
    UnknownPermission,
    /// An interval is outside of its bounds; the nearest bound is used.
    IntervalOutOfBounds,
    /// Repositories are named, but an organization permission reaches further.
    ScopeWiderThanRepositories,
    /// `spec.secret.extraData` names a ConfigMap or Secret, out of which nothing is copied.
    ExtraDataIgnored,
    /// The Secret's content was changed by someone else and has been replaced.
    SecretRepaired,
    /// The token of a deleted Token was revoked.
    Revoked,
    /// A token that was to be revoked could not be, in time or at the GitHub that issued it; it expires by itself.
    RevocationAbandoned,
    /// No TokenPolicy allows what is asked for.
    PolicyForbids,
    /// A TokenPolicy that only warns does not allow what is asked for.
    PolicyWarns,
    /// Nothing speaks against a Token that is to be stored.
    Accepted,
    /// A pod gets its token.
    Injected,
    /// A pod asks for no token.
    NotRequested,
    /// An annotation of a pod is wrong, or contradicts another.
    InvalidAnnotation,
    /// A pod names a Token that does not exist, or is being deleted.
    TokenMissing,
    /// A pod asks for a token of another namespace.
    OtherNamespace,
    /// A path, volume or variable of a pod is taken, or two tokens are for the same.
    PodConflict,
    /// A pod, or the format of a Token's Secret, that no token can be injected with, or a pod of which no container gets one.
    NotInjectable,
}

impl Reason {
    /// Whether it is the Secret's place that cannot be had, and not the token.
    #[must_use]
    pub const fn is_about_the_secret(self) -> bool {
        matches!(
            self,
            Reason::SecretConflict | Reason::SecretWriteFailed | Reason::NamespaceUnavailable
        )
    }

    /// Whether it is the App that does not work, and not the Token.
    #[must_use]
    pub const fn is_about_the_app(self) -> bool {
        matches!(
            self,
            Reason::AppNotFound
                | Reason::AppNotReady
                | Reason::KeyNotAllowed
                | Reason::NoStartupConfig
                | Reason::InvalidKey
                | Reason::KeyWrongUsage
                | Reason::KeyDisabled
                | Reason::KeyDeleted
                | Reason::KeyPendingImport
                | Reason::KeyNotFound
                | Reason::KeyWrongRegion
                | Reason::KeyAccessDenied
                | Reason::KeyCredentialsMissing
                | Reason::KeyServiceThrottled
                | Reason::KeyUnavailable
                | Reason::KeyServiceSlow
                | Reason::BadSignature
                | Reason::ProviderNotBuilt
                | Reason::AppAuthenticationFailed
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
