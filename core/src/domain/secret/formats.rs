//! What stands in the Secret: one match over the formats, and what each format's readers need.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};

use crate::api::names::USERNAME;
use crate::api::{Format, Time};
use crate::domain::BaseUrl;
use crate::domain::intent::SecretIntent;
use crate::domain::problem::Problem;
use crate::domain::template;

use super::{IssuedToken, Site};

/// Keys and values.
///
/// # Errors
/// A [`Problem`] of the template.
pub(super) fn data(
    secret: &SecretIntent,
    site: &Site,
    issued: &IssuedToken,
) -> Result<BTreeMap<String, SecretString>, Problem> {
    let token = issued.token.expose_secret();
    let Site { host, web_url, api_url } = site;
    let scheme = web_url.split_once("://").map_or("https", |(scheme, _)| scheme);
    let basic = STANDARD.encode(format!("{USERNAME}:{token}"));
    let one = |key: &str, value: String| vec![(key.to_owned(), value)];
    let pairs = match secret.format {
        Format::Token => one("token", token.to_owned()),
        Format::BasicAuth => basic_auth(token),
        Format::GitCredentials => one(".git-credentials", format!("{scheme}://{USERNAME}:{token}@{host}\n")),
        Format::GitConfig => one(
            ".gitconfig",
            format!("[url \"{scheme}://{USERNAME}:{token}@{host}/\"]\n\tinsteadOf = {web_url}/\n"),
        ),
        Format::Netrc => one(".netrc", netrc(host, api_url, token)),
        Format::DockerConfigJson => one(
            ".dockerconfigjson",
            serde_json::json!({"auths": {registry(host): {"username": USERNAME, "password": token, "auth": basic}}})
                .to_string(),
        ),
        Format::ArgoCdRepoCreds => {
            let mut pairs = basic_auth(token);
            pairs.push(("type".to_owned(), "git".to_owned()));
            // Argo CD compares the beginnings of texts: without the slash, https://github.com.example.org would get the token.
            pairs.push(("url".to_owned(), format!("{web_url}/")));
            pairs
        }
        Format::GithubProviderJson => {
            let mut credentials = serde_json::json!({"token": token});
            if let Some(url) = provider_base_url(api_url) {
                credentials["base_url"] = url.into();
            }
            one("credentials", credentials.to_string())
        }
        Format::Template => {
            let value = |name: &str| match name {
                "token" => Some(token.to_owned()),
                "username" => Some(USERNAME.to_owned()),
                "basicAuth" => Some(basic.clone()),
                "host" => Some(host.clone()),
                "url" => Some(web_url.clone()),
                "apiURL" => Some(api_url.clone()),
                "expiresAt" => Some(Time::from(issued.expires_at).to_string()),
                _ => None,
            };
            let rendered: Result<Vec<_>, Problem> = secret
                .template
                .iter()
                .map(|(key, text)| Ok((key.clone(), template::render(key, text, value)?)))
                .collect();
            rendered?
        }
    };
    let extra = secret.extra.iter().map(|(key, text)| (key.clone(), text.clone()));
    Ok(pairs
        .into_iter()
        .chain(extra)
        .map(|(key, value)| (key, SecretString::from(value)))
        .collect())
}

fn basic_auth(token: &str) -> Vec<(String, String)> {
    // No newline behind the token: Flux takes the password as it is.
    vec![
        ("username".to_owned(), USERNAME.to_owned()),
        ("password".to_owned(), token.to_owned()),
    ]
}

/// The site's registry for containers
/// (<https://docs.github.com/en/packages/working-with-a-github-packages-registry/working-with-the-container-registry>, and
/// <https://docs.github.com/en/enterprise-server@latest/admin/configuring-settings/hardening-security-for-your-enterprise/enabling-subdomain-isolation>).
fn registry(host: &str) -> String {
    match host {
        "github.com" => "ghcr.io".to_owned(),
        _ => format!("containers.{host}"),
    }
}

/// What the Terraform provider, and so Crossplane's, takes as `base_url`: with a slash at its end, without the `api/v3` that it
/// appends itself, and not at all for github.com (<https://registry.terraform.io/providers/integrations/github/latest/docs>).
fn provider_base_url(api_url: &str) -> Option<String> {
    let root = api_url.strip_suffix("/api/v3").unwrap_or(api_url);
    (root != BaseUrl::GITHUB_COM).then(|| format!("{root}/"))
}

/// curl, git and Go look machines up by their bare name: no port, and an IPv6 address without its brackets.
fn netrc(host: &str, api_url: &str, token: &str) -> String {
    let api_host = api_url.split("://").last().and_then(|rest| rest.split('/').next());
    let mut machines = vec![bare_host(host), bare_host(api_host.unwrap_or_default())];
    machines.dedup();
    machines
        .iter()
        .map(|machine| format!("machine {machine}\nlogin {USERNAME}\npassword {token}\n"))
        .collect()
}

fn bare_host(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    }
}
