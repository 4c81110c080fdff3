//! Where GitHub is: the one place that knows how API roots, web hosts and products belong together.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// A checked API root: `https://api.github.com`, `https://HOST/api/v3` (GitHub Enterprise Server) or
/// `https://api.SUBDOMAIN.ghe.com` (data residency). It has no credentials, query or fragment, and no slash at its end.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BaseUrl(Url);

/// Why a text is no API root: it names the field, the value and the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// The text has no scheme.
    #[error("base_url {0:?} has no scheme: write https://{0}")]
    NoScheme(String),
    /// The text is no URL.
    #[error("base_url {value:?} is not a URL ({problem}): write it like https://api.github.com or https://HOST/api/v3")]
    NotAUrl {
        /// The text, as given.
        value: String,
        /// What the parser says.
        problem: String,
    },
    /// A scheme other than `https` and `http`.
    #[error("base_url {0:?} is neither https nor http: write it like https://api.github.com or https://HOST/api/v3")]
    Scheme(String),
    /// A user name or a password in the URL; the value is not repeated, since it is a secret.
    #[error("base_url holds a user name or a password: remove everything between :// and @")]
    Credentials,
    /// A query or a fragment.
    #[error("base_url {0:?} has a query or a fragment: remove everything from ? or # on")]
    Query(String),
    /// The web address of GitHub, or its API without encryption.
    #[error("base_url {value:?} is not GitHub's API root: write {cure}")]
    NotTheApi {
        /// The text, as given.
        value: String,
        /// The API root that is meant.
        cure: String,
    },
}

impl BaseUrl {
    /// The API root of github.com: what an unset `base_url` means.
    pub const GITHUB_COM: &'static str = "https://api.github.com";

    /// The URL of an API route, for example `["app", "installations"]`. Each segment is percent-encoded.
    #[must_use]
    pub fn route(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        // An http or https URL always has a path, so the error cannot occur.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Where people and git go, without a slash at its end: `https://github.com` for `https://api.github.com`,
    /// `https://SUB.ghe.com` for `https://api.SUB.ghe.com`, otherwise scheme, host and port as they are.
    #[must_use]
    pub fn web_url(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        let host = match Product::of(&self.0) {
            Product::GitHubCom | Product::DataResidency => host.strip_prefix("api.").unwrap_or(host),
            Product::EnterpriseServer => host,
        };
        let port = self.0.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{host}{port}", self.0.scheme())
    }

    /// The same as [`BaseUrl::web_url`], without the scheme: `github.com`, or `host:port`.
    #[must_use]
    pub fn web_host(&self) -> String {
        let web = self.web_url();
        web.split_once("://").map_or(web.clone(), |(_, host)| host.to_owned())
    }

    /// Whether this is neither github.com nor ghe.com. Rate limits are off by default on GitHub Enterprise Server:
    /// <https://docs.github.com/en/enterprise-server@latest/rest/using-the-rest-api/rate-limits-for-the-rest-api>.
    #[must_use]
    pub fn is_enterprise_server(&self) -> bool {
        matches!(Product::of(&self.0), Product::EnterpriseServer)
    }
}

/// The kind of GitHub that a host belongs to.
enum Product {
    GitHubCom,
    DataResidency,
    EnterpriseServer,
}

impl Product {
    fn of(url: &Url) -> Self {
        match url.host() {
            Some(Host::Domain("github.com" | "api.github.com")) => Product::GitHubCom,
            Some(Host::Domain(name)) if name.ends_with(".ghe.com") => Product::DataResidency,
            Some(Host::Domain(_) | Host::Ipv4(_) | Host::Ipv6(_)) | None => Product::EnterpriseServer,
        }
    }
}

impl FromStr for BaseUrl {
    type Err = BaseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let value = || text.to_owned();
        let mut url = match Url::parse(text.trim()) {
            Ok(url) => url,
            // The whole text may be a user name, a password and a host: not repeated then.
            Err(_) if text.contains('@') => return Err(BaseUrlError::Credentials),
            Err(_) if !text.contains("://") && !text.trim().is_empty() => {
                return Err(BaseUrlError::NoScheme(text.trim().to_owned()));
            }
            Err(problem) => {
                return Err(BaseUrlError::NotAUrl {
                    value: value(),
                    problem: problem.to_string(),
                });
            }
        };
        if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
            return Err(BaseUrlError::Credentials);
        }
        // "host:8080" parses as a URL of the scheme "host".
        if !text.contains("://") {
            return Err(BaseUrlError::NoScheme(text.trim().to_owned()));
        }
        if !matches!(url.scheme(), "https" | "http") {
            return Err(BaseUrlError::Scheme(value()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(BaseUrlError::Query(value()));
        }
        if let Some(cure) = meant(&url) {
            return Err(BaseUrlError::NotTheApi { value: value(), cure });
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(BaseUrl(url))
    }
}

/// The API root that is meant, where a host of GitHub's own is not it.
fn meant(url: &Url) -> Option<String> {
    let host = url.host_str().unwrap_or_default();
    let right = url.scheme() == "https" && host.starts_with("api.");
    match Product::of(url) {
        Product::GitHubCom => (!right).then(|| BaseUrl::GITHUB_COM.to_owned()),
        Product::DataResidency => (!right).then(|| format!("https://api.{}", host.trim_start_matches("api."))),
        Product::EnterpriseServer => None,
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BaseUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn base(text: &str) -> BaseUrl {
        text.parse().unwrap()
    }

    #[test]
    fn api_roots_lead_to_their_web_host_and_product() {
        for (text, api, web, server) in [
            (
                "https://api.github.com",
                "https://api.github.com",
                "https://github.com",
                false,
            ),
            (
                " https://API.GitHub.com/ ",
                "https://api.github.com",
                "https://github.com",
                false,
            ),
            (
                "https://api.acme.ghe.com/",
                "https://api.acme.ghe.com",
                "https://acme.ghe.com",
                false,
            ),
            (
                "https://ghe.acme.org/api/v3",
                "https://ghe.acme.org/api/v3",
                "https://ghe.acme.org",
                true,
            ),
            (
                "https://ghe.acme.org:8443/api/v3/",
                "https://ghe.acme.org:8443/api/v3",
                "https://ghe.acme.org:8443",
                true,
            ),
            (
                "http://127.0.0.1:8080",
                "http://127.0.0.1:8080",
                "http://127.0.0.1:8080",
                true,
            ),
            ("http://[::1]:8080/", "http://[::1]:8080", "http://[::1]:8080", true),
            ("https://notghe.com", "https://notghe.com", "https://notghe.com", true),
        ] {
            let url = base(text);
            assert_eq!(url.to_string(), api, "{text}");
            assert_eq!(url.web_url(), web, "{text}");
            assert_eq!(url.web_host(), web.split_once("://").unwrap().1, "{text}");
            assert_eq!(url.is_enterprise_server(), server, "{text}");
        }
    }

    #[test]
    fn what_an_unset_base_url_means_is_itself_valid() {
        assert_eq!(base(BaseUrl::GITHUB_COM).web_url(), "https://github.com");
    }

    #[test]
    fn routes_are_appended_with_and_without_a_path() {
        for (root, url) in [
            ("https://api.github.com", "https://api.github.com/app/installations/7"),
            (
                "https://ghe.acme.org/api/v3/",
                "https://ghe.acme.org/api/v3/app/installations/7",
            ),
        ] {
            assert_eq!(base(root).route(&["app", "installations", "7"]).as_str(), url);
        }
        assert_eq!(
            base("http://h").route(&["orgs", "a/b?c"]).as_str(),
            "http://h/orgs/a%2Fb%3Fc"
        );
    }

    #[test]
    fn a_refused_url_names_the_field_the_value_and_the_cure() {
        for (text, message) in [
            (
                "api.github.com",
                r#"base_url "api.github.com" has no scheme: write https://api.github.com"#,
            ),
            (
                "ghe:8443/api/v3",
                r#"base_url "ghe:8443/api/v3" has no scheme: write https://ghe:8443/api/v3"#,
            ),
            (
                "ftp://ghe.acme.org",
                "base_url \"ftp://ghe.acme.org\" is neither https nor http: write it like https://api.github.com or https://HOST/api/v3",
            ),
            (
                "https://github.com",
                r#"base_url "https://github.com" is not GitHub's API root: write https://api.github.com"#,
            ),
            (
                "http://api.github.com",
                r#"base_url "http://api.github.com" is not GitHub's API root: write https://api.github.com"#,
            ),
            (
                "https://acme.ghe.com",
                r#"base_url "https://acme.ghe.com" is not GitHub's API root: write https://api.acme.ghe.com"#,
            ),
            (
                "https://h/api?x=1",
                r#"base_url "https://h/api?x=1" has a query or a fragment: remove everything from ? or # on"#,
            ),
            (
                "https://u:hunter2@h",
                "base_url holds a user name or a password: remove everything between :// and @",
            ),
            (
                "u:hunter2@h",
                "base_url holds a user name or a password: remove everything between :// and @",
            ),
            (
                "",
                "base_url \"\" is not a URL (relative URL without a base): write it like https://api.github.com or https://HOST/api/v3",
            ),
            (
                "https://",
                "base_url \"https://\" is not a URL (empty host): write it like https://api.github.com or https://HOST/api/v3",
            ),
        ] {
            assert_eq!(text.parse::<BaseUrl>().unwrap_err().to_string(), message, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_what_it_accepts_it_accepts_again(text in "(https?://)?[a-z0-9.:/@?#\\[\\]-]{0,30}") {
            if let Ok(url) = text.parse::<BaseUrl>() {
                prop_assert_eq!(base(&url.to_string()), url.clone());
                prop_assert!(!url.web_url().ends_with('/'));
                prop_assert!(!text.contains('@'));
            }
        }
    }
}
