//! The custom resources, and the names of everything that others may rely on.

mod app;
pub mod crd;
pub mod names;
mod policy;
mod reason;
mod secret;
mod status;
mod time;
mod token;

pub use app::{App, AppSpec, AppStatus, DEFAULT_KEY, InstallationStatus, KeyRef, PoolMember, Provider};
pub use policy::{
    Access, DEFAULT_GRACE_PERIOD, Enforcement, LONGEST_TIME, LabelRequirement, NamespaceSelector, Refusal, TokenPolicy,
    TokenPolicySpec, TokenPolicyStatus,
};
pub use reason::Reason;
pub use secret::{ClusterSecretSpec, ExtraData, ExtraDataRef, Format, SecretSpec};
pub use status::{Condition, InstallationAccessToken, ManagedSecret, TokenStatus, condition};
pub use time::Time;
pub use token::{
    AppRef, ClusterToken, ClusterTokenSpec, DEFAULT_REFRESH_INTERVAL, DEFAULT_RETRY_INTERVAL, LocalAppRef, Token,
    TokenScope, TokenSpec,
};
