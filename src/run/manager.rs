//! `gtm manager`.

use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Events, Record, Scope, Secrets, Tokens, follow_policies, for_bulk, watch as watch_cluster};
use crate::config::Config;
use crate::controller::{Apps, Context, Engine, Rediscover, StartupApp};
use crate::domain::digest;
use crate::domain::policy::{DefaultPolicy, Policies};
use crate::github::{HttpClients, Observe};
use crate::signer::Signer;
use crate::telemetry::http::{self, BindAddress, Heartbeat, Probes, Readiness, Server};
use crate::telemetry::metrics::Metrics;

use super::apps::{self, Gathered};
use super::clock;
use super::connection::connect_by;
use super::end::{Signals, Tasks, until_the_end};
use super::keeper::Keeper;
use super::leader::{self, FAREWELL, Leadership};
use super::objects::Objects;
use super::pool;
use super::recorder::{AppRecorder, Recorder};
use super::webhook::{Admission, Webhook};

/// What the operator is told on its command line, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerOptions {
    /// The configuration file that was named; for a reload.
    pub config_path: Option<PathBuf>,
    /// The file that leads to the cluster; `None`: `KUBECONFIG`, `~/.kube/config`, the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// Where metrics are served.
    pub metrics_address: BindAddress,
    /// Where probes are answered.
    pub health_address: BindAddress,
    /// Where the webhook is served.
    pub webhook_address: BindAddress,
    /// The folder of the webhook's certificate; `None`: our own certificate authority.
    pub webhook_cert_path: Option<PathBuf>,
    /// What holds where no policy selects a namespace.
    pub default_policy: DefaultPolicy,
    /// Whether a Lease chooses one replica.
    pub leader_elect: bool,
    /// The operator's own namespace.
    pub namespace: String,
    /// The namespaces that are looked into.
    pub scope: Scope,
}

/// Why the manager ended.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// The configuration cannot be used: exit code 2.
    #[error("{0}")]
    Config(String),
    /// Something died, or could not be started: exit code 1.
    #[error("{0}")]
    Failed(String),
}

/// Wishes for a new list of installations that may wait at once; who misses one lists them all the same.
const REDISCOVERIES: usize = 16;

/// What the manager's tasks share.
struct Manager {
    client: Client,
    options: ManagerOptions,
    metrics: Metrics,
    stop: CancellationToken,
    apps: Objects,
    policies: watch::Receiver<Option<Arc<Policies>>>,
    record: Record,
    heartbeat: Heartbeat,
}

/// Runs the operator until a signal ends it, or one of its tasks dies. `load` reads the configuration again.
///
/// # Errors
/// [`ManagerError`]
pub async fn manager(
    options: ManagerOptions,
    config: Config,
    load: impl FnMut() -> Result<Config, String> + Send + 'static,
) -> Result<(), ManagerError> {
    let mut signals = Signals::listen()?;
    let probes = Probes::default();
    let stop = CancellationToken::new();
    let tasks = tokio::select! {
        () = signals.asked() => {
            tracing::info!("asked to end before the start was over");
            return Ok(());
        }
        started = start(options, config, load, &probes, &stop) => started?,
    };
    until_the_end(signals.asked(), &stop, &probes.readiness, tasks).await
}

/// Starts everything. The API server, GitHub and a key service may be away, and take their time.
async fn start(
    options: ManagerOptions,
    config: Config,
    load: impl FnMut() -> Result<Config, String> + Send + 'static,
    probes: &Probes,
    stop: &CancellationToken,
) -> Result<Tasks, ManagerError> {
    let failed = |text: String| ManagerError::Failed(text);
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let addresses = (options.metrics_address, options.health_address);
    let server = Server::bind(addresses.0, addresses.1, metrics.clone(), probes.clone()).await;
    let server = server.map_err(|error| failed(error.to_string()))?;
    let serving = tokio::spawn(server.serve(stop.child_token()));
    let client = connect_by(options.kubeconfig.as_deref()).await.map_err(failed)?;

    let observe: Arc<dyn Observe> = Arc::new(AppRecorder::of_startup(&metrics));
    let gathered = Gathered::of(config, (&client, &options.namespace)).await;
    let http = HttpClients::default();
    let startup = first_app(&gathered, &http, observe.clone()).await?;
    let publish = Arc::new(watch::Sender::new(Apps::new(&options.namespace, startup)));
    pool::tell_budgets(&metrics, publish.clone());
    let (settings, configured) = watch::channel(gathered.settings.clone());
    let rediscover = Rediscover::new(REDISCOVERIES);
    let objects = Objects {
        client: client.clone(),
        http: http.clone(),
        namespace: options.namespace.clone(),
        scope: options.scope.clone(),
        settings: configured,
        publish: publish.clone(),
        rediscover: rediscover.clone(),
        metrics: metrics.clone(),
        events: Events::new(client.clone(), "Connect", identity(), clock::now),
    };
    let keeper = Keeper {
        publish,
        settings,
        rediscover,
        discovery: None,
        current: gathered,
        load,
        cluster: (client.clone(), options.namespace.clone()),
        http,
        observe,
        metrics: metrics.clone(),
        connected: Instant::now(),
    };
    let apps = tokio::spawn(keeper.run());
    let (publish, policies) = watch::channel(None);
    let record = Record::default();
    let following = follow_policies(client.clone(), policies_of(&options), publish);
    let recording = record.clone().keep(client.clone());
    let law = tokio::spawn(async move { tokio::join!(following, recording) });
    let admission = Admission {
        policies: policies.clone(),
        record: record.clone(),
    };
    let webhook = webhook(&options, &client, &metrics, &probes.readiness, admission, stop);
    let webhook = webhook.await.map_err(failed)?;

    let manager = Manager {
        client,
        options,
        metrics,
        stop: stop.clone(),
        apps: objects,
        policies,
        record,
        heartbeat: probes.heartbeat.clone(),
    };
    Ok(Tasks {
        working: tokio::spawn(manager.work()),
        serving,
        apps,
        law,
        webhook,
    })
}

/// The policies before any is read.
fn policies_of(options: &ManagerOptions) -> Policies {
    Policies {
        default: options.default_policy,
        own_namespace: options.namespace.clone(),
        ..Policies::default()
    }
}

/// Starts the webhook; where it is off, the replica is ready as it is.
async fn webhook(
    options: &ManagerOptions,
    client: &Client,
    metrics: &Metrics,
    readiness: &Readiness,
    admission: Admission,
    stop: &CancellationToken,
) -> Result<JoinHandle<Result<(), String>>, String> {
    let listener = http::listen("--webhook-bind-address", options.webhook_address).await;
    let Some(listener) = listener.map_err(|error| error.to_string())? else {
        readiness.set(true);
        let stop = stop.clone();
        let idle = async move { stop.cancelled().await };
        return Ok(tokio::spawn(idle.map(Ok)));
    };
    let webhook = Webhook {
        listener,
        client: client.clone(),
        namespace: options.namespace.clone(),
        scope: options.scope.clone(),
        identity: identity(),
        cert_path: options.webhook_cert_path.clone(),
        admission,
        metrics: metrics.clone(),
        readiness: readiness.clone(),
    };
    webhook.start(stop.clone())
}

/// The App to begin with. A key that does not work is no reason to exit, unless `validate_key` says so: the Tokens say what is
/// wrong, and go on when it is mended.
async fn first_app(
    gathered: &Gathered,
    http: &HttpClients,
    observe: Arc<dyn Observe>,
) -> Result<StartupApp<Signer>, ManagerError> {
    let named = gathered.settings.config.app.as_ref();
    let validate = named.is_some_and(|app| app.validate_key);
    let mut built = apps::built(&gathered.app, http, observe).await;
    if let Some(Ok(app)) = &built
        && validate
        && let Err(problem) = apps::signs(app).await
    {
        built = Some(Err(problem));
    }
    match &built {
        Some(Ok(app)) => tracing::info!(app = app.facts.identity, "the startup App is configured"),
        None => tracing::info!("no startup App is configured"),
        Some(Err(problem)) if validate => return Err(ManagerError::Config(problem.message.clone())),
        // Its keeper tells of it.
        Some(Err(_)) => {}
    }
    Ok(built)
}

impl Manager {
    /// Takes part in the election and works whenever this replica leads.
    async fn work(self) -> Result<(), String> {
        if !self.options.leader_elect {
            self.metrics.leader(true);
            self.lead(self.stop.child_token()).await;
            return Ok(());
        }
        // The Lease is held for as long as jobs run: whoever has it next does not begin what they are about to end.
        let campaign = CancellationToken::new();
        let (client, namespace) = (self.client.clone(), &self.options.namespace);
        let Leadership { mut leads, task } =
            leader::campaign(client, namespace, identity(), clock::now, campaign.clone());
        let candidate = campaign.drop_guard();
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                led = leads.wait_for(|leads| *leads) => if led.is_err() { break },
            }
            tracing::info!("this replica leads");
            self.metrics.leader(true);
            let term = self.stop.child_token();
            let mut still = leads.clone();
            let lost = async {
                let _ = still.wait_for(|leads| !*leads).await;
                term.cancel();
                sleep(FAREWELL).await;
            };
            tokio::select! {
                () = self.lead(term.clone()) => {}
                () = lost => {}
            }
            self.heartbeat.rest();
            if !term.is_cancelled() {
                return Err("the controllers ended without being asked to".to_owned());
            }
            tracing::info!("this replica does not lead any more");
            self.metrics.leader(false);
            self.metrics.tokens_handed_over();
        }
        drop(candidate);
        task.await.map_err(|error| format!("the election died: {error}"))?
    }

    async fn lead(&self, stop: CancellationToken) {
        let bulk = for_bulk(&self.client);
        let context = Arc::new(Context {
            tokens: Tokens::new(bulk.clone(), self.options.scope.clone()),
            secrets: Secrets::new(bulk.clone()),
            events: Events::new(bulk, "Issue", identity(), clock::now),
            observer: Arc::new(Recorder(self.metrics.clone())),
            policies: self.policies.clone(),
            record: self.record.clone(),
            rediscover: self.apps.rediscover.clone(),
            namespace: self.options.namespace.clone(),
            stop: stop.clone(),
            clock: clock::steady,
            dice,
        });
        let apps = self.apps.publish.subscribe();
        let engine = Engine::run(
            context,
            apps,
            watch_cluster(&self.client, &self.options.scope),
            || self.heartbeat.beat(),
            stop.clone(),
        );
        tokio::join!(engine, self.apps.clone().keep(stop));
    }
}

/// A number from 0.0 to 1.0 that nobody can foresee.
pub(super) fn dice() -> f64 {
    let mut bytes = [0; 8];
    // Without randomness there is no jitter; nothing else depends on it.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    digest::fraction(&u64::from_be_bytes(bytes).to_string())
}

/// The pod's name, with something that tells two processes of one pod apart.
fn identity() -> String {
    use std::sync::OnceLock;
    static IDENTITY: OnceLock<String> = OnceLock::new();
    let make = || {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let mut salt = [0; 8];
        let _ = aws_lc_rs::rand::fill(&mut salt);
        format!("{}_{:x}", host.trim(), u64::from_be_bytes(salt))
    };
    IDENTITY.get_or_init(make).clone()
}
