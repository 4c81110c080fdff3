//! Why does it not work: the chain from the configuration to what a token may do, link by link. The first that is broken says what
//! helps; what hangs on it is not tried.

mod app;
mod cluster;
mod manifest;
mod token;
mod webhook;

use std::path::PathBuf;
use std::sync::Arc;

use kube::Client as Cluster;

use crate::api::{Reason, condition};
use crate::cluster::{AppObject, ClusterError};
use crate::config::Config;
use crate::controller::App;
use crate::domain::Problem;
use crate::domain::intent::{AppKey, Intent, Key};
use crate::domain::plan::AppFacts;
use crate::domain::schedule::Retry;
use crate::github::{HttpClients, Installation};
use crate::signer::Signer;

use super::apps::{Ingredients, signs};
use super::settings::Settings;
use super::{discovery, object_spec};

/// From this difference on, the clock is worth a word: GitHub's tolerance of a JWT is a minute.
const NOTEWORTHY_SKEW: i64 = 20;
/// Who helps where an installation is suspended.
const LIFTED: &str = "its owner lifts that in the account's settings, \"GitHub Apps\"";
/// Where a pod is tried, unless a Token names a namespace.
const POD_PLACE: &str = "default";

/// How one link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, but perhaps not as it is meant.
    Doubtful,
    /// Broken: what comes after cannot work.
    Bad,
}

impl Verdict {
    /// For programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Good => "good",
            Verdict::Doubtful => "doubtful",
            Verdict::Bad => "bad",
        }
    }
}

/// One link of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Which.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found; with the cure, where one is needed. Never a secret.
    pub message: String,
}

/// What a check goes by.
pub struct CheckOptions {
    /// The startup configuration.
    pub config: Config,
    /// The operator's own namespace.
    pub namespace: String,
    /// The file that leads to the cluster; `None`: `KUBECONFIG`, `~/.kube/config`, the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// Manifests of Apps, which count before the cluster's.
    pub apps: Vec<serde_json::Value>,
}

/// The Token that is checked.
pub enum Subject {
    /// None: the operator's own App alone.
    App,
    /// One of the cluster.
    Object(Key),
    /// One that is not applied yet.
    Manifest(serde_json::Value),
}

/// What was found out about one subject.
pub struct Section {
    /// Which, where a manifest names it.
    pub object: Option<String>,
    /// The links that were looked at.
    pub links: Vec<Link>,
}

/// The links that were looked at.
#[derive(Default)]
struct Chain(Vec<Link>);

/// A link is broken: nothing more is tried.
struct Broken;

impl Chain {
    fn say(&mut self, name: &'static str, verdict: Verdict, message: impl Into<String>) {
        let message = message.into();
        self.0.push(Link { name, verdict, message });
    }

    fn good(&mut self, name: &'static str, message: impl Into<String>) {
        self.say(name, Verdict::Good, message);
    }

    /// What could not be looked at is no fault.
    fn unseen(&mut self, name: &'static str, error: &ClusterError) {
        self.say(name, Verdict::Doubtful, format!("not looked at: {error}"));
    }

    /// The value, or the end of the chain.
    fn need<T>(&mut self, name: &'static str, found: Result<T, Problem>) -> Result<T, Broken> {
        found.map_err(|problem| {
            self.say(name, Verdict::Bad, format!("{}: {}", problem.reason, problem.told()));
            Broken
        })
    }
}

/// Looks at every link.
pub async fn check(options: &CheckOptions, subject: Subject) -> Section {
    let object = match &subject {
        Subject::Manifest(manifest) => Some(manifest::title(manifest)),
        Subject::App | Subject::Object(_) => None,
    };
    let mut chain = Chain::default();
    // What broke is in the chain.
    let _ = walk(&mut chain, options, subject).await;
    let links = chain.0;
    Section { object, links }
}

async fn walk(chain: &mut Chain, options: &CheckOptions, subject: Subject) -> Result<(), Broken> {
    let mut cluster = surroundings(chain, options, &subject).await?;
    let intent = asked(chain, cluster.as_ref(), subject).await?;
    let app_key = intent.as_ref().map_or(AppKey::Startup, |intent| intent.app.clone());
    let object = app::of(chain, &mut cluster, options, &app_key).await?;
    if let Some(object) = &object {
        pool(chain, object);
    }
    let made_of = ingredients(options, cluster.as_ref(), object.as_ref()).await;
    let made_of = chain.need("configuration", made_of)?;
    chain.good(
        "configuration",
        "it names an App, its key can be reached, and nothing contradicts itself",
    );
    let app = chain.need("key", made_of.build(&HttpClients::default(), Arc::new(())).await)?;
    let fingerprint = app.client.signer().fingerprint().unwrap_or_default();
    chain.good(
        "key",
        format!("fingerprint {fingerprint}, as the App's settings page at GitHub shows it"),
    );
    chain.need("signature", signs(&app).await)?;
    chain.good("signature", "a signature was made, and verified with the public key");
    let (app, installations) = github(chain, Arc::new(app)).await?;
    match &intent {
        Some(intent) => token::of_token(chain, &app, intent).await,
        None => of_app(chain, &app.facts, &installations),
    }
}

/// The cluster, where it is needed or found, and what Tokens rely on there.
async fn surroundings(chain: &mut Chain, options: &CheckOptions, subject: &Subject) -> Result<Option<Cluster>, Broken> {
    let instead = match subject {
        _ if Ingredients::key_secret(&options.config).is_some() => {
            Some("give the key in a file: provider secret reads it there")
        }
        Subject::Object(_) => Some("check a manifest with -f, which needs none unless it names an App"),
        Subject::App | Subject::Manifest(_) => None,
    };
    let cluster = match (instead, subject) {
        (Some(instead), _) => Some(cluster::connected(chain, options, instead).await?),
        (None, Subject::App) => cluster::found(chain, options).await,
        (None, _) => None,
    };
    let place = match subject {
        Subject::Manifest(_) => None,
        Subject::Object(key) => Some(key.namespace.as_deref().unwrap_or(POD_PLACE)),
        Subject::App => Some(POD_PLACE),
    };
    if let (Some(cluster), Some(place)) = (&cluster, place) {
        cluster::surroundings(chain, cluster, &options.namespace, place).await;
    }
    Ok(cluster)
}

/// What is asked for; `None`: nothing but the operator's own App.
async fn asked(chain: &mut Chain, cluster: Option<&Cluster>, subject: Subject) -> Result<Option<Intent>, Broken> {
    let intent = match subject {
        Subject::App => return Ok(None),
        Subject::Manifest(manifest) => chain.need("token", manifest::of_manifest(manifest))?,
        Subject::Object(key) => cluster::token(chain, cluster.ok_or(Broken)?, &key).await?,
    };
    let message = format!("{} can be read; its Secret is {}", intent.key, intent.secret.key);
    chain.good("token", message);
    for warning in &intent.warnings {
        let message = format!("{}: {}", warning.reason, warning.message);
        chain.say("token", Verdict::Doubtful, message);
    }
    Ok(Some(intent))
}

async fn ingredients(
    options: &CheckOptions,
    cluster: Option<&Cluster>,
    object: Option<&AppObject>,
) -> Result<Ingredients, Problem> {
    let (settings, own) = (
        Settings::gather(options.config.clone()).await,
        options.namespace.as_str(),
    );
    if let Some(object) = object {
        let outline = object_spec::outline(object, &settings, own)?;
        let place = |cluster| (cluster, object.namespace.as_str());
        return outline.with_key(cluster.map(place)).await;
    }
    let gathered = Ingredients::gather(&settings, cluster.map(|cluster| (cluster, own))).await?;
    gathered.ok_or_else(crate::controller::no_startup_app)
}

/// Only the App that the Token names is asked; the others that may issue its tokens are named.
fn pool(chain: &mut Chain, object: &AppObject) {
    let Some(app) = object.read.as_ref().ok().filter(|app| !app.spec.pool.is_empty()) else {
        return;
    };
    let members: Vec<_> = app.spec.pool.iter().map(|member| member.name.as_str()).collect();
    let (members, name) = (members.join(", "), &object.name);
    let told = object
        .status
        .as_ref()
        .and_then(|status| status.condition(condition::POOL));
    match told.filter(|told| told.status == "False") {
        Some(told) => chain.say("pool", Verdict::Doubtful, format!("{}: {}", told.reason, told.message)),
        None => chain.good(
            "pool",
            format!("tokens may come from {members}, too; only {name} is tried here"),
        ),
    }
}

/// GitHub knows the App, and where it is installed.
async fn github(chain: &mut Chain, app: Arc<App<Signer>>) -> Result<(Arc<App<Signer>>, Vec<Installation>), Broken> {
    let (slug, installations) = chain.need("github", discovery::found(&app).await)?;
    chain.good("github", format!("it takes the App's JWT, and knows the App as {slug}"));
    let skew = app.client.skew().as_secs();
    if skew.abs() >= NOTEWORTHY_SKEW {
        let message = format!("this clock and GitHub's differ by {skew} seconds, which is corrected; see to NTP");
        chain.say("clock", Verdict::Doubtful, message);
    } else {
        chain.good("clock", "it agrees with GitHub's");
    }
    list(chain, &installations);
    let app = discovery::with_installations(&app, &installations).unwrap_or(app);
    Ok((app, installations))
}

fn list(chain: &mut Chain, installations: &[Installation]) {
    if installations.is_empty() {
        let message = "the App is installed nowhere: install it on its page at GitHub, \"Install App\"";
        chain.say("installations", Verdict::Doubtful, message);
    }
    for installation in installations {
        let account = installation.account.as_ref().map_or("?", |account| &account.login);
        let repositories = installation.repository_selection.as_deref().unwrap_or("?");
        let message = format!("{} for {account}, {repositories} repositories", installation.id);
        match installation.suspended_at {
            None => chain.good("installations", message),
            Some(_) => {
                let message = format!("{message}: suspended; {LIFTED}");
                chain.say("installations", Verdict::Doubtful, message);
            }
        }
    }
}

fn of_app(chain: &mut Chain, facts: &AppFacts, installations: &[Installation]) -> Result<(), Broken> {
    if facts.installation.is_none() && facts.owner.is_none() {
        chain.good("installation", "none is configured: each Token names its own");
        return Ok(());
    }
    let installation = chain.need("installation", facts.default_installation())?;
    let found = installations.iter().find(|found| found.id == installation);
    let wrong = |reason, message| Err(Problem::new(reason, Retry::Every(discovery::PERIOD), message));
    let standing = match found.map(|found| found.suspended_at) {
        Some(None) => Ok(()),
        Some(Some(_)) => {
            let message = format!("{installation}, which Tokens that name none get, is suspended; {LIFTED}");
            wrong(Reason::InstallationSuspended, message)
        }
        None => {
            let cure = "it is none of the App's above: correct it, or install the App there";
            wrong(
                Reason::InstallationNotFound,
                format!("installation_id {installation}: {cure}"),
            )
        }
    };
    chain.need("installation", standing)?;
    chain.good("installation", format!("Tokens that name none get {installation}"));
    Ok(())
}
