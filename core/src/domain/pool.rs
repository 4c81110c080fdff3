//! Apps that share a load: which of them can issue the token of a Token.
//!
//! An App and the members of its pool are at one GitHub, and each is installed for the account that the Token's installation is
//! for. A member's own pool is not followed, so that no circle of pools has an end to look for.

use std::collections::BTreeMap;

use super::facts::{AppFacts, Installed};
use super::intent::Intent;
use super::permissions::is_within;
use super::quote;

/// An App object, as it is known whether or not it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What is known of it.
    pub facts: AppFacts,
    /// Names of the Apps of its namespace that share its load.
    pub pool: Vec<String>,
}

/// The installation by which `member` may issue the token of a Token of `lead`.
///
/// # Errors
/// Why it may not.
pub fn installation(intent: &Intent, lead: &AppFacts, member: &AppFacts) -> Result<u64, String> {
    same_github(lead, member)?;
    let account = lead
        .account_of(intent)
        .ok_or("it is not known which account the Token's installation is for")?;
    let there = installed(member, &account)?;
    if let Some(reason) = lacks(intent, lead.at(&account), there) {
        return Err(reason);
    }
    Ok(there.id)
}

fn same_github(lead: &AppFacts, member: &AppFacts) -> Result<(), String> {
    if lead.github == member.github {
        return Ok(());
    }
    Err(format!(
        "its baseURL is {}, and not {}: a token is of one GitHub",
        member.github, lead.github
    ))
}

fn installed<'a>(member: &'a AppFacts, account: &str) -> Result<&'a Installed, String> {
    let shown = quote(account);
    match (member.at(account), &member.installations) {
        (Some(found), _) if found.suspended => Err(format!("its installation for {shown} is suspended")),
        (Some(found), _) => Ok(found),
        (None, Some(_)) => Err(format!("it is not installed for {shown}: install it there")),
        (None, None) => Err("GitHub has not listed its installations yet".to_owned()),
    }
}

/// What the Token asks for and the installation does not have. Who asks for all gets what its own App's installation has, no more
/// and no less.
fn lacks(intent: &Intent, own: Option<&Installed>, there: &Installed) -> Option<String> {
    let scope = &intent.scope;
    let different = match &scope.permissions {
        Some(asked) => asked
            .iter()
            .find(|(name, level)| !grants(&there.permissions, name, level))
            .map(|(name, level)| format!("its installation does not grant {}: {}", quote(name), quote(level))),
        None => own
            .is_none_or(|own| own.permissions != there.permissions)
            .then(|| "the Token asks for all permissions, and its installation has others".to_owned()),
    };
    let all = scope.repositories.is_empty() && scope.repository_ids.is_empty();
    different.or_else(|| {
        (all && own.is_none_or(|own| own.all_repositories != there.all_repositories))
            .then(|| "the Token asks for all repositories, and its installation has others".to_owned())
    })
}

/// Every installation has `metadata: read`, listed or not.
fn grants(has: &BTreeMap<String, String>, name: &str, level: &str) -> bool {
    let implied = name == "metadata" && level == "read";
    implied || has.get(name).is_some_and(|most| is_within(level, most))
}

/// Why a member of the pool cannot take its full share of the load; `None` if it can.
#[must_use]
pub fn misfit(lead: &AppFacts, member: &AppFacts) -> Option<String> {
    if let Err(reason) = same_github(lead, member) {
        return Some(reason);
    }
    if lead.identity == member.identity {
        return Some("it is the same GitHub App, with the same budget".to_owned());
    }
    let account = lead.default_account()?;
    let there = match installed(member, &account) {
        Ok(there) => there,
        Err(reason) => return Some(reason),
    };
    let own = lead.at(&account)?;
    if own.id == there.id {
        return Some("it is the same GitHub App, with the same budget".to_owned());
    }
    let missing = own
        .permissions
        .iter()
        .find(|(name, level)| !grants(&there.permissions, name, level));
    if let Some((name, level)) = missing {
        return Some(format!(
            "its installation for {} does not grant {}: {}, so Tokens that ask for it do not go to it",
            quote(&account),
            quote(name),
            quote(level)
        ));
    }
    (own.all_repositories && !there.all_repositories).then(|| {
        format!(
            "its installation for {} is for selected repositories only",
            quote(&account)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixtures;
    use serde_json::json;

    fn installed(id: u64, level: &str) -> Installed {
        Installed {
            id,
            permissions: BTreeMap::from([("contents".to_owned(), level.to_owned())]),
            ..Installed::default()
        }
    }

    fn app(name: &str, id: u64) -> AppFacts {
        AppFacts {
            github: "https://api.github.com/".to_owned(),
            identity: format!("https://api.github.com/ {name}"),
            installation: None,
            owner: Some("Acme".to_owned()),
            installations: Some(BTreeMap::from([("acme".to_owned(), installed(id, "write"))])),
        }
    }

    fn with(mut app: AppFacts, change: impl FnOnce(&mut Installed)) -> AppFacts {
        app.installations.as_mut().unwrap().get_mut("acme").map(change).unwrap();
        app
    }

    #[test]
    fn a_member_issues_by_its_own_installation_for_the_same_account() {
        let (lead, member) = (app("a", 1), app("b", 2));
        for spec in [json!({}), json!({"owner": "ACME"}), json!({"installationID": 1})] {
            assert_eq!(installation(&fixtures::intent(spec), &lead, &member), Ok(2));
        }
        let by_id = AppFacts {
            owner: None,
            installation: Some(1),
            ..lead.clone()
        };
        assert_eq!(installation(&fixtures::intent(json!({})), &by_id, &member), Ok(2));
        // Nobody knows whose installation 9 is.
        assert!(installation(&fixtures::intent(json!({"installationID": 9})), &lead, &member).is_err());
        assert!(installation(&fixtures::intent(json!({"owner": "other"})), &lead, &member).is_err());
    }

    #[test]
    fn a_member_that_cannot_issue_the_same_token_says_why() {
        let lead = app("a", 1);
        let elsewhere = AppFacts {
            github: "https://ghe.acme.com/api/v3/".to_owned(),
            ..app("b", 2)
        };
        let unlisted = AppFacts {
            installations: None,
            ..app("b", 2)
        };
        let reads = |app: &mut Installed| *app = installed(2, "read");
        let contents = json!({"permissions": {"contents": "write", "metadata": "read"}, "repositories": ["x"]});
        let all = json!({"permissions": {"contents": "read"}});
        for (member, spec, part) in [
            (elsewhere, &contents, "baseURL"),
            (unlisted, &contents, "has not listed"),
            (with(app("b", 2), |app| app.suspended = true), &contents, "suspended"),
            (with(app("b", 2), reads), &contents, "contents: write"),
            (with(app("b", 2), reads), &json!({}), "all permissions"),
            (
                with(app("b", 2), |app| app.all_repositories = true),
                &all,
                "all repositories",
            ),
        ] {
            let refused = installation(&fixtures::intent(spec.clone()), &lead, &member).unwrap_err();
            assert!(refused.contains(part), "{refused}");
        }
        assert_eq!(installation(&fixtures::intent(contents), &lead, &app("b", 2)), Ok(2));
        assert_eq!(
            installation(&fixtures::intent(all), &lead, &with(app("b", 2), reads)),
            Ok(2)
        );
    }

    #[test]
    fn what_keeps_a_member_from_its_full_share_is_found() {
        let lead = app("a", 1);
        assert_eq!(misfit(&lead, &app("b", 2)), None);
        let nowhere = AppFacts {
            installations: Some(BTreeMap::new()),
            ..app("b", 2)
        };
        let reads = with(app("b", 2), |app| *app = installed(2, "read"));
        for (member, part) in [
            (app("a", 2), "same GitHub App"),
            (app("b", 1), "same GitHub App"),
            (nowhere, "not installed for acme"),
            (reads, "contents: write"),
        ] {
            let found = misfit(&lead, &member).unwrap_or_default();
            assert!(found.contains(part), "{found}");
        }
    }
}
