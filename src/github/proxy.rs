//! The proxy on the way to GitHub, for messages: reqwest goes by these rules and variables, and does not name it.

use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;

use crate::domain::{BaseUrl, quote};

/// A proxy of the environment.
pub(super) struct Proxy {
    /// Where it is, without its credentials.
    pub place: String,
    /// The variable that names it.
    pub variable: &'static str,
}

/// The proxy of requests to this GitHub, if there is one.
pub(super) fn on_the_way_to(base_url: &BaseUrl) -> Option<Proxy> {
    chosen(&Matcher::from_env(), &base_url.to_string())
}

fn chosen(rules: &Matcher, url: &str) -> Option<Proxy> {
    let url: Uri = url.parse().ok()?;
    let proxy = rules.intercept(&url)?;
    let (host, port) = (proxy.uri().host()?, proxy.uri().port());
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    Some(Proxy {
        place: quote(&format!("{host}{port}")),
        variable: if url.scheme_str() == Some("http") {
            "HTTP_PROXY"
        } else {
            "HTTPS_PROXY"
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_named_without_its_credentials_and_only_where_it_is_on_the_way() {
        let rules = Matcher::builder()
            .https("http://me:hidden@proxy.test:3128")
            .no("ghe.test")
            .build();
        let proxy = chosen(&rules, "https://api.github.com/").expect("it is on the way");
        assert_eq!(
            (proxy.place.as_str(), proxy.variable),
            ("proxy.test:3128", "HTTPS_PROXY")
        );
        for url in ["http://api.github.com/", "https://ghe.test/api/v3/"] {
            assert!(chosen(&rules, url).is_none(), "{url}");
        }
    }
}
