//! The Apps that tokens come from.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{broadcast, watch};

use crate::api::Reason;
use crate::api::names::annotation;
use crate::domain::intent::{AppKey, app_not_found};
use crate::domain::plan::AppFacts;
use crate::domain::pool::Known;
use crate::domain::schedule::{Retry, by_clock};
use crate::domain::secret::Site;
use crate::domain::{Problem, Sign};
use crate::github::Client;

/// An App that issues tokens.
pub struct App<S> {
    /// What the plan has to know.
    pub facts: AppFacts,
    /// Where its GitHub is.
    pub site: Site,
    /// Whether a new token is tried before it is written.
    pub probe_tokens: bool,
    /// The client; it outlives a change of the facts.
    pub client: Arc<Client<S>>,
}

impl<S: Sign> App<S> {
    /// Goes on where `former` is, if that is the same App: what it has asked for counts, and what it was told holds. Returns whether it is.
    pub fn follow(&self, former: &App<S>) -> bool {
        let same = self.facts.identity == former.facts.identity;
        if same && !Arc::ptr_eq(&self.client, &former.client) {
            self.client.inherit(&former.client);
        }
        same
    }

    /// Local time, by GitHub's clock.
    #[must_use]
    pub fn github_time(&self, local: Timestamp) -> Timestamp {
        by_clock(local, self.client.skew())
    }

    /// GitHub's time, by the local clock.
    #[must_use]
    pub fn local_time(&self, github: Timestamp) -> Timestamp {
        by_clock(github, -self.client.skew())
    }
}

/// The App of the startup configuration: none, one that works, or why it does not.
pub type StartupApp<S> = Option<Result<Arc<App<S>>, Problem>>;

/// An App: one that works, or why it does not; `None` for an App object that has not been tried yet.
pub type Entry<S> = Option<Result<Arc<App<S>>, Problem>>;

/// An App, and what is known of it.
pub type Listed<S> = (Entry<S>, Option<Arc<Known>>);

/// Namespace and name of an App object.
pub type AppName = (String, String);

/// Who has issued a token: nobody else is to see it, not even to revoke it.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The App.
    pub app: AppKey,
    /// Base URL of the App's GitHub then; `None`: it was not noted yet, and is taken for what it is now.
    pub base_url: Option<String>,
}

impl Origin {
    /// Of the token in a Secret with these annotations.
    #[must_use]
    pub fn noted(annotations: &BTreeMap<String, String>) -> Self {
        let app = annotations.get(annotation::APP);
        Origin {
            app: app.map_or(AppKey::Startup, |name| AppKey::named(name)),
            base_url: annotations.get(annotation::BASE_URL).cloned(),
        }
    }
}

/// Why a token is not revoked, after whether that may pass.
pub type Unrevoked = (bool, String);

/// So many Apps that are gone are remembered, which is for a moment: their tokens are revoked then, or never.
const MOST_FORMER: usize = 50;

/// Every App as it is now: one that works, or why it does not.
pub struct Apps<S> {
    /// The operator's own namespace.
    pub namespace: String,
    /// The App of the startup configuration.
    pub startup: StartupApp<S>,
    /// The App objects that are known.
    pub objects: HashMap<AppName, Entry<S>>,
    /// Whether those are all: before, one that is not among them may exist all the same.
    pub listed: bool,
    /// What is known of the App objects, whether or not they work.
    pub known: HashMap<AppName, Arc<Known>>,
    /// App objects that are gone, as they last worked: their tokens can still be revoked.
    pub former: HashMap<AppName, Arc<App<S>>>,
}

/// Asks for an App's installations to be listed anew.
pub type Rediscover = broadcast::Sender<AppKey>;

/// The Apps; whatever changes one of them replaces its entry.
pub type AppsNow<S> = watch::Receiver<Apps<S>>;

impl<S> Apps<S> {
    /// None is known yet.
    #[must_use]
    pub fn new(namespace: &str, startup: StartupApp<S>) -> Self {
        Apps {
            namespace: namespace.to_owned(),
            startup,
            objects: HashMap::new(),
            listed: false,
            known: HashMap::new(),
            former: HashMap::new(),
        }
    }

    /// An App object is gone: of those, a few are remembered.
    pub fn remember(&mut self, name: &AppName, app: Arc<App<S>>) {
        if self.former.len() >= MOST_FORMER {
            self.former.clear();
        }
        self.former.insert(name.clone(), app);
    }

    pub(super) fn name(&self, namespace: Option<&str>, name: &str) -> AppName {
        (namespace.unwrap_or(&self.namespace).to_owned(), name.to_owned())
    }

    /// The App of this key.
    ///
    /// # Errors
    /// Why there is none that works.
    pub fn get(&self, key: &AppKey) -> Result<Arc<App<S>>, Problem> {
        match key {
            AppKey::Startup => self.startup.clone().unwrap_or_else(|| Err(no_startup_app())),
            AppKey::Object { namespace, name } => {
                let untried = || {
                    let message =
                        format!("spec.appRef: the App {name} is being looked at; the Token goes on when it works");
                    Err(Problem::new(Reason::AppNotReady, Retry::Backoff, message))
                };
                let name = self.name(namespace.as_deref(), name);
                match self.objects.get(&name) {
                    None if !self.listed => untried(),
                    None => Err(app_not_found(&name.0, &name.1)),
                    Some(entry) => entry.clone().unwrap_or_else(untried),
                }
            }
        }
    }

    /// Whether it is not known yet what is to be said of this App.
    #[must_use]
    pub fn is_untried(&self, key: &AppKey) -> bool {
        let AppKey::Object { namespace, name } = key else {
            return false;
        };
        let name = self.name(namespace.as_deref(), name);
        self.objects.get(&name).map_or(!self.listed, Option::is_none)
    }

    /// The App for revoking a token: one that is gone will do, but none that is at another GitHub than the one that issued the token. A token
    /// revokes itself: neither the App's key nor its ID matters.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub fn for_revocation(&self, origin: &Origin) -> Result<Arc<App<S>>, Unrevoked> {
        let former = match &origin.app {
            AppKey::Startup => None,
            AppKey::Object { namespace, name } => self.former.get(&self.name(namespace.as_deref(), name)),
        };
        let present = self.get(&origin.app);
        let issued = |app: &&Arc<App<S>>| origin.base_url.as_ref().is_none_or(|url| *url == app.site.api_url);
        if let Some(app) = present.iter().chain(former).find(issued) {
            return Ok(app.clone());
        }
        Err(match present {
            Ok(_) => {
                let url = origin.base_url.as_deref().unwrap_or_default();
                let message =
                    format!("the App that issued it is not at {url} any more, and no other server is to see it");
                (false, message)
            }
            Err(Problem {
                reason: Reason::AppNotFound | Reason::NoStartupConfig,
                ..
            }) => (false, "the App that issued it is gone".to_owned()),
            // Not tried yet, or in trouble for a moment.
            Err(problem) => (true, problem.message),
        })
    }

    /// Every App, and what is known of it.
    #[must_use]
    pub fn entries(&self) -> HashMap<AppKey, Listed<S>> {
        let objects = self.objects.iter().map(|(name, entry)| {
            let key = AppKey::Object {
                namespace: Some(name.0.clone()),
                name: name.1.clone(),
            };
            (key, (entry.clone(), self.known.get(name).cloned()))
        });
        let startup = (AppKey::Startup, (self.startup.clone(), None));
        objects.chain([startup]).collect()
    }

    /// The key as it stands in [`Apps::entries`]: an App of the operator's own namespace may be named without it.
    #[must_use]
    pub fn full(&self, key: &AppKey) -> AppKey {
        key.in_namespace(&self.namespace)
    }
}

/// What a Token without `spec.appRef` is told where the operator has no App of its own.
#[must_use]
pub fn no_startup_app() -> Problem {
    Problem::new(
        Reason::NoStartupConfig,
        Retry::Every(Duration::from_secs(600)),
        "spec.appRef is not set, and the operator has no App of its own; set app_id, installation_id and key in gtm.yaml, or name an App",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_missing_only_when_all_have_been_listed() {
        let mut apps = Apps::<()>::new("own", None);
        let key = |name: &str| AppKey::Object {
            namespace: None,
            name: name.to_owned(),
        };
        let reason = |apps: &Apps<()>, name: &str| apps.get(&key(name)).err().map(|problem| problem.reason);
        apps.objects.insert(("own".to_owned(), "b".to_owned()), None);
        assert!(apps.is_untried(&key("a")) && apps.is_untried(&key("b")));
        assert_eq!(reason(&apps, "a"), Some(Reason::AppNotReady));
        apps.listed = true;
        assert!(!apps.is_untried(&key("a")) && apps.is_untried(&key("b")));
        assert_eq!(reason(&apps, "a"), Some(Reason::AppNotFound));
        assert_eq!(reason(&apps, "b"), Some(Reason::AppNotReady));
        let problem = apps.get(&key("b")).err();
        assert!(
            problem.is_some_and(|problem| problem.retry.is_transient()),
            "it is looked at"
        );
    }
}
