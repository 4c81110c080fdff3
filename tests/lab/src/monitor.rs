//! Watches every managed Secret during a whole test: none may hold a dead token while GitHub would have issued another.

mod look;

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, utils::Backoff, watcher},
};
use tokio::time::{Instant, timeout};

use crate::{
    cluster,
    error::Error,
    github::{GitHub, TokenState, hashed},
};

/// What managed Secrets are labelled with.
const LABEL: &str = "app.kubernetes.io/created-by=github-token-manager";
/// Between two samples.
const PERIOD: Duration = Duration::from_millis(100);
/// An API server that does not answer for so long is down.
const ANSWER: Duration = Duration::from_secs(2);

/// What is watched for, and what is excused.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The installation whose tokens are watched.
    pub installation: u64,
    /// How long a Secret may hold a dead token after the end of what made a new one impossible: GitHub would have issued
    /// none, the API server was down, or someone else wrote the dead token just now. A token that expires while nothing
    /// stands in the way is excused for not a moment.
    pub recovery: Duration,
}

impl Default for Rules {
    /// The stand-in's own installation, and 3 s: a first repetition after 1 s, and a machine that is busy.
    fn default() -> Self {
        Self {
            installation: 67_890,
            recovery: Duration::from_secs(3),
        }
    }
}

/// A Secret that held a dead token while GitHub would have issued another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// `NAMESPACE/NAME`.
    pub secret: String,
    /// GitHub's `hashed_token` of the dead token; `None`: the Secret holds no token at all.
    pub hashed_token: Option<String>,
    /// What GitHub thinks of it.
    pub state: TokenState,
    /// When the token expired, by GitHub's clock, if GitHub issued it.
    pub expired_at: Option<Timestamp>,
    /// When that was found, by GitHub's clock.
    pub found_at: Timestamp,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.hashed_token.as_deref().unwrap_or("no token");
        let (secret, state, found) = (&self.secret, self.state, self.found_at);
        write!(f, "{found}: Secret {secret} holds {token}: {state:?}")?;
        self.expired_at.map_or(Ok(()), |at| write!(f, ", expires_at {at}"))
    }
}

/// What was watched.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How often all Secrets were looked at.
    pub samples: u64,
    /// The longest pause between two samples.
    pub longest_pause: Duration,
    /// How many different Secrets were seen.
    pub secrets: usize,
    /// How many different tokens were seen in them.
    pub tokens: usize,
}

/// A running monitor, in a thread of its own: a test that blocks does not blind it. Dropping it ends it without a verdict.
#[derive(Debug)]
pub struct Monitor {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Watch, Error>>>,
}

impl Monitor {
    /// Watches the cluster of this kubeconfig, and asks this GitHub.
    #[must_use]
    pub fn start(kubeconfig: &Path, github: &GitHub, rules: Rules) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (kubeconfig, github, stopped) = (kubeconfig.to_owned(), github.clone(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Error::Usage(format!("the monitor's runtime: {error}")))?;
            runtime.block_on(async {
                let client = cluster::client(&kubeconfig).await?;
                Ok(Watch::new(client, github, rules).run(&stopped).await)
            })
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// Ends it. What was watched, or everything that was wrong.
    ///
    /// # Errors
    /// Every [`Violation`], at most one for each token in each Secret.
    ///
    /// # Panics
    /// When the monitor itself could not work: a test must not pass for that.
    pub async fn finish(mut self) -> Result<Summary, Vec<Violation>> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("finished once");
        let watch = tokio::task::spawn_blocking(move || thread.join().expect("the monitor does not panic"))
            .await
            .expect("the monitor ends")
            .expect("the monitor works");
        if watch.violations.is_empty() {
            Ok(watch.summary)
        } else {
            Err(watch.violations)
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A Secret as it was last seen.
struct Seen {
    secret: Secret,
    tokens: Vec<String>,
    since: Instant,
    was_good: bool,
}

struct Watch {
    client: Client,
    github: GitHub,
    rules: Rules,
    seen: BTreeMap<String, Seen>,
    /// The last moment at which something excused a dead token.
    excused: Option<Instant>,
    tokens: HashSet<String>,
    secrets: HashSet<String>,
    told: HashSet<(String, Option<String>)>,
    violations: Vec<Violation>,
    summary: Summary,
}

impl Watch {
    fn new(client: Client, github: GitHub, rules: Rules) -> Self {
        Self {
            client,
            github,
            rules,
            seen: BTreeMap::new(),
            excused: None,
            tokens: HashSet::new(),
            secrets: HashSet::new(),
            told: HashSet::new(),
            violations: Vec::new(),
            summary: Summary::default(),
        }
    }

    async fn run(mut self, stop: &AtomicBool) -> Self {
        let secrets: Api<Secret> = Api::all(self.client.clone());
        let config = watcher::Config::default().labels(LABEL);
        let mut events = watcher(secrets, config).backoff(Steady).boxed();
        let mut tick = tokio::time::interval(PERIOD);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            tokio::select! {
                Some(event) = events.next() => if let Ok(event) = event { self.learn(event) },
                _ = tick.tick() => {
                    self.summary.longest_pause = self.summary.longest_pause.max(last.elapsed());
                    last = Instant::now();
                    self.sample().await;
                }
            }
        }
        self.summary.secrets = self.secrets.len();
        self.summary.tokens = self.tokens.len();
        self
    }

    fn learn(&mut self, event: watcher::Event<Secret>) {
        match event {
            watcher::Event::Init => self.seen.clear(),
            watcher::Event::InitDone => {}
            watcher::Event::Apply(secret) | watcher::Event::InitApply(secret) => self.put(secret),
            watcher::Event::Delete(secret) => drop(self.seen.remove(&name(&secret))),
        }
    }

    fn put(&mut self, secret: Secret) {
        let (name, tokens) = (name(&secret), look::tokens(&secret));
        self.secrets.insert(name.clone());
        self.tokens.extend(tokens.iter().cloned());
        let was_good = self.dead(&tokens).is_none();
        let same = self.seen.get(&name).filter(|seen| seen.tokens == tokens);
        let (since, was_good) = same.map_or((Instant::now(), was_good), |seen| (seen.since, seen.was_good));
        let seen = Seen {
            secret,
            tokens,
            since,
            was_good,
        };
        self.seen.insert(name, seen);
    }

    /// The first of these tokens that does not work, and why; no token at all does not work either.
    fn dead(&self, tokens: &[String]) -> Option<(Option<String>, TokenState)> {
        if tokens.is_empty() {
            return Some((None, TokenState::Unknown));
        }
        let states = tokens.iter().map(|token| (token, self.github.token_state(token)));
        let mut dead = states.filter(|(_, state)| !matches!(state, TokenState::Valid { .. }));
        dead.next().map(|(token, state)| (Some(token.clone()), state))
    }

    async fn sample(&mut self) {
        self.summary.samples += 1;
        if !self.github.would_issue(self.rules.installation) || !self.api_server_answers().await {
            self.excused = Some(Instant::now());
            return;
        }
        let suspects: Vec<String> = self
            .seen
            .iter()
            .filter(|(_, seen)| self.is_suspect(seen))
            .map(|(name, _)| name.clone())
            .collect();
        for name in suspects {
            self.confirm(name).await;
        }
    }

    fn is_suspect(&self, seen: &Seen) -> bool {
        let recovered = |since: Instant| since.elapsed() > self.rules.recovery;
        self.dead(&seen.tokens).is_some()
            && self.excused.is_none_or(recovered)
            && (seen.was_good || recovered(seen.since))
    }

    /// The watch may be behind: the API server's word counts, and that of GitHub at that very time.
    async fn confirm(&mut self, name: String) {
        let Some(seen) = self.seen.get(&name) else { return };
        let (before, known) = (seen.secret.uid(), seen.secret.clone());
        let Ok(Ok(now)) = timeout(ANSWER, look::again(&self.client, &known)).await else {
            self.excused = Some(Instant::now());
            return;
        };
        let Some(secret) = now else {
            self.seen.remove(&name);
            return;
        };
        let found_at = self.github.now();
        let (same, tokens) = (secret.uid() == before, look::tokens(&secret));
        let dead = self.dead(&tokens);
        let would_issue = self.github.would_issue(self.rules.installation);
        self.put(secret);
        let still = self.seen.get(&name).is_some_and(|seen| self.is_suspect(seen));
        if let (true, true, true, Some((token, state))) = (same, still, would_issue, dead) {
            self.violation(name, token, state, found_at);
        }
    }

    fn violation(&mut self, secret: String, token: Option<String>, state: TokenState, found_at: Timestamp) {
        if !self.told.insert((secret.clone(), token.clone())) {
            return;
        }
        let mints = self.github.mints();
        let mint = mints.iter().find(|mint| Some(&*mint.token) == token.as_deref());
        self.violations.push(Violation {
            secret,
            hashed_token: token.as_deref().map(hashed),
            state,
            expired_at: mint.map(|mint| mint.expires_at),
            found_at,
        });
    }

    async fn api_server_answers(&self) -> bool {
        let answer = timeout(ANSWER, cluster::get_text(&self.client, "readyz")).await;
        matches!(answer, Ok(Ok(_)))
    }
}

fn name(secret: &Secret) -> String {
    format!("{}/{}", secret.namespace().unwrap_or_default(), secret.name_any())
}

/// The same short pause after every failure of the watch: a monitor must not be blind for long.
struct Steady;

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(2 * PERIOD)
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}
