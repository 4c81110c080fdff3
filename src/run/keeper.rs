//! Keeps the startup App as configuration, file and key say, without a restart.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::Client;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::Reason;
use crate::cluster::AppObjects;
use crate::config::Config;
use crate::controller::{App, Apps, Rediscover, StartupApp};
use crate::domain::Problem;
use crate::domain::intent::AppKey;
use crate::domain::schedule::Retry;
use crate::github::{HttpClients, Observe};
use crate::signer::Signer;
use crate::telemetry::metrics::{ConfigSource, Controller, Metrics};

use super::apps::{Ingredients, accepted, broken, outdated, startup_app};
use super::clock;
use super::discovery::{self, Wishes};

/// How often the configuration and the key are looked at. By content: the kubelet's swap of a mounted Secret raises no useful
/// file event.
const POLL: Duration = Duration::from_secs(5);
/// How often a key that GitHub has refused is tried again: it may be uploaded there later.
const SECOND_CHANCE: Duration = Duration::from_secs(60);
/// How often a key service is asked for a new version of the key.
const NEW_VERSION: Duration = Duration::from_secs(60);
/// How often a key service that could not be used at the start, or after a change, is tried again.
const NEW_START: Duration = Duration::from_secs(10);

/// Looks after the startup App.
pub struct Keeper<L> {
    /// Tells the controllers.
    pub publish: Arc<watch::Sender<Apps<Signer>>>,
    /// Tells the keepers of App objects what the configuration says.
    pub settings: watch::Sender<Arc<Config>>,
    /// Hears that an App's installations are to be listed anew.
    pub rediscover: Rediscover,
    /// What the present App was made of.
    pub current: Result<Option<Ingredients>, Problem>,
    /// Reads file and environment.
    pub load: L,
    /// The cluster, and the operator's namespace in it.
    pub cluster: (Client, String),
    /// What GitHub is asked through.
    pub http: HttpClients,
    /// Hears of each request of the App's.
    pub observe: Arc<dyn Observe>,
    /// Counts configurations that cannot be used.
    pub metrics: Metrics,
    /// When a key service was last asked for the newest version of the key.
    pub connected: Instant,
    /// When the installations are to be listed; `None`: at once.
    pub discovery: Option<Instant>,
}

/// A configuration that is not used, and why.
struct Refused {
    gathered: Result<Option<Ingredients>, Problem>,
    problem: Problem,
    at: Instant,
}

impl<L: FnMut() -> Result<Config, String> + Send> Keeper<L> {
    /// Works until it is aborted.
    pub async fn run(mut self) {
        let mut refused = None;
        let mut wishes = Wishes::new(self.rediscover.subscribe(), AppKey::Startup);
        let objects = AppObjects::new(self.cluster.0.clone());
        self.discover().await;
        let mut key: Option<(String, BoxStream<'static, ()>)> = None;
        loop {
            let hurried = async {
                match &mut key {
                    Some((_, changes)) => changes.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                _ = hurried => {}
                () = wishes.granted() => self.discovery = None,
            }
            let config = (self.load)();
            if let Ok(config) = &config {
                self.settings.send_if_modified(|settings| {
                    let changed = **settings != *config;
                    if changed {
                        *settings = Arc::new(config.clone());
                    }
                    changed
                });
            }
            let secret = config.as_ref().ok().and_then(Ingredients::key_secret);
            if key.as_ref().map(|(name, _)| name.as_str()) != secret {
                key = secret.map(|name| (name.to_owned(), objects.secret_changes(&self.cluster.1, name)));
            }
            self.look(config, &mut refused).await;
            self.discover().await;
        }
    }

    async fn look(&mut self, config: Result<Config, String>, refused: &mut Option<Refused>) {
        let gathered = match config {
            Ok(config) => Ingredients::gather(&config, Some((&self.cluster.0, &self.cluster.1))).await,
            Err(error) => Err(Problem::new(Reason::AppNotReady, Retry::Backoff, error)),
        };
        let unchanged = gathered == self.current;
        let same = |refused: &Refused| refused.gathered == gathered;
        if unchanged && !self.service_is_due() {
            // What was refused of the same configuration is a new version of its key.
            refused.take_if(|refused| !same(refused));
            return;
        }
        let tried = |refused: &Refused| same(refused) && refused.at.elapsed() < SECOND_CHANCE;
        if gathered.is_ok() && refused.as_ref().is_some_and(tried) {
            return;
        }
        if unchanged && !is_outdated(self.startup()).await {
            self.connected = Instant::now();
            *refused = None;
            return;
        }
        let built = match &gathered {
            Ok(Some(new)) => new.build(&self.http, self.observe.clone()).await.map(Some),
            Ok(None) => Ok(None),
            Err(problem) => Err(problem.clone()),
        };
        self.connected = Instant::now();
        if unchanged && self.brings_nothing(&built) {
            *refused = None;
            return;
        }
        let works = matches!(self.startup(), Some(Ok(_)));
        let accepted = match &built {
            Ok(Some(app)) => accepted(app).await,
            // A file that was emptied, or has gone, is a slip more often than a wish.
            Ok(None) if works => Err(nameless()),
            Ok(None) => Ok(()),
            Err(problem) => Err(problem.clone()),
        };
        match accepted {
            // The trouble is the service's, and whoever needs a signature tells of it.
            Err(_) if unchanged && self.has_its_key(&built) => *refused = None,
            // What works stays in use until the new one works, too.
            Err(problem) if works => self.refuse(gathered, problem, refused),
            outcome => {
                match outcome {
                    Ok(()) => tracing::info!("the configuration has changed and is used from now on"),
                    Err(problem) => broken(&problem, &self.metrics),
                }
                *refused = None;
                self.current = gathered;
                let startup = startup_app(built);
                self.publish.send_modify(|apps| apps.startup = startup);
                self.discovery = None;
            }
        }
    }

    fn startup(&self) -> StartupApp<Signer> {
        self.publish.borrow().startup.clone()
    }

    /// Lists the installations, for Tokens that name an owner.
    async fn discover(&mut self) {
        let due = self.discovery.is_none_or(|at| Instant::now() >= at);
        let Some(Ok(app)) = self.startup().filter(|_| due) else {
            return;
        };
        let found = discovery::installations(&app).await;
        self.discovery = Some(Instant::now() + discovery::pause_after(&found, app.github_time(clock::steady())));
        match found {
            Ok(found) => {
                if let Some(app) = discovery::with_installations(&app, &found) {
                    self.publish.send_modify(|apps| apps.startup = Some(Ok(app)));
                }
            }
            Err(problem) => {
                tracing::warn!(reason = %problem.reason, "the App's installations are not known: {}", problem.message)
            }
        }
    }

    /// Whether the key is in a service that is to be asked again: for a newer version, or whether it works by now.
    fn service_is_due(&self) -> bool {
        let remote = matches!(&self.current, Ok(Some(ingredients)) if ingredients.key_is_remote());
        let works = matches!(self.startup(), Some(Ok(app)) if !app.client.signer().fails());
        remote && self.connected.elapsed() >= if works { NEW_VERSION } else { NEW_START }
    }

    /// Whether there is no reason to use what was connected anew instead of what is in use.
    fn brings_nothing(&self, built: &Result<Option<App<Signer>>, Problem>) -> bool {
        match (&self.startup(), built) {
            (Some(Ok(used)), Ok(Some(_))) => self.has_its_key(built) && !used.client.signer().fails(),
            (Some(Err(before)), Err(now)) => before == now,
            // What signs goes on, whatever its service says of new versions; if it no longer signs, that says why.
            (Some(Ok(_)), Err(_)) => true,
            _ => false,
        }
    }

    /// Whether this App has the key of the one in use.
    fn has_its_key(&self, built: &Result<Option<App<Signer>>, Problem>) -> bool {
        match (&self.startup(), built) {
            (Some(Ok(used)), Ok(Some(built))) => used.client.signer().same_key(built.client.signer()),
            _ => false,
        }
    }

    fn refuse(&self, gathered: Result<Option<Ingredients>, Problem>, problem: Problem, refused: &mut Option<Refused>) {
        if refused.as_ref().is_none_or(|before| before.problem != problem) {
            tracing::warn!(reason = %problem.reason, "the new configuration is not used: {}", problem.message);
            self.metrics.config_failed(Controller::App, ConfigSource::Startup);
        }
        let at = Instant::now();
        *refused = Some(Refused { gathered, problem, at });
    }
}

/// What is wrong with a configuration without an App while one is in use.
fn nameless() -> Problem {
    Problem::new(
        Reason::NoStartupConfig,
        Retry::Backoff,
        "it names no App, and the former one stays in use; set app_id, installation_id and key in gtm.yaml, or restart the operator to have it work without one",
    )
}

/// Whether a connection of its own may bring more than the App in use has.
async fn is_outdated(used: StartupApp<Signer>) -> bool {
    match used {
        Some(Ok(app)) => outdated(&app).await,
        _ => true,
    }
}
