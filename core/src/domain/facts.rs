//! What is known of an App, as far as decisions need it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::Reason;

use super::intent::Intent;
use super::problem::Problem;
use super::quote;
use super::schedule::Retry;

/// An installation of an App.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// Its ID.
    pub id: u64,
    /// What it grants: name -> level.
    pub permissions: BTreeMap<String, String>,
    /// Whether it is for all repositories of its account, or for selected ones.
    pub all_repositories: bool,
    /// Whether its account's owner has suspended it.
    pub suspended: bool,
}

/// The App that issues a Token's tokens, as far as the plan has to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppFacts {
    /// Base URL of its GitHub.
    pub github: String,
    /// Base URL and App ID or client ID: a token of another App is another token.
    pub identity: String,
    /// The installation that is meant when a Token names none.
    pub installation: Option<u64>,
    /// The account whose installation is meant when neither names an ID.
    pub owner: Option<String>,
    /// The App's installations, by the account's login in lower case; `None` until GitHub has listed them.
    pub installations: Option<BTreeMap<String, Installed>>,
}

impl AppFacts {
    /// The installation that a Token comes from: by ID or owner, its own word first.
    #[must_use]
    pub fn installation_of(&self, intent: &Intent) -> Option<u64> {
        match (intent.installation, &intent.owner) {
            (Some(id), _) => Some(id),
            (None, Some(owner)) => self.of(owner),
            (None, None) => self.installation.or_else(|| self.of(self.owner.as_ref()?)),
        }
    }

    /// The account that a Token's installation is for, in lower case; `None` while that is not known.
    #[must_use]
    pub fn account_of(&self, intent: &Intent) -> Option<String> {
        match (intent.installation, &intent.owner) {
            (Some(id), _) => self.account_with(id),
            (None, Some(owner)) => Some(owner.to_lowercase()),
            (None, None) => self.default_account(),
        }
    }

    /// The account that the App's own installation is for, in lower case.
    #[must_use]
    pub fn default_account(&self) -> Option<String> {
        match (self.installation, &self.owner) {
            (Some(id), _) => self.account_with(id),
            (None, owner) => owner.as_ref().map(|owner| owner.to_lowercase()),
        }
    }

    fn account_with(&self, id: u64) -> Option<String> {
        let mut all = self.installations.iter().flatten();
        all.find(|(_, found)| found.id == id)
            .map(|(account, _)| account.clone())
    }

    /// The installation for this account.
    #[must_use]
    pub fn at(&self, account: &str) -> Option<&Installed> {
        self.installations.as_ref()?.get(&account.to_lowercase())
    }

    fn of(&self, owner: &str) -> Option<u64> {
        self.at(owner).map(|found| found.id)
    }

    /// Whether it cannot be said yet from which installation a Token comes.
    #[must_use]
    pub fn is_unsure(&self, intent: &Intent) -> bool {
        self.installations.is_none()
            && self.installation_of(intent).is_none()
            && (intent.owner.is_some() || self.owner.is_some())
    }

    /// Whether GitHub has listed the installation that the App names, if it names one.
    #[must_use]
    pub fn is_installed(&self) -> bool {
        let found = match (self.installation, &self.owner) {
            (Some(id), _) => self.account_with(id).is_some(),
            (None, Some(owner)) => self.of(owner).is_some(),
            (None, None) => true,
        };
        self.installations.is_some() && found
    }

    /// The installation where nothing but the App is asked for.
    ///
    /// # Errors
    /// Why there is none.
    pub fn default_installation(&self) -> Result<u64, Problem> {
        let found = self.installation.or_else(|| self.of(self.owner.as_ref()?));
        found.ok_or_else(|| self.why_none(None))
    }

    /// Why there is no installation for a Token.
    #[must_use]
    pub fn no_installation(&self, intent: &Intent) -> Problem {
        self.why_none(intent.owner.as_ref())
    }

    fn why_none(&self, asked: Option<&String>) -> Problem {
        let Some((field, owner)) = self.owner_for(asked) else {
            return Problem::new(
                Reason::InstallationUnknown,
                Retry::Every(Duration::from_secs(600)),
                "spec.installationID and spec.owner are not set, and the App's configuration names no installation either; set one of them: the owner is the account's login, the ID the number at the end of the installation's URL",
            );
        };
        if self.installations.is_none() {
            let message = format!(
                "{field}: GitHub has not listed the App's installations yet, so that of {} is not known",
                quote(owner)
            );
            return Problem::new(
                Reason::InstallationNotFound,
                Retry::After(Duration::from_secs(60)),
                message,
            );
        }
        // Where else the App is installed is not for everyone who may write a Token.
        Problem::new(
            Reason::InstallationNotFound,
            Retry::Every(Duration::from_secs(60)),
            format!(
                "{field}: {} has no installation of the App; install it there, or correct the name (gtm check lists where it is installed)",
                quote(owner)
            ),
        )
    }

    /// The field and the account that a Token's installation was found by, if none names its ID.
    fn owner_for<'a>(&'a self, asked: Option<&'a String>) -> Option<(&'static str, &'a String)> {
        let asked = asked.map(|owner| ("spec.owner", owner));
        asked.or_else(|| Some(("the App's owner", self.owner.as_ref()?)))
    }

    /// What is wrong when GitHub does not know a Token's installation that it had listed, if that was found by its account.
    #[must_use]
    pub fn vanished(&self, intent: &Intent) -> Option<String> {
        let by_id = intent.installation.is_some() || intent.owner.is_none() && self.installation.is_some();
        let (field, owner) = self.owner_for(intent.owner.as_ref()).filter(|_| !by_id)?;
        Some(format!(
            "{field}: the installation for {} that GitHub had listed is gone; the list is asked for anew, and the Token goes on by itself \
             where the App was installed again; install it there, or name another account",
            quote(owner)
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::fixtures::intent;

    fn app(owner: Option<&str>, installation: Option<u64>) -> AppFacts {
        let listed = ["acme", "secretive"].map(|name| (name.to_owned(), Installed::default()));
        AppFacts {
            github: "https://api.github.com/".to_owned(),
            identity: "https://api.github.com/ appID 1".to_owned(),
            installation,
            owner: owner.map(str::to_owned),
            installations: Some(listed.into()),
        }
    }

    #[test]
    fn who_names_an_account_without_an_installation_is_not_told_which_have_one() {
        let none = app(None, None).no_installation(&intent(json!({"owner": "nobody"})));
        assert_eq!(none.reason, Reason::InstallationNotFound);
        assert!(
            none.message.contains("nobody") && !none.message.contains("secretive"),
            "{}",
            none.message
        );
    }

    #[test]
    fn an_app_is_installed_where_github_lists_what_it_names() {
        for (owner, installation, installed) in [
            (None, None, true),
            (Some("Acme"), None, true),
            (Some("nobody"), None, false),
            (None, Some(0), true),
            (Some("acme"), Some(7), false),
        ] {
            let app = app(owner, installation);
            assert_eq!(app.is_installed(), installed, "{owner:?} {installation:?}");
            let unlisted = AppFacts {
                installations: None,
                ..app
            };
            assert!(!unlisted.is_installed());
        }
    }

    #[test]
    fn a_vanished_installation_is_spoken_of_as_it_was_named() {
        for (app, spec, told) in [
            (
                app(None, None),
                json!({"owner": "Acme"}),
                Some("spec.owner: the installation for Acme"),
            ),
            (
                app(Some("acme"), None),
                json!({}),
                Some("the App's owner: the installation for acme"),
            ),
            (app(Some("acme"), None), json!({"installationID": 7}), None),
            (app(None, Some(7)), json!({}), None),
        ] {
            let vanished = app.vanished(&intent(spec));
            assert_eq!(vanished.is_some(), told.is_some(), "{vanished:?}");
            assert!(vanished.unwrap_or_default().starts_with(told.unwrap_or_default()));
        }
    }
}
