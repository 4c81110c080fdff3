//! The manifest by which a person registers a GitHub App in one go: its text, and the page that takes it. See
//! <https://docs.github.com/en/apps/sharing-github-apps/registering-a-github-app-from-a-manifest>.

use std::collections::BTreeMap;

use super::BaseUrl;

/// The longest name of an App, in characters
/// (<https://docs.github.com/en/apps/creating-github-apps/registering-a-github-app/registering-a-github-app>).
const LONGEST_NAME: usize = 34;
/// The longest login that GitHub gives, in characters.
const LONGEST_LOGIN: usize = 39;
/// The longest code that is sent to GitHub, in characters: its own have 40.
const LONGEST_CODE: usize = 200;

/// What an App asks for unless it is told otherwise: clone, push, and open pull requests.
pub const DEFAULT_PERMISSIONS: [(&str, &str); 2] = [("contents", "write"), ("pull_requests", "write")];

/// The App that is to be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its name, which has to be the only one of its kind at GitHub. The person can change it there.
    pub name: String,
    /// Its home page.
    pub url: String,
    /// Names and levels of what it asks installations for.
    pub permissions: BTreeMap<String, String>,
}

impl Manifest {
    /// The manifest as GitHub takes it. `redirect_url` is where GitHub sends the browser to, with a code.
    ///
    /// It names no webhook at all, which is how an App has none: GitHub wants the address of one that is named, active or not, and
    /// refuses the manifest without it.
    #[must_use]
    pub fn text(&self, redirect_url: &str) -> String {
        let mut permissions = self.permissions.clone();
        // Every permission of repositories brings it along.
        permissions.entry("metadata".to_owned()).or_insert("read".to_owned());
        serde_json::json!({
            "name": self.name,
            "url": self.url,
            "redirect_url": redirect_url,
            "public": false,
            "default_permissions": permissions,
            "default_events": [],
        })
        .to_string()
    }
}

/// The page that a manifest is posted to: of an organization, or of the person who is logged in. GitHub hands `state` back.
#[must_use]
pub fn registration_page(base_url: &BaseUrl, organization: Option<&str>, state: &str) -> String {
    format!("{}/new?state={state}", apps_page(base_url, organization))
}

/// The settings page of an App: it makes and deletes private keys.
#[must_use]
pub fn settings_page(base_url: &BaseUrl, organization: Option<&str>, slug: &str) -> String {
    format!("{}/{slug}", apps_page(base_url, organization))
}

fn apps_page(base_url: &BaseUrl, organization: Option<&str>) -> String {
    let owner = organization.map(|login| format!("/organizations/{login}"));
    format!("{}{}/settings/apps", base_url.web_url(), owner.unwrap_or_default())
}

/// A name for an App of this organization, or one that `salt` makes the only one of its kind.
#[must_use]
pub fn default_name(organization: Option<&str>, salt: &str) -> String {
    let name = format!("gtm-{}", organization.unwrap_or(salt));
    let name: String = name.chars().take(LONGEST_NAME).collect();
    name.trim_end_matches('-').to_owned()
}

/// Whether GitHub takes this name.
///
/// # Errors
/// What is wrong with it, and the cure.
pub fn check_name(name: &str) -> Result<(), String> {
    let length = name.chars().count();
    if name.trim().is_empty() || name.chars().any(char::is_control) {
        return Err("give a name of letters, digits and hyphens, such as acme-flux".to_owned());
    }
    if length > LONGEST_NAME {
        return Err(format!(
            "it has {length} characters, and GitHub takes at most {LONGEST_NAME}: give a shorter name"
        ));
    }
    Ok(())
}

/// Whether this can be the login of an organization.
///
/// # Errors
/// The cure.
pub fn check_login(login: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if (1..=LONGEST_LOGIN).contains(&login.len()) && login.chars().all(fits) {
        return Ok(());
    }
    Err("give the organization's login, as in its address at GitHub, such as acme".to_owned())
}

/// The code in what a person pasted: the code alone, or the whole address that GitHub sent the browser to.
///
/// # Errors
/// The cure. The text is not repeated: it may hold a code that is good.
pub fn code_in(pasted: &str) -> Result<String, String> {
    let pasted = pasted.trim();
    let query = pasted.split_once('?').map(|(_, query)| query);
    let code = match query {
        None => Some(pasted),
        Some(query) => query.split(['&', '#']).find_map(|pair| pair.strip_prefix("code=")),
    };
    let fits = |code: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        (1..=LONGEST_CODE).contains(&code.len()) && code.chars().all(plain)
    };
    code.filter(fits).map(str::to_owned).ok_or_else(|| {
        "it holds no code: give what stands behind code= in the address that GitHub sent the browser to, or that whole \
         address"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manifest() -> Manifest {
        Manifest {
            name: "acme-flux".to_owned(),
            url: "https://github.com/acme".to_owned(),
            permissions: DEFAULT_PERMISSIONS
                .map(|(name, level)| (name.to_owned(), level.to_owned()))
                .into(),
        }
    }

    #[test]
    fn a_manifest_is_private_has_no_webhook_and_asks_for_what_it_was_told() {
        let text = manifest().text("http://127.0.0.1:8080/callback");
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({
            "name": "acme-flux", "url": "https://github.com/acme", "redirect_url": "http://127.0.0.1:8080/callback",
            "public": false, "default_events": [],
            "default_permissions": {"contents": "write", "metadata": "read", "pull_requests": "write"},
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn the_pages_are_those_of_each_github() {
        for (api, organization, web) in [
            (
                BaseUrl::GITHUB_COM,
                Some("acme"),
                "https://github.com/organizations/acme/settings/apps",
            ),
            (BaseUrl::GITHUB_COM, None, "https://github.com/settings/apps"),
            (
                "https://ghe.acme.org/api/v3",
                None,
                "https://ghe.acme.org/settings/apps",
            ),
            (
                "https://api.acme.ghe.com",
                Some("team"),
                "https://acme.ghe.com/organizations/team/settings/apps",
            ),
        ] {
            let base_url: BaseUrl = api.parse().unwrap();
            assert_eq!(
                registration_page(&base_url, organization, "s1"),
                format!("{web}/new?state=s1")
            );
            assert_eq!(settings_page(&base_url, organization, "flux"), format!("{web}/flux"));
        }
    }

    #[test]
    fn names_and_logins_are_checked_as_github_does() {
        assert_eq!(default_name(Some("acme"), "1f"), "gtm-acme");
        assert_eq!(default_name(None, "1f"), "gtm-1f");
        assert_eq!(
            default_name(Some(&format!("{}-x", "a".repeat(29))), ""),
            format!("gtm-{}", "a".repeat(29))
        );
        assert_eq!(check_name("My App"), Ok(()));
        for (name, told) in [("", "give a name"), (" ", "give a name"), ("a\nb", "give a name")] {
            assert!(check_name(name).unwrap_err().contains(told), "{name:?}");
        }
        assert!(check_name(&"n".repeat(35)).unwrap_err().contains("35 characters"));
        assert_eq!(check_login("acme-1"), Ok(()));
        for login in ["", "a/b", "a b", "a?b", "..", &"a".repeat(40)] {
            assert!(check_login(login).is_err(), "{login:?}");
        }
    }

    #[test]
    fn a_code_is_found_alone_and_in_its_address() {
        for pasted in [
            "a1b2",
            " a1b2\n",
            "http://127.0.0.1:8080/callback?code=a1b2&state=s",
            "http://127.0.0.1:8080/callback?state=s&code=a1b2",
            "?code=a1b2#x",
        ] {
            assert_eq!(code_in(pasted).as_deref(), Ok("a1b2"), "{pasted}");
        }
        for pasted in [
            "",
            " ",
            "a/b",
            "http://x/callback?state=s",
            "http://x/callback?code=",
            "%2e",
            &"a".repeat(201),
        ] {
            let told = code_in(pasted).unwrap_err();
            assert!(told.contains("behind code="), "{pasted}: {told}");
        }
    }

    proptest! {
        #[test]
        fn every_default_name_is_one_that_github_takes(login in "[A-Za-z0-9](-?[A-Za-z0-9]){0,38}") {
            prop_assert_eq!(check_name(&default_name(Some(&login), "")), Ok(()));
        }

        #[test]
        fn a_code_never_reaches_beyond_its_part_of_a_path(pasted in ".{0,80}") {
            if let Ok(code) = code_in(&pasted) {
                prop_assert!(code.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
            }
        }
    }
}
