//! The limits that the operator keeps to by itself.

use std::num::NonZeroU32;

use crate::domain::BaseUrl;
use crate::github::Limits;

/// The highest value that a limit may have: anything above is a slip.
pub const HIGHEST_LIMIT: u32 = 100_000;

/// What `rate_limit` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateLimit {
    /// GitHub's published limits on github.com and `*.ghe.com`; none elsewhere, since an Enterprise Server has its own,
    /// off by default.
    #[default]
    Auto,
    /// None anywhere.
    Off,
    /// These, everywhere. A number that is not given is GitHub's.
    Fixed {
        /// Token requests in any 60 s.
        mints_per_minute: Option<NonZeroU32>,
        /// Requests at once.
        concurrent: Option<NonZeroU32>,
    },
}

impl RateLimit {
    /// The limits for an App of the GitHub at this base URL.
    #[must_use]
    pub fn limits_for(self, base_url: &BaseUrl) -> Limits {
        match self {
            RateLimit::Auto => Limits::of(base_url),
            RateLimit::Off => Limits::default(),
            RateLimit::Fixed {
                mints_per_minute,
                concurrent,
            } => Limits {
                concurrent: concurrent.or(NonZeroU32::new(100)),
                per_minute: mints_per_minute.or(NonZeroU32::new(180)),
            },
        }
    }
}
