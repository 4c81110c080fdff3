//! The one loop that knows every Token: events, alarms and finished jobs in; jobs out. It waits for nothing but those.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::Reason;
use crate::cluster::{Change, Metadata, TokenRecord};
use crate::domain::intent::{AppKey, Intent, Key, Kind, SecretKey};
use crate::domain::plan::{Content, Observed, Place as Seen, Plan, Why, plan};
use crate::domain::schedule::{self, Retry};
use crate::domain::{Problem, Sign};
use crate::github::Permit;

use super::app::{App, Startup, StartupApp};
use super::index::{Index, SecretRecord};
use super::job::{self, Context, Done, Task};
use super::lane::Lane;
use super::observer::Revocation;
use super::retire::{Retired, Retirement, Retiring};
use super::state::{Place, State};
use super::timers::Timers;

/// Jobs under way at once. More than GitHub lets through, so that writes of finished ones do not hold up the next.
const JOBS: usize = 160;
/// The longest that the loop sleeps: how late it can be after the machine itself slept.
const TICK: Duration = Duration::from_secs(15);
/// How often everything is looked at, whether or not something happened.
const SWEEP: Duration = Duration::from_secs(5 * 60);
/// How long the first look at GitHub's clock may take before work begins without it.
const FIRST_CONTACT: Duration = Duration::from_secs(3);

/// What comes back to the loop.
enum Back {
    Token(Arc<Key>, Box<str>, Box<Done>),
    Retired(SecretKey, Box<str>, Retired),
}

/// The loop's state.
pub struct Engine<S> {
    context: Arc<Context>,
    startup: Startup<S>,
    index: Index,
    states: HashMap<Arc<Key>, State>,
    timers: Timers,
    lane: Lane,
    demand: mpsc::UnboundedSender<()>,
    retiring: Retiring,
    jobs: JoinSet<Back>,
    slots: Arc<Semaphore>,
    listed: [bool; 3],
}

impl<S: Sign + 'static> Engine<S> {
    /// Works until `stop`, then lets the jobs under way end.
    pub async fn run(
        context: Arc<Context>,
        startup: Startup<S>,
        changes: impl Stream<Item = Change> + Send,
        stop: CancellationToken,
    ) {
        let (demand, demanded) = mpsc::unbounded_channel();
        let (turns, mut turned) = mpsc::channel(1);
        let slots = Arc::new(Semaphore::new(JOBS));
        let porter = tokio::spawn(porter(startup.clone(), demanded, turns, slots.clone()));
        let mut engine = Engine {
            context,
            startup,
            index: Index::default(),
            states: HashMap::new(),
            timers: Timers::default(),
            lane: Lane::default(),
            demand,
            retiring: Retiring::default(),
            jobs: JoinSet::new(),
            slots,
            listed: [false; 3],
        };
        engine.first_contact().await;
        let mut changes = std::pin::pin!(changes);
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        sweep.reset();
        loop {
            let nap = engine.nap();
            tokio::select! {
                () = stop.cancelled() => break,
                change = changes.next() => match change {
                    Some(change) => engine.change(change),
                    None => break,
                },
                Some(back) = engine.jobs.join_next() => engine.back(back),
                Some(permit) = turned.recv() => engine.turn(permit),
                changed = engine.startup.changed() => match changed {
                    Ok(()) => engine.app_changed(),
                    Err(_) => break,
                },
                _ = sweep.tick() => engine.sweep(),
                () = tokio::time::sleep(nap) => engine.ring(),
            }
        }
        porter.abort();
        while engine.jobs.join_next().await.is_some() {}
    }

    /// Asks GitHub for its clock (and whether it knows the App) before anything is decided by the local one.
    async fn first_contact(&self) {
        let Some(app) = self.app() else { return };
        match tokio::time::timeout(FIRST_CONTACT, app.client.app()).await {
            Ok(Ok(found)) => tracing::info!(slug = found.slug, skew = %app.client.skew(), "GitHub knows the App"),
            Ok(Err(error)) => tracing::warn!(reason = %error.reason(), "{error}"),
            Err(_) => {
                tracing::warn!(reason = %Reason::GitHubUnavailable, "GitHub has not answered within {FIRST_CONTACT:?}")
            }
        }
    }

    fn app(&self) -> Option<Arc<App<S>>> {
        self.startup.borrow().as_ref()?.as_ref().ok().cloned()
    }

    fn local(&self) -> Timestamp {
        (self.context.clock)()
    }

    fn nap(&self) -> Duration {
        let until = [self.timers.next(), self.retiring.next()].into_iter().flatten().min();
        let left = until.map(|at| Duration::try_from(at.duration_since(self.local())).unwrap_or_default());
        left.map_or(TICK, |left| left.min(TICK)).max(Duration::from_millis(1))
    }

    fn ring(&mut self) {
        let now = self.local();
        for key in self.timers.ring(now) {
            self.touch(&key);
        }
        for key in self.retiring.ring(now) {
            self.touch_secret(&key);
        }
    }

    fn ready(&self) -> bool {
        self.listed.iter().all(|listed| *listed)
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Token(record) => {
                if let Some(key) = self.index.put_token(record) {
                    self.touch(&key);
                }
            }
            Change::TokenGone(record) => self.token_gone(&record),
            Change::TokensRestart(kind) => self.index.relist_tokens(kind),
            Change::TokensListed(kind) => {
                for lost in self.index.tokens_listed(kind) {
                    self.token_gone(&lost);
                }
                self.has_listed(if kind == Kind::Token { 0 } else { 1 });
            }
            Change::Secret(meta) => self.secret_changed(&meta, None),
            Change::SecretGone(meta) => {
                let key = SecretKey::from(&meta.metadata);
                let concerned = self.index.concerned(&key);
                self.index
                    .remove_secret(&key, meta.metadata.uid.as_deref().unwrap_or_default());
                self.retiring.forget(&key);
                self.secret_lost(&key, concerned);
            }
            Change::SecretsRestart => self.index.relist_secrets(),
            Change::SecretsListed => {
                for key in self.index.secrets_listed() {
                    let concerned = self.index.concerned(&key);
                    self.secret_lost(&key, concerned);
                }
                self.has_listed(2);
            }
            Change::Failed(error) => tracing::warn!(%error, "a watch was interrupted; it is taken up again"),
        }
    }

    fn has_listed(&mut self, which: usize) {
        let before = self.ready();
        if let Some(listed) = self.listed.get_mut(which) {
            *listed = true;
        }
        if self.ready() && !before {
            self.remember_the_last_minute();
            self.sweep();
        }
    }

    /// The mints of the last minute, from the Secrets: a restart must not spend GitHub's budget twice.
    fn remember_the_last_minute(&self) {
        let Some(app) = self.app() else { return };
        let now = app.github_time(self.local());
        let ages = self
            .index
            .secrets()
            .filter_map(|(_, secret)| Duration::try_from(now.duration_since(secret.issued_at()?)).ok());
        app.client
            .record_past_mints(ages.filter(|age| *age < Duration::from_secs(60)));
    }

    /// Looks at everything: by the wall clock, whatever events or alarms were missed.
    fn sweep(&mut self) {
        self.index.find_strays();
        for key in self.index.keys().cloned().collect::<Vec<_>>() {
            self.touch(&key);
        }
        for key in self.index.secrets().map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.touch_secret(&key);
        }
    }

    fn app_changed(&mut self) {
        for state in self.states.values_mut() {
            state.failure = None;
        }
        self.sweep();
    }

    fn token_gone(&mut self, record: &TokenRecord) {
        let wanted = self.index.wanted(&record.key).cloned();
        let Some(key) = self.index.remove_token(&record.key, &record.uid) else {
            return;
        };
        self.states.remove(&key);
        self.timers.clear(&key);
        self.lane.leave(&key);
        if let Some(secret) = wanted {
            self.context.observer.expiry(&key, &secret, None);
        }
        let owned = |(_, secret): &(&SecretKey, &SecretRecord)| {
            secret.owner.as_ref().is_some_and(|owner| owner.uid == *record.uid)
        };
        for secret in self
            .index
            .secrets()
            .filter(owned)
            .map(|(key, _)| key.clone())
            .collect::<Vec<_>>()
        {
            self.touch_secret(&secret);
        }
    }

    fn secret_changed(&mut self, meta: &Metadata, content: Option<Content>) {
        let key = SecretKey::from(&meta.metadata);
        let Some(record) = SecretRecord::new(meta) else { return };
        if self.index.put_secret(&key, record, content) {
            self.touch_secret(&key);
            for concerned in self.index.concerned(&key) {
                self.touch(&concerned);
            }
        }
    }

    fn secret_lost(&mut self, secret: &SecretKey, concerned: Vec<Arc<Key>>) {
        for key in concerned {
            if let Some(state) = self.states.get_mut(&key) {
                state.place = None;
                state
                    .failure
                    .take_if(|failure| failure.problem.reason == Reason::SecretConflict);
            }
            tracing::debug!(%secret, token = %key, "the Secret is gone");
            self.touch(&key);
        }
    }

    /// A managed Secret whose Token is gone, or that is being deleted, is let go.
    fn touch_secret(&mut self, key: &SecretKey) {
        if !self.ready() {
            return;
        }
        let Some(secret) = self.index.secret(key) else { return };
        let owner = secret.owner.as_ref();
        let alive = owner
            .and_then(|owner| self.index.token(self.index.owner(&owner.uid)?))
            .is_some_and(|token| !token.deleting);
        if owner.is_none() || (alive && !(secret.deleting && secret.held)) {
            return;
        }
        if let Some(retirement) = self.retiring.begin(key, secret, alive, self.local()) {
            self.retire(key.clone(), retirement);
        }
    }

    fn retire(&mut self, key: SecretKey, retirement: Retirement) {
        let (context, app) = (self.context.clone(), self.app());
        self.jobs.spawn(async move {
            let retired = retirement.run(&context, app.as_deref(), &key).await;
            Back::Retired(key, retirement.uid, retired)
        });
    }

    /// Looks at one Token and starts what the plan says.
    fn touch(&mut self, key: &Arc<Key>) {
        if !self.ready() {
            return;
        }
        let Some(record) = self.index.token(key) else { return };
        if record.deleting {
            self.lane.leave(key);
            return;
        }
        let state = self.states.entry(key.clone()).or_default();
        if state.busy {
            // The end of the job brings the next look.
            return;
        }
        let app = self.app();
        let now = app
            .as_ref()
            .map_or_else(|| self.local(), |app| app.github_time(self.local()));
        let (task, planned) = self.decide(key, app.as_deref(), now);
        if !matches!(planned, Ok(Plan::Mint { .. })) {
            self.lane.leave(key);
        }
        let Some(task) = task else { return };
        match planned {
            Ok(Plan::Mint { deadline, .. }) => {
                if self.lane.join(key, deadline) {
                    let _ = self.demand.send(());
                }
                self.context.observer.waiting(self.lane.len());
            }
            Ok(Plan::Rest { until }) => self.rest(key, task, app.as_deref(), until),
            Ok(Plan::Refuse(problem)) | Err(problem) => self.spawn(key, task, move |context, task| async move {
                job::fail(&context, task, problem).await
            }),
            Ok(plan) => self.start(key, task, plan, app),
        }
    }

    /// What is known of the Token, and what is to be done about it. No task: nothing, before its alarm goes off.
    fn decide(
        &mut self,
        key: &Arc<Key>,
        app: Option<&App<S>>,
        now: Timestamp,
    ) -> (Option<Task>, Result<Plan, Problem>) {
        let nothing = (None, Ok(Plan::Rest { until: Timestamp::MAX }));
        let Some(record) = self.index.token(key) else {
            return nothing;
        };
        let (intent, status) = record.read();
        let (uid, generation) = (record.uid.clone(), record.generation);
        self.index
            .want(key, intent.as_ref().ok().map(|intent| &intent.secret.key));
        let written = status
            .managed_secret
            .as_ref()
            .and_then(|managed| managed.resource_version.as_deref());
        let ours = intent
            .as_ref()
            .ok()
            .and_then(|intent| self.index.secret(&intent.secret.key));
        let facts = ours
            .map(|secret| secret.facts(written))
            .filter(|facts| facts.owner.as_deref() == Some(&*uid));
        let Some(state) = self.states.get_mut(key) else {
            return nothing;
        };
        let out_of_turn = state.budget.check(now);
        let request = intent
            .as_ref()
            .ok()
            .and_then(|intent| intent.refresh_request.as_deref());
        let holds = state
            .failure
            .as_ref()
            .filter(|failure| failure.holds(now, generation, request))
            .map(|failure| failure.until);
        let mut task = Task {
            key: key.clone(),
            uid,
            generation,
            intent: None,
            status,
            facts,
            failure: state.failure.as_deref().cloned(),
            pending: None,
            granted: state.granted.as_deref().cloned(),
            now,
        };
        let planned = match &intent {
            Err(problem) => Err(problem.clone()),
            Ok(intent) => self.plan(intent, app, &task),
        };
        task.intent = intent.ok();
        match (holds, planned) {
            (
                Some(until),
                Err(_) | Ok(Plan::Mint { .. } | Plan::Look | Plan::Inspect | Plan::Rewrite | Plan::Refuse(_)),
            ) => (Some(task), Ok(Plan::Rest { until })),
            (None, Ok(Plan::Mint { why, .. })) if why != Why::Due && out_of_turn.is_err() => (
                Some(task),
                Ok(Plan::Rest {
                    until: out_of_turn.err().unwrap_or(now),
                }),
            ),
            (None, Ok(Plan::Rewrite)) if out_of_turn.is_err() => (
                Some(task),
                Ok(Plan::Rest {
                    until: out_of_turn.err().unwrap_or(now),
                }),
            ),
            (None, Ok(Plan::Rest { until })) => {
                task.failure = None;
                (Some(task), Ok(Plan::Rest { until }))
            }
            (_, planned) => (Some(task), planned),
        }
    }

    fn why_no_app(&self) -> Problem {
        let why = self
            .startup
            .borrow()
            .as_ref()
            .and_then(|app| app.as_ref().err().cloned());
        why.unwrap_or_else(no_startup_app)
    }

    fn plan(&self, intent: &Intent, app: Option<&App<S>>, task: &Task) -> Result<Plan, Problem> {
        let app = match (&intent.app, app) {
            (AppKey::Startup, Some(app)) => app,
            (AppKey::Startup, None) => return Err(self.why_no_app()),
            (AppKey::Object { namespace, name }, _) => return Err(app_not_found(namespace.as_deref(), name)),
        };
        let state = self.states.get(&task.key);
        let place = match (
            &task.facts,
            self.index.secret(&intent.secret.key),
            state.and_then(|state| state.place.as_ref()),
        ) {
            (Some(facts), _, _) => Seen::Ours(facts.clone()),
            (None, Some(SecretRecord { owner: Some(owner), .. }), _) => Seen::Foreign {
                whose: format!("belongs to {}", owner.key),
            },
            (None, Some(_), _) => Seen::Foreign {
                whose: "has no Token as its owner".to_owned(),
            },
            (None, None, Some(Place::Free)) => Seen::Free,
            (None, None, Some(Place::Foreign(whose))) => Seen::Foreign { whose: whose.clone() },
            (None, None, None) => Seen::Unknown,
        };
        let former = self.index.former(&task.key, &task.uid);
        let observed = Observed {
            place,
            former,
            status_life: job::status_life(&task.status),
        };
        Ok(plan(task.now, intent, &app.facts, &observed))
    }

    /// Nothing to do: the status is written if it is not what it should be, and the alarm is set.
    fn rest(&mut self, key: &Arc<Key>, task: Task, app: Option<&App<S>>, until: Timestamp) {
        let expires = task
            .facts
            .as_ref()
            .and_then(crate::domain::plan::SecretFacts::expires_at);
        let alarm = expires.filter(|at| *at > task.now).map_or(until, |at| at.min(until));
        let unsettled = job::wanted_status(&task, false) != task.status;
        let local = app.map_or(alarm, |app| app.local_time(alarm));
        if let Some(intent) = &task.intent {
            self.context.observer.expiry(key, &intent.secret.key, expires);
        }
        let Some(state) = self.states.get_mut(key) else { return };
        if task.failure.is_none() {
            state.failure = None;
        }
        if task.facts.as_ref().is_some_and(|facts| facts.deleting) || !unsettled {
            self.timers.set(key, local);
            return;
        }
        if let Some(after) = state.settle_after.filter(|after| *after > task.now) {
            self.timers
                .set(key, app.map_or(after, |app| app.local_time(after)).min(local));
            return;
        }
        self.timers.set(key, local);
        self.spawn(key, task, |context, task| async move {
            job::settle_status(&context, task, false).await
        });
    }

    fn start(&mut self, key: &Arc<Key>, task: Task, plan: Plan, app: Option<Arc<App<S>>>) {
        let (Some(intent), Some(app)) = (task.intent.clone(), app) else {
            return;
        };
        let uid = task.facts.as_ref().map(|facts| facts.uid.clone()).unwrap_or_default();
        match plan {
            Plan::Look => self.spawn(key, task, move |context, task| async move {
                job::look(&context, task, intent.secret.key).await
            }),
            Plan::Inspect => self.spawn(key, task, move |context, task| async move {
                job::inspect(&context, task, &intent, &uid).await
            }),
            Plan::Rewrite => {
                if let Some(state) = self.states.get_mut(key) {
                    state.budget.spend(task.now);
                }
                self.spawn(key, task, move |context, task| async move {
                    job::rewrite(&context, task, &intent, &app, &uid).await
                });
            }
            Plan::Remove(former) => {
                let known = former.into_iter().filter_map(|key| {
                    let uid = self.index.secret(&key)?.uid.clone();
                    Some((key, uid))
                });
                let known = known.collect();
                self.spawn(key, task, move |context, task| async move {
                    job::remove(&context, task, known).await
                });
            }
            Plan::Mint { .. } | Plan::Refuse(_) | Plan::Rest { .. } => {}
        }
    }

    /// GitHub lets one more through: the Token with the earliest deadline, if it still needs to.
    fn turn(&mut self, permit: Permit) {
        while let Some(key) = self.lane.next() {
            self.context.observer.waiting(self.lane.len());
            let Some(app) = self.app() else { continue };
            let now = app.github_time(self.local());
            let (Some(mut task), Ok(Plan::Mint { why, .. })) = self.decide(&key, Some(&app), now) else {
                self.touch(&key);
                continue;
            };
            if let Some(state) = self.states.get_mut(&key) {
                task.pending = state.pending.take().map(|pending| *pending);
                if why != Why::Due {
                    state.budget.spend(now);
                }
            }
            self.spawn_issue(&key, task, app, permit, why);
            return;
        }
    }

    fn spawn_issue(&mut self, key: &Arc<Key>, task: Task, app: Arc<App<S>>, permit: Permit, why: Why) {
        self.spawn(key, task, move |context, task| async move {
            job::issue(&context, task, &app, permit, why).await
        });
    }

    fn spawn<F, Fut>(&mut self, key: &Arc<Key>, task: Task, run: F)
    where
        F: FnOnce(Arc<Context>, Task) -> Fut + Send + 'static,
        Fut: Future<Output = Done> + Send,
    {
        let Some(state) = self.states.get_mut(key) else { return };
        state.busy = true;
        let (context, slots, key) = (self.context.clone(), self.slots.clone(), key.clone());
        self.jobs.spawn(async move {
            let _slot = slots.acquire_owned().await;
            let uid = task.uid.clone();
            let done = run(context, task).await;
            Back::Token(key, uid, Box::new(done))
        });
    }

    fn back(&mut self, back: Result<Back, tokio::task::JoinError>) {
        match back {
            Ok(Back::Token(key, uid, done)) => self.finished(&key, &uid, *done),
            Ok(Back::Retired(key, uid, retired)) => self.retiring.end(&key, &uid, retired, self.local()),
            // A job that panicked leaves its Token busy: rather stop than forget a Token.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn finished(&mut self, key: &Arc<Key>, uid: &str, done: Done) {
        if let Some(token) = done.replaced {
            self.revoke_later(key, token);
        }
        if let Some(record) = done.record {
            self.index.put_token(record);
        }
        if self.index.token(key).is_none_or(|token| *token.uid != *uid) {
            return;
        }
        let now = self
            .app()
            .map_or_else(|| self.local(), |app| app.github_time(self.local()));
        let Some(state) = self.states.get_mut(key) else { return };
        state.busy = false;
        state.place = done.place;
        state.failure = done.failure.map(Box::new);
        // Only a job that issues takes the pending token along, and brings it back if it could not be written: other jobs
        // leave it where it is.
        if let Some(pending) = done.pending {
            state.pending = Some(Box::new(pending));
        }
        state.granted = done.granted.map(Box::new);
        state.unsettled = if done.unsettled {
            state.unsettled.saturating_add(1)
        } else {
            0
        };
        let pause = schedule::next_attempt(
            now,
            Retry::Backoff,
            state.unsettled,
            Duration::MAX,
            (self.context.dice)(),
        );
        state.settle_after = done.unsettled.then_some(pause);
        if let Some((meta, content)) = done.secret {
            self.secret_changed(&meta, content);
        }
        if done.secret_gone
            && let Some((intent, secret)) = self
                .index
                .token(key)
                .and_then(|token| Some((token.read().0.ok()?, uid)))
            && let Some(known) = self.index.secret(&intent.secret.key)
            && known.owner.as_ref().is_some_and(|owner| owner.uid == secret)
        {
            let known = known.uid.clone();
            self.index.remove_secret(&intent.secret.key, &known);
        }
        self.touch(key);
    }

    fn revoke_later(&mut self, key: &Arc<Key>, token: secrecy::SecretString) {
        let grace = self
            .index
            .token(key)
            .and_then(|token| token.read().0.ok()?.revoke_previous_after);
        let (Some(grace), Some(app), context) = (grace, self.app(), self.context.clone()) else {
            return;
        };
        // Best effort by design: a restart forgets it, and the token expires by itself.
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            let turn = app.client.revocation_turn().await;
            let result = app.client.revoke(&token, super::retire::DEADLINE, turn).await;
            context.observer.revoked(if result.is_ok() {
                Revocation::Done
            } else {
                Revocation::GivenUp
            });
        });
    }
}

/// Gets one turn at GitHub for each Token that joined the line, and hands it in. The turn comes first and the Token that takes it
/// is chosen then: so the earliest deadline is served first, even if it joined last.
async fn porter<S: Sign + 'static>(
    mut startup: Startup<S>,
    mut demanded: mpsc::UnboundedReceiver<()>,
    turns: mpsc::Sender<Permit>,
    slots: Arc<Semaphore>,
) {
    while demanded.recv().await.is_some() {
        let works = |app: &StartupApp<S>| matches!(app, Some(Ok(_)));
        let Ok(app) = startup.wait_for(works).await.map(|app| app.clone()) else {
            return;
        };
        let Some(Ok(app)) = app else { continue };
        // Not taken, only waited for: the job takes it.
        let Ok(slot) = slots.acquire().await else { return };
        drop(slot);
        let permit = app.client.mint_turn().await;
        if turns.send(permit).await.is_err() {
            return;
        }
    }
}

fn no_startup_app() -> Problem {
    Problem::new(
        Reason::NoStartupConfig,
        Retry::Every(Duration::from_secs(600)),
        "spec.appRef is not set, and the operator was started without an App; set app_id, installation_id and key in gtm.yaml, or name an App",
    )
}

fn app_not_found(namespace: Option<&str>, name: &str) -> Problem {
    let place = namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default();
    Problem::new(
        Reason::AppNotFound,
        Retry::Every(Duration::from_secs(600)),
        format!("spec.appRef: there is no App {place}{name}; leave appRef out to use the operator's own App"),
    )
}
