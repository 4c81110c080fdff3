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

use super::apps::{Gathered, Ingredients, built, outdated, proved, signs};
use super::clock;
use super::discovery::{self, Wishes};
use super::settings::Settings;
use super::used::pause_after;

/// How often the configuration and the key are looked at. By content: the kubelet's swap of a mounted Secret raises no useful
/// file event.
const POLL: Duration = Duration::from_secs(5);
/// How often a key service is asked for a new version of the key.
const NEW_VERSION: Duration = Duration::from_secs(60);
/// How often a key service that could not be used at the start, or after a change, is tried again.
const NEW_START: Duration = Duration::from_secs(10);
/// How often the log repeats what is wrong all the while.
const SAID_AGAIN: Duration = Duration::from_secs(600);
/// What the log says where no startup App works.
const BROKEN: &str = "the startup App does not work";

/// Looks after the startup App.
pub struct Keeper<L> {
    /// Tells the controllers.
    pub publish: Arc<watch::Sender<Apps<Signer>>>,
    /// Tells the keepers of App objects what the configuration in use says.
    pub settings: watch::Sender<Arc<Settings>>,
    /// Hears that an App's installations are to be listed anew.
    pub rediscover: Rediscover,
    /// The configuration in use.
    pub current: Gathered,
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

/// What is wrong with a configuration.
struct Trouble {
    gathered: Gathered,
    problem: Problem,
    /// How often that was found.
    times: u32,
    /// When it was last logged.
    said: Instant,
    /// When it is looked for again.
    again: Instant,
}

impl Trouble {
    fn is_due(&self) -> bool {
        Instant::now() >= self.again
    }
}

/// What has come of a configuration.
enum Outcome {
    /// What is in use stays so.
    Refused(Problem),
    /// This App is used, whatever speaks against it.
    Used(StartupApp<Signer>, Result<(), Problem>),
}

impl<L: FnMut() -> Result<Config, String> + Send> Keeper<L> {
    /// Works until it is aborted.
    pub async fn run(mut self) {
        let mut trouble = None;
        let mut wishes = Wishes::new(self.rediscover.subscribe(), AppKey::Startup);
        let objects = AppObjects::new(self.cluster.0.clone());
        self.recall(&mut trouble);
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
            let secret = config.as_ref().ok().and_then(Ingredients::key_secret);
            if key.as_ref().map(|(name, _)| name.as_str()) != secret {
                key = secret.map(|name| (name.to_owned(), objects.secret_changes(&self.cluster.1, name)));
            }
            self.look(config, &mut trouble).await;
            self.discover().await;
        }
    }

    async fn look(&mut self, config: Result<Config, String>, trouble: &mut Option<Trouble>) {
        let gathered = match config {
            Ok(config) => Gathered::of(config, (&self.cluster.0, &self.cluster.1)).await,
            // What it says beside its App is not known, and stays.
            Err(error) => Gathered {
                settings: self.current.settings.clone(),
                app: Err(Problem::new(Reason::AppNotReady, Retry::Backoff, error)),
            },
        };
        let past = trouble.take_if(|trouble| trouble.gathered != gathered);
        let outcome = if gathered == self.current {
            if past.is_some() {
                tracing::info!("the configuration is as it was again, and is used from now on");
            }
            self.renewed().await
        } else if trouble.as_ref().is_none_or(Trouble::is_due) {
            Some(self.tried(&gathered).await)
        } else {
            return;
        };
        match outcome {
            None => self.recall(trouble),
            Some(Outcome::Refused(problem)) => {
                self.complain(trouble, gathered, problem, "the new configuration is not used")
            }
            Some(Outcome::Used(app, proof)) => {
                self.adopt(gathered, app);
                *trouble = None;
                match proof {
                    Ok(()) => tracing::info!("the configuration has changed and is used from now on"),
                    Err(problem) => self.complain(trouble, self.current.clone(), problem, BROKEN),
                }
            }
        }
    }

    /// Uses a configuration from now on.
    fn adopt(&mut self, gathered: Gathered, app: StartupApp<Signer>) {
        let settings = gathered.settings.clone();
        self.settings.send_if_modified(|before| {
            let changed = *before != settings;
            *before = settings;
            changed
        });
        self.current = gathered;
        self.publish.send_modify(|apps| {
            // Before anyone can ask it for a turn.
            if let (Some(Ok(former)), Some(Ok(now))) = (&apps.startup, &app) {
                now.follow(former);
            }
            apps.startup = app;
        });
        self.discovery = None;
    }

    /// What comes of a configuration that has changed.
    async fn tried(&mut self, gathered: &Gathered) -> Outcome {
        let used = self.startup();
        if let (Some(Ok(_)), Ok(None)) = (&used, &gathered.app) {
            return Outcome::Refused(nameless());
        }
        if let Err(problem) = gathered.settings.may_replace(&self.current.settings, &self.http) {
            return Outcome::Refused(problem);
        }
        if gathered.app == self.current.app {
            return Outcome::Used(used, Ok(()));
        }
        let built = self.built(&gathered.app).await;
        self.judged(&gathered.app, built).await
    }

    /// What comes of another connection to the key service, if it brings more than the one in use has.
    async fn renewed(&mut self) -> Option<Outcome> {
        if !self.service_is_due() {
            return None;
        }
        let outdated = is_outdated(self.startup()).await;
        self.connected = Instant::now();
        if !outdated {
            return None;
        }
        let app = self.current.app.clone();
        let built = self.built(&app).await;
        let same_key = self.is_its_key(&built);
        if self.brings_nothing(&built) {
            return None;
        }
        match self.judged(&app, built).await {
            // The trouble is the service's, and whoever needs a signature tells of it.
            Outcome::Refused(_) if same_key => None,
            outcome => Some(outcome),
        }
    }

    async fn built(&mut self, app: &Result<Option<Ingredients>, Problem>) -> StartupApp<Signer> {
        let built = built(app, &self.http, self.observe.clone()).await;
        self.connected = Instant::now();
        built
    }

    /// Whether what was built is used instead of the App in use.
    async fn judged(&mut self, app: &Result<Option<Ingredients>, Problem>, built: StartupApp<Signer>) -> Outcome {
        let proof = match (app, &built) {
            (Ok(Some(made_of)), Some(Ok(app))) => self.proof(made_of, app).await,
            (_, Some(Err(problem))) => Err(problem.clone()),
            _ => return Outcome::Used(built, Ok(())),
        };
        match (proof, self.startup()) {
            (Ok(app), _) => Outcome::Used(Some(Ok(app)), Ok(())),
            // What GitHub cannot be asked about may be right, as what it has taken is; nothing is better than what never worked.
            (Err(problem), Some(Ok(used))) if problem.reason.is_about_the_app() || used.facts.is_installed() => {
                Outcome::Refused(problem)
            }
            (Err(problem), _) => Outcome::Used(built, Err(problem)),
        }
    }

    /// The App with its installations, if it works. GitHub is not asked about what it is not told.
    async fn proof(&mut self, made_of: &Ingredients, app: &Arc<App<Signer>>) -> Result<Arc<App<Signer>>, Problem> {
        match (self.startup(), &self.current.app) {
            (Some(Ok(used)), Ok(Some(current)))
                if made_of.asks_as(current) && used.client.signer().same_key(app.client.signer()) =>
            {
                signs(app).await?;
                Ok(discovery::knowing(app, used.facts.installations.clone()))
            }
            _ => proved(app).await,
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
        let remote = matches!(&self.current.app, Ok(Some(made_of)) if made_of.key_is_remote());
        let works = matches!(self.startup(), Some(Ok(app)) if !app.client.signer().fails());
        remote && self.connected.elapsed() >= if works { NEW_VERSION } else { NEW_START }
    }

    /// Whether there is no reason to use what was connected anew instead of what is in use.
    fn brings_nothing(&self, built: &StartupApp<Signer>) -> bool {
        match (&self.startup(), built) {
            (Some(Ok(used)), Some(Ok(_))) => self.is_its_key(built) && !used.client.signer().fails(),
            (Some(Err(before)), Some(Err(now))) => before == now,
            // What signs goes on, whatever its service says of new versions; if it no longer signs, that says why.
            (Some(Ok(_)), Some(Err(_))) => true,
            _ => false,
        }
    }

    /// Whether this App has the key of the one in use.
    fn is_its_key(&self, built: &StartupApp<Signer>) -> bool {
        match (&self.startup(), built) {
            (Some(Ok(used)), Some(Ok(built))) => used.client.signer().same_key(built.client.signer()),
            _ => false,
        }
    }

    /// Tells, again and again, of an App that does not work.
    fn recall(&self, trouble: &mut Option<Trouble>) {
        if let Some(Err(problem)) = self.startup()
            && trouble.as_ref().is_none_or(Trouble::is_due)
        {
            self.complain(trouble, self.current.clone(), problem, BROKEN);
        }
    }

    /// Counts what is wrong whenever it is found, as the failure of a Token is, and logs it at first and now and then.
    fn complain(&self, trouble: &mut Option<Trouble>, gathered: Gathered, problem: Problem, what: &str) {
        let now = Instant::now();
        let before = trouble.take();
        let times = before.as_ref().map_or(1, |before| before.times.saturating_add(1));
        let said = before.filter(|before| before.problem.reason == problem.reason && before.said + SAID_AGAIN > now);
        if said.is_none() {
            tracing::error!(reason = %problem.reason, "{what}: {}", problem.message);
        }
        self.metrics.config_failed(Controller::App, ConfigSource::Startup);
        let time = match self.startup() {
            Some(Ok(app)) => app.github_time(clock::steady()),
            _ => clock::steady(),
        };
        let pause = pause_after(Some(&problem), times, time, super::manager::dice());
        *trouble = Some(Trouble {
            gathered,
            problem,
            times,
            said: said.map_or(now, |said| said.said),
            again: now + pause,
        });
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
