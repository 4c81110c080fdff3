//! What one policy limits.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::{Access, TokenPolicySpec};
use crate::domain::intent::Intent;
use crate::domain::permissions::{is_known, is_organization_wide, is_within};
use crate::domain::quote;

use super::glob::{Glob, Name};
use super::time;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub apps: Option<Vec<Glob>>,
    pub installations: Option<Vec<i64>>,
    pub repositories: Option<Vec<Glob>>,
    pub permissions: Option<BTreeMap<String, String>>,
    pub organization: Access,
    pub require_scope: bool,
    pub longest: Option<Duration>,
}

impl Limits {
    /// The limits of a spec.
    ///
    /// # Errors
    /// What cannot be read; names the field, the value and the cure.
    pub fn new(spec: &TokenPolicySpec) -> Result<Self, String> {
        let globs = |all: &Option<Vec<String>>| Some(all.as_ref()?.iter().map(|text| Glob::new(text)).collect());
        let longest = spec.max_refresh_interval.as_deref();
        Ok(Limits {
            apps: globs(&spec.apps),
            installations: spec.installations.clone(),
            repositories: globs(&spec.repositories),
            permissions: spec.permissions.clone(),
            organization: spec.organization_permissions,
            require_scope: spec.require_scope,
            longest: longest.map(|text| time("maxRefreshInterval", text)).transpose()?,
        })
    }

    /// What speaks against a Token; names the field, the value and the limit.
    pub fn objection(&self, intent: &Intent, own_namespace: &str) -> Option<String> {
        let objections = [
            Limits::scope,
            Limits::installation,
            Limits::repositories,
            Limits::permissions,
            Limits::interval,
        ];
        let app = self.app(intent, own_namespace);
        app.or_else(|| objections.into_iter().find_map(|objection| objection(self, intent)))
    }

    fn scope(&self, intent: &Intent) -> Option<String> {
        let scope = &intent.scope;
        if !self.require_scope {
            return None;
        }
        if scope.permissions.is_none() {
            return Some("spec.permissions is not set, but has to name what is needed".to_owned());
        }
        let all = scope.repositories.is_empty() && scope.repository_ids.is_empty();
        all.then(|| "spec.repositories is not set, but has to name what is needed".to_owned())
    }

    fn app(&self, intent: &Intent, own_namespace: &str) -> Option<String> {
        let allowed = self.apps.as_ref()?;
        let asked = intent.app.label(own_namespace);
        (!fits_one(allowed, &asked)).then(|| {
            format!(
                "spec.appRef: the App '{}' is none of: {}",
                quote(&asked),
                patterns(allowed)
            )
        })
    }

    fn installation(&self, intent: &Intent) -> Option<String> {
        let allowed = self.installations.as_ref()?;
        let shown: Vec<String> = allowed.iter().map(i64::to_string).collect();
        if let Some(owner) = &intent.owner {
            return Some(format!(
                "spec.owner: '{}' says no ID; name the installationID instead: {}",
                quote(owner),
                listed(&shown)
            ));
        }
        let asked = i64::try_from(intent.installation.unwrap_or(0)).unwrap_or(i64::MAX);
        (!allowed.contains(&asked)).then(|| format!("spec.installationID: {asked} is none of: {}", listed(&shown)))
    }

    fn repositories(&self, intent: &Intent) -> Option<String> {
        let allowed = self.repositories.as_ref()?;
        if allowed.iter().any(|glob| glob.text == "*") {
            return None;
        }
        let scope = &intent.scope;
        if let Some(id) = scope.repository_ids.first() {
            return Some(format!(
                "spec.repositoryIDs: {id} says no name; name the repositories: {}",
                patterns(allowed)
            ));
        }
        if scope.repositories.is_empty() {
            return Some(format!(
                "spec.repositories is not set, which asks for all; allowed are: {}",
                patterns(allowed)
            ));
        }
        let other = scope.repositories.iter().find(|name| !fits_one(allowed, name))?;
        Some(format!(
            "spec.repositories: '{}' is none of: {}",
            quote(other),
            patterns(allowed)
        ))
    }

    fn permissions(&self, intent: &Intent) -> Option<String> {
        let organization = self.organization == Access::Deny;
        let Some(asked) = &intent.scope.permissions else {
            let limited = organization || self.permissions.is_some();
            return limited
                .then(|| "spec.permissions is not set, which asks for everything: name what is needed".to_owned());
        };
        if organization && let Some(objection) = asked.keys().find_map(|name| beyond_repositories(name)) {
            return Some(objection);
        }
        let most = self.permissions.as_ref()?;
        asked.iter().find_map(|(name, level)| {
            let shown = quote(name);
            match most_of(most, name) {
                None => Some(format!("spec.permissions.{shown} is not allowed")),
                Some(limit) if is_within(level, limit) => None,
                Some(limit) => Some(format!(
                    "spec.permissions.{shown}: '{}' is more than '{}'",
                    quote(level),
                    quote(limit)
                )),
            }
        })
    }

    fn interval(&self, intent: &Intent) -> Option<String> {
        let longest = self.longest.filter(|longest| intent.refresh > *longest)?;
        Some(format!(
            "spec.refreshInterval: {:?} is longer than {longest:?}",
            intent.refresh
        ))
    }
}

/// What speaks against a permission where none may reach an organization: GitHub may read a name in other ways than the table does.
fn beyond_repositories(name: &str) -> Option<String> {
    let shown = quote(name);
    if is_organization_wide(name) {
        return Some(format!("spec.permissions.{shown} reaches the whole organization"));
    }
    (!is_known(name)).then(|| {
        format!(
            "spec.permissions.{shown} is not known to be a repository permission: write one that this version knows, in lower case and without blanks"
        )
    })
}

/// The most of a permission: what is listed for its name, or for one that GitHub may read as the same, or else for all others.
fn most_of<'a>(most: &'a BTreeMap<String, String>, name: &str) -> Option<&'a String> {
    let alike = || most.iter().find(|(listed, _)| read(listed).eq(read(name)));
    let listed = most.get(name).or_else(|| alike().map(|(_, level)| level));
    listed.or_else(|| most.get("*"))
}

/// A name as GitHub may read it.
fn read(name: &str) -> impl Iterator<Item = char> {
    name.trim().chars().flat_map(char::to_lowercase)
}

fn fits_one(allowed: &[Glob], name: &str) -> bool {
    let name = Name::new(name);
    allowed.iter().any(|glob| glob.fits(&name))
}

fn patterns(all: &[Glob]) -> String {
    listed(&all.iter().map(|glob| glob.text.clone()).collect::<Vec<_>>())
}

fn listed(all: &[String]) -> String {
    quote(&all.join(", "))
}
