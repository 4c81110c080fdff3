//! The accounts, installations and repositories that the stand-in knows.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::answer::{Answer, mint_error, text};
use super::record::{Grant, MintRequest};
use super::settings::{Installation, Level, Permissions, Repository};

/// At most so many repositories in one mint request.
/// <https://docs.github.com/en/rest/apps/apps#create-an-installation-access-token-for-an-app>
const MOST_REPOSITORIES: usize = 500;

/// An installation with its repositories by name and by ID.
#[derive(Clone, Debug)]
pub(super) struct Installed {
    pub id: u64,
    pub about: Arc<Installation>,
    pub permissions: Permissions,
    pub suspended_at: Option<Timestamp>,
    repositories: HashMap<u64, Arc<Repository>>,
    names: HashMap<String, u64>,
}

impl Installed {
    fn new(installation: Installation, now: Timestamp) -> Self {
        let mut installed = Self {
            id: installation.id,
            permissions: with_metadata(installation.permissions.clone()),
            suspended_at: installation.suspended.then_some(now),
            repositories: HashMap::new(),
            names: HashMap::new(),
            about: Arc::new(installation),
        };
        for repository in &installed.about.repositories {
            installed.names.insert(repository.name.to_lowercase(), repository.id);
            installed
                .repositories
                .insert(repository.id, Arc::new(repository.clone()));
        }
        installed
    }

    pub fn repository(&self, id: u64) -> Option<&Arc<Repository>> {
        self.repositories.get(&id)
    }

    /// Its repositories in the order of their IDs, all or some of them.
    pub fn repositories(&self, only: Option<&BTreeSet<u64>>) -> Vec<Arc<Repository>> {
        let mut found: Vec<_> = match only {
            Some(ids) => ids.iter().filter_map(|id| self.repositories.get(id)).cloned().collect(),
            None => self.repositories.values().cloned().collect(),
        };
        found.sort_by_key(|repository| repository.id);
        found
    }

    /// What a mint request would be granted, or how it is refused.
    pub fn grant(&self, asked: &MintRequest) -> Result<Grant, Answer> {
        if self.suspended_at.is_some() {
            return Err(mint_error(403, text::SUSPENDED));
        }
        let permissions = match &asked.permissions {
            Some(asked) if !asked.is_empty() => {
                let granted = |(name, level)| self.permissions.get(name) >= Some(level);
                if !asked.iter().all(granted) {
                    return Err(mint_error(422, text::PERMISSIONS));
                }
                with_metadata(asked.clone())
            }
            _ => self.permissions.clone(),
        };
        Ok(Grant {
            permissions,
            repositories: self.selection(asked)?,
        })
    }

    fn selection(&self, asked: &MintRequest) -> Result<Option<BTreeSet<u64>>, Answer> {
        let names = asked.repositories.as_deref().unwrap_or_default();
        let ids = asked.repository_ids.as_deref().unwrap_or_default();
        if names.len().max(ids.len()) > MOST_REPOSITORIES {
            let field = if names.len() > ids.len() {
                "repositories"
            } else {
                "repository_ids"
            };
            let count = names.len().max(ids.len());
            return Err(invalid_request(&format!(
                "No more than {MOST_REPOSITORIES} items are allowed in {field}; {count} were supplied."
            )));
        }
        if names.is_empty() && ids.is_empty() {
            return Ok(None);
        }
        let unknown = || mint_error(422, text::REPOSITORIES);
        let named = names.iter().map(|name| self.names.get(&name.to_lowercase()).copied());
        let numbered = ids.iter().map(|id| self.repositories.contains_key(id).then_some(*id));
        named
            .chain(numbered)
            .collect::<Option<BTreeSet<u64>>>()
            .ok_or_else(unknown)
            .map(Some)
    }
}

/// The refusal of a body that is not what the endpoint takes.
pub(super) fn invalid_request(detail: &str) -> Answer {
    mint_error(422, &format!("Invalid request.\n\n{detail}"))
}

/// Reads the body of a mint request.
pub(super) fn parse_mint(body: &[u8]) -> Result<MintRequest, Answer> {
    if body.is_empty() {
        return Ok(MintRequest::default());
    }
    let value: Value = serde_json::from_slice(body).map_err(|_| mint_error(400, "Problems parsing JSON"))?;
    if !value.is_object() {
        return Err(mint_error(400, "Body should be a JSON object"));
    }
    serde_json::from_value(value).map_err(|error| invalid_request(&error.to_string()))
}

fn with_metadata(mut permissions: Permissions) -> Permissions {
    permissions.entry("metadata".to_owned()).or_insert(Level::Read);
    permissions
}

/// A repository and whose it is.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub installation: u64,
    pub account: Arc<Installation>,
    pub repository: Arc<Repository>,
}

/// Where the App is installed.
#[derive(Debug, Default)]
pub(super) struct World {
    installations: HashMap<u64, Installed>,
    accounts: HashMap<String, u64>,
    /// Old names: (account, name) in lower case.
    renamed: HashMap<(String, String), u64>,
    /// Whose repository an ID is.
    owners: HashMap<u64, u64>,
    /// What was uninstalled, to install it again.
    gone: HashMap<u64, Installation>,
}

/// What `World::locate` finds.
pub(super) enum Place {
    Here(Found),
    Moved(u64),
    Nowhere,
}

impl World {
    pub fn install(&mut self, installation: Installation, now: Timestamp) {
        let id = installation.id;
        self.gone.remove(&id);
        self.accounts.insert(installation.account.to_lowercase(), id);
        self.owners
            .extend(installation.repositories.iter().map(|repository| (repository.id, id)));
        self.installations.insert(id, Installed::new(installation, now));
    }

    pub fn uninstall(&mut self, id: u64) -> bool {
        let Some(installed) = self.installations.remove(&id) else {
            return false;
        };
        self.accounts.retain(|_, owner| *owner != id);
        self.owners.retain(|_, owner| *owner != id);
        self.gone.insert(id, installed.describe());
        true
    }

    /// Installs what was uninstalled (or still is installed) anew, under the next free ID.
    pub fn reinstall(&mut self, id: u64, now: Timestamp) -> Option<u64> {
        self.uninstall(id);
        let mut installation = self.gone.get(&id)?.clone();
        let known = self.installations.keys().chain(self.gone.keys());
        installation.id = known.max().copied().unwrap_or(id) + 1;
        let new = installation.id;
        self.install(installation, now);
        Some(new)
    }

    pub fn get(&self, id: u64) -> Option<&Installed> {
        self.installations.get(&id)
    }

    pub fn change(&mut self, id: u64, change: impl FnOnce(&mut Installed)) -> bool {
        self.installations.get_mut(&id).map(change).is_some()
    }

    pub fn of_account(&self, login: &str) -> Option<&Installed> {
        self.accounts
            .get(&login.to_lowercase())
            .and_then(|id| self.installations.get(id))
    }

    /// All installations in the order of their IDs.
    pub fn all(&self) -> Vec<&Installed> {
        let mut all: Vec<_> = self.installations.values().collect();
        all.sort_by_key(|installed| installed.id);
        all
    }

    pub fn add_repository(&mut self, installation: u64, repository: Repository) -> bool {
        self.owners.insert(repository.id, installation);
        self.change(installation, |installed| {
            installed.names.insert(repository.name.to_lowercase(), repository.id);
            installed.repositories.insert(repository.id, Arc::new(repository));
        })
    }

    pub fn rename_repository(&mut self, account: &str, old: &str, new: &str) -> bool {
        let Place::Here(found) = self.locate(account, old) else {
            return false;
        };
        let mut repository = (*found.repository).clone();
        new.clone_into(&mut repository.name);
        let key = (account.to_lowercase(), old.to_lowercase());
        self.change(found.installation, |installed| {
            installed.names.remove(&key.1);
        });
        self.renamed.insert(key, repository.id);
        self.add_repository(found.installation, repository)
    }

    pub fn locate(&self, account: &str, name: &str) -> Place {
        let name = name.to_lowercase();
        let id = self
            .of_account(account)
            .and_then(|installed| installed.names.get(&name));
        if let Some(found) = id.and_then(|id| self.by_id(*id)) {
            return Place::Here(found);
        }
        self.renamed
            .get(&(account.to_lowercase(), name))
            .map_or(Place::Nowhere, |id| Place::Moved(*id))
    }

    pub fn by_id(&self, id: u64) -> Option<Found> {
        let installed = self.installations.get(self.owners.get(&id)?)?;
        Some(Found {
            installation: installed.id,
            account: Arc::clone(&installed.about),
            repository: Arc::clone(installed.repository(id)?),
        })
    }
}

impl Installed {
    /// As settings that would give the same.
    pub fn describe(&self) -> Installation {
        Installation {
            repositories: self.repositories(None).iter().map(|one| (**one).clone()).collect(),
            permissions: self.permissions.clone(),
            suspended: self.suspended_at.is_some(),
            ..(*self.about).clone()
        }
    }
}
