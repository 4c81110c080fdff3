//! The limits that the operator keeps to by itself.

/// What `rate_limit` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateLimit {
    /// GitHub's published limits on github.com and `*.ghe.com`; none elsewhere, since an Enterprise Server has its own,
    /// off by default.
    #[default]
    Auto,
    /// None anywhere.
    Off,
    /// These, everywhere.
    Fixed(Limits),
}

/// The limits of one App.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Token requests a minute, at least 1.
    pub mints_per_minute: u32,
    /// Requests at once, at least 1.
    pub concurrent: u32,
}

impl Limits {
    /// What GitHub allows: at most 100 requests at once, and 900 points a minute for an endpoint of which a POST costs 5
    /// (<https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>).
    pub const GITHUB: Limits = Limits {
        mints_per_minute: 180,
        concurrent: 100,
    };

    /// The highest value that either may have: anything above is a slip.
    pub const HIGHEST: u32 = 100_000;
}

impl RateLimit {
    /// The limits for an API at this base URL, if there are any.
    #[must_use]
    pub fn limits_for(self, base_url: &str) -> Option<Limits> {
        match self {
            RateLimit::Auto => is_github_com(base_url).then_some(Limits::GITHUB),
            RateLimit::Off => None,
            RateLimit::Fixed(limits) => Some(limits),
        }
    }
}

/// Whether GitHub itself runs what is at this URL: github.com, or data residency below ghe.com.
fn is_github_com(base_url: &str) -> bool {
    let Ok(url) = url::Url::parse(base_url) else {
        return false;
    };
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    host == "api.github.com" || host == "github.com" || host.ends_with(".ghe.com")
}
