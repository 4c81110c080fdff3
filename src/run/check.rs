//! Why does it not work: the chain from the configuration to what a token may do, link by link. The first that is broken says what
//! helps; what hangs on it is not tried.

mod manifest;
mod token;

use std::sync::Arc;

use kube::Client as Cluster;

use crate::api::{App as AppResource, condition};
use crate::cluster::{AppObjects, Scope, Tokens};
use crate::config::Config;
use crate::controller::App;
use crate::domain::Problem;
use crate::domain::intent::{AppKey, Intent, Key, app_not_found, invalid};
use crate::domain::plan::AppFacts;
use crate::github::{HttpClients, Installation};
use crate::signer::Signer;

use super::apps::{Ingredients, signs};
use super::connection::connect;
use super::settings::Settings;
use super::{discovery, object_spec};

/// From this difference on, the clock is worth a word: GitHub's tolerance of a JWT is a minute.
const NOTEWORTHY_SKEW: i64 = 20;

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

    /// The value, or the end of the chain.
    fn need<T>(&mut self, name: &'static str, found: Result<T, Problem>) -> Result<T, Broken> {
        found.map_err(|problem| {
            self.say(name, Verdict::Bad, format!("{}: {}", problem.reason, problem.message));
            Broken
        })
    }
}

/// Looks at every link. `own` is the operator's namespace.
pub async fn check(config: &Config, subject: Subject, own: &str) -> Section {
    let object = match &subject {
        Subject::Manifest(manifest) => Some(manifest::title(manifest)),
        Subject::App | Subject::Object(_) => None,
    };
    let mut chain = Chain::default();
    // What broke is in the chain.
    let _ = walk(&mut chain, config, subject, own).await;
    let links = chain.0;
    Section { object, links }
}

async fn walk(chain: &mut Chain, config: &Config, subject: Subject, own: &str) -> Result<(), Broken> {
    let instead = match &subject {
        _ if Ingredients::key_secret(config).is_some() => {
            Some("give the key in a file: provider secret reads it there")
        }
        Subject::Object(_) => Some("check a manifest with -f, which needs none unless it names an App"),
        Subject::App | Subject::Manifest(_) => None,
    };
    let mut cluster = match instead {
        Some(instead) => Some(connected(chain, instead).await?),
        None => None,
    };
    let intent = match subject {
        Subject::App => None,
        Subject::Manifest(manifest) => Some(chain.need("token", manifest::of_manifest(manifest))?),
        Subject::Object(key) => Some(of_cluster(chain, cluster.as_ref(), &key).await?),
    };
    if let Some(intent) = &intent {
        chain.good(
            "token",
            format!("{} can be read; its Secret is {}", intent.key, intent.secret.key),
        );
        for warning in &intent.warnings {
            chain.say(
                "token",
                Verdict::Doubtful,
                format!("{}: {}", warning.reason, warning.message),
            );
        }
    }
    let app_key = intent.as_ref().map_or(AppKey::Startup, |intent| intent.app.clone());
    if let (None, AppKey::Object { name, .. }) = (&cluster, &app_key) {
        let instead = format!("leave spec.appRef out: to check the App {name}, it has to be read");
        cluster = Some(connected(chain, &instead).await?);
    }
    let made_of = ingredients(chain, config, cluster, &app_key, own).await;
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
    let app = github(chain, Arc::new(app)).await?;
    match &intent {
        Some(intent) => token::of_token(chain, &app, intent).await,
        None => of_app(chain, &app),
    }
}

/// A client of the cluster; `instead` is what can be done without one.
async fn connected(chain: &mut Chain, instead: &str) -> Result<Cluster, Broken> {
    connect().await.map_err(|error| {
        chain.say("cluster", Verdict::Bad, format!("{error}; or {instead}"));
        Broken
    })
}

async fn of_cluster(chain: &mut Chain, cluster: Option<&Cluster>, key: &Key) -> Result<Intent, Broken> {
    let Some(cluster) = cluster else { return Err(Broken) };
    let record = match Tokens::new(cluster.clone(), Scope::new(&[])).get(key).await {
        Ok(Some(record)) => record,
        Ok(None) => {
            chain.say(
                "token",
                Verdict::Bad,
                format!("{key} does not exist; check namespace and name"),
            );
            return Err(Broken);
        }
        Err(error) => {
            chain.say("cluster", Verdict::Bad, format!("{key} cannot be read: {error}"));
            return Err(Broken);
        }
    };
    chain.good("cluster", "the API server answers");
    let (intent, status) = record.read();
    for condition in status
        .conditions
        .iter()
        .filter(|c| (c.kind == "Ready") != (c.status == "True"))
    {
        let message = format!(
            "its condition {} is {}: {}: {}",
            condition.kind, condition.status, condition.reason, condition.message
        );
        chain.say("token", Verdict::Doubtful, message);
    }
    chain.need("token", intent)
}

async fn ingredients(
    chain: &mut Chain,
    config: &Config,
    cluster: Option<Cluster>,
    app: &AppKey,
    own: &str,
) -> Result<Ingredients, Problem> {
    let settings = Settings::gather(config.clone()).await;
    match app {
        AppKey::Startup => {
            let gathered = Ingredients::gather(&settings, cluster.as_ref().map(|cluster| (cluster, own))).await?;
            gathered.ok_or_else(crate::controller::no_startup_app)
        }
        AppKey::Object { namespace, name } => {
            let cluster = cluster.ok_or_else(|| invalid("spec.appRef: an App is read from a cluster"))?;
            let objects = AppObjects::new(cluster.clone());
            let place = namespace.as_deref().unwrap_or(own);
            let found = objects.get(place, name).await;
            let found =
                found.map_err(|error| invalid(format!("spec.appRef: the App {name} cannot be read: {error}")))?;
            let found = found.ok_or_else(|| app_not_found(place, name))?;
            if let Ok(app) = &found.read {
                pool(chain, name, app);
            }
            let outline = object_spec::outline(&found, &settings, own)?;
            outline.with_key(Some((&cluster, &found.namespace))).await
        }
    }
}

/// Only the App that the Token names is asked; the others that may issue its tokens are named.
fn pool(chain: &mut Chain, name: &str, app: &AppResource) {
    if app.spec.pool.is_empty() {
        return;
    }
    let members: Vec<_> = app.spec.pool.iter().map(|member| member.name.as_str()).collect();
    let members = members.join(", ");
    let told = app.status.as_ref().and_then(|status| status.condition(condition::POOL));
    match told.filter(|told| told.status == "False") {
        Some(told) => chain.say("pool", Verdict::Doubtful, format!("{}: {}", told.reason, told.message)),
        None => chain.good(
            "pool",
            format!("tokens may come from {members}, too; only {name} is tried here"),
        ),
    }
}

/// GitHub knows the App, and where it is installed.
async fn github(chain: &mut Chain, app: Arc<App<Signer>>) -> Result<Arc<App<Signer>>, Broken> {
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
    Ok(discovery::with_installations(&app, &installations).unwrap_or(app))
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
                let cure = "its owner lifts that in the account's settings, \"GitHub Apps\"";
                chain.say(
                    "installations",
                    Verdict::Doubtful,
                    format!("{message}: suspended; {cure}"),
                );
            }
        }
    }
}

fn of_app(chain: &mut Chain, app: &App<Signer>) -> Result<(), Broken> {
    let facts: &AppFacts = &app.facts;
    if facts.installation.is_none() && facts.owner.is_none() {
        chain.good("installation", "none is configured: each Token names its own");
        return Ok(());
    }
    let installation = chain.need("installation", facts.default_installation())?;
    chain.good("installation", format!("Tokens that name none get {installation}"));
    Ok(())
}
