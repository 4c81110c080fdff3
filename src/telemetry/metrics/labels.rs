//! The values that labels may have: closed lists, so that no input can grow the number of series.

use std::fmt::Write as _;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

use crate::api::Reason;
use crate::domain::intent::Kind;

macro_rules! labels {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $value_doc:literal])+ $value:ident = $text:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $value_doc])+ $value,)+ }

        impl $name {
            /// Every value.
            pub const ALL: &'static [$name] = &[$($name::$value),+];

            /// The label's text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$value => $text,)+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
                encoder.write_str(self.as_str())
            }
        }
    };
}

labels! {
    /// Who did it: the `controller` label, with the peer's names (`internal/controller/names.go`).
    Controller {
        /// The reconciler of Tokens.
        Token = "github-token",
        /// The reconciler of ClusterTokens.
        ClusterToken = "github-clustertoken",
        /// The reconciler of Apps.
        App = "github-app",
    }
}

impl From<Kind> for Controller {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Token => Controller::Token,
            Kind::ClusterToken => Controller::ClusterToken,
        }
    }
}

labels! {
    /// How it went: the `result` label.
    Outcome {
        /// It went well.
        Success = "success",
        /// It failed.
        Error = "error",
    }
}

impl<T, E> From<&Result<T, E>> for Outcome {
    fn from(result: &Result<T, E>) -> Self {
        if result.is_ok() {
            Outcome::Success
        } else {
            Outcome::Error
        }
    }
}

labels! {
    /// What was done to a managed Secret: the `operation` label.
    Operation {
        /// There was none.
        Create = "create",
        /// It was there.
        Update = "update",
        /// It was removed.
        Delete = "delete",
    }
}

labels! {
    /// Whose configuration is wrong: the `source` label, with the peer's names.
    ConfigSource {
        /// The startup configuration, or the App that a Token names.
        Startup = "ghapp",
        /// An App object.
        App = "app",
    }
}

labels! {
    /// How a revocation ended.
    Revocation {
        /// GitHub has revoked the token, or did not know it any more.
        Revoked = "revoked",
        /// GitHub could not be asked yet: it is tried again.
        Retried = "retried",
        /// Given up in time: the token expires by itself.
        Abandoned = "abandoned",
    }
}

labels! {
    /// Which webhook was called: the `operation` label.
    Webhook {
        /// Tokens for pods.
        Inject = "inject",
        /// Checks of our own kinds.
        Validate = "validate",
    }
}

labels! {
    /// How a review ended: the `outcome` label.
    Review {
        /// Let in as it is.
        Allowed = "allowed",
        /// Let in with a patch.
        Patched = "patched",
        /// Refused.
        Refused = "refused",
        /// Not understood.
        Rejected = "rejected",
    }
}

/// `Reason` as the `reason` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ReasonLabel(pub Reason);

/// The `reason` label where there may be none: empty then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct OptionalReason(pub Option<Reason>);

impl EncodeLabelValue for OptionalReason {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
        encoder.write_str(self.0.map_or("", Reason::as_str))
    }
}

impl EncodeLabelValue for ReasonLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
        encoder.write_str(self.0.as_str())
    }
}
