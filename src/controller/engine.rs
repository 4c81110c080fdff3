//! The one loop that knows every Token: events, alarms and finished jobs in; jobs out. It waits for nothing but those.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::Reason;
use crate::cluster::{Change, ClusterError, Metadata, OwnerRef, TokenRecord, unserved};
use crate::domain::Sign;
use crate::domain::intent::{AppKey, Key, Kind, SecretKey};
use crate::domain::plan::Content;

use super::app::{App, AppsNow, Listed};
use super::desk::Desks;
use super::index::Index;
use super::job::{self, Context, Done};
use super::outage::Outages;
use super::record::SecretRecord;
use super::retiring::{Retired, Retirement, Retiring};
use super::state::State;
use super::timers::Timers;

/// Jobs under way at once that do not ask GitHub.
const CHORES: usize = 64;
/// The longest that the loop sleeps: how late it can be after the machine itself slept.
const TICK: Duration = Duration::from_secs(15);
/// How soon policies hear that they are about more Tokens, or fewer.
const RECOUNT: Duration = Duration::from_secs(1);
/// How often everything is looked at, whether or not something happened.
const SWEEP: Duration = Duration::from_secs(5 * 60);
/// How long the first look at GitHub's clock may take before work begins without it.
const FIRST_CONTACT: Duration = Duration::from_secs(3);

/// How long the jobs under way may take to end: some wait for minutes, for their turn or for GitHub.
pub const DRAIN: Duration = Duration::from_secs(6);

/// What comes back to the loop.
pub(super) enum Back {
    Token(Arc<Key>, Arc<str>, Box<Done>),
    Retired(SecretKey, Retirement, Retired),
    Nothing,
}

/// The loop's state.
pub struct Engine<S> {
    pub(super) context: Arc<Context>,
    pub(super) apps: AppsNow<S>,
    /// The Apps as they were when they were last looked at.
    pub(super) seen: HashMap<AppKey, Listed<S>>,
    pub(super) index: Index,
    /// Of the Tokens that are not simply at rest.
    pub(super) states: HashMap<Arc<Key>, Box<State>>,
    pub(super) timers: Timers,
    pub(super) desks: Desks<S>,
    pub(super) retiring: Retiring,
    pub(super) outages: Outages,
    pub(super) jobs: JoinSet<Back>,
    pub(super) chores: Arc<Semaphore>,
    /// Tokens that have something to be done for which there is no place among the chores yet.
    pub(super) put_off: VecDeque<Arc<Key>>,
    /// The numbers of Tokens that policies are about have changed.
    pub(super) recount: bool,
    contacted: bool,
    /// A watch was interrupted, and nothing has been seen since.
    cut: bool,
    listed: [bool; 4],
    /// The kinds that the API server did not know when it was last asked for a list.
    unserved: BTreeSet<Kind>,
}

impl<S: Sign + 'static> Engine<S> {
    /// Works until `stop`, then lets the jobs under way end, for at most [`DRAIN`]. `beat` hears of each turn of the loop, at least every
    /// 15 s.
    pub async fn run(
        context: Arc<Context>,
        apps: AppsNow<S>,
        changes: impl Stream<Item = Change> + Send,
        beat: impl Fn() + Send,
        stop: CancellationToken,
    ) {
        let (turns, mut turned) = mpsc::channel(1);
        let mut engine = Engine {
            context,
            desks: Desks::new(apps.clone(), turns),
            apps,
            seen: HashMap::new(),
            index: Index::default(),
            states: HashMap::new(),
            timers: Timers::default(),
            retiring: Retiring::default(),
            outages: Outages::default(),
            jobs: JoinSet::new(),
            chores: Arc::new(Semaphore::new(CHORES)),
            put_off: VecDeque::new(),
            recount: false,
            contacted: false,
            cut: false,
            listed: [false; 4],
            unserved: BTreeSet::new(),
        };
        let first_contact = first_contact(engine.app());
        engine.see_apps();
        let mut first_contact = std::pin::pin!(first_contact);
        let mut policies = engine.context.policies.clone();
        policies.mark_changed();
        let mut changes = std::pin::pin!(changes);
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        sweep.reset();
        loop {
            beat();
            let nap = engine.nap();
            tokio::select! {
                () = stop.cancelled() => break,
                () = &mut first_contact, if !engine.contacted => engine.contacted(),
                change = changes.next() => match change {
                    Some(change) => engine.change(change),
                    None => break,
                },
                Some(back) = engine.jobs.join_next() => engine.back(back),
                Some(turn) = turned.recv() => engine.turn(turn, None),
                changed = engine.apps.changed() => match changed {
                    Ok(()) => engine.apps_changed(),
                    Err(_) => break,
                },
                changed = policies.changed() => match changed {
                    Ok(()) => {
                        // Not as an argument: it would hold the lock through the call, which reads the policies again. With a
                        // writer between the two reads, all three would wait for ever.
                        let known = policies.borrow_and_update().is_some();
                        engine.policies_changed(known);
                    }
                    Err(_) => break,
                },
                _ = sweep.tick() => engine.sweep(),
                () = tokio::time::sleep(nap) => engine.ring(),
            }
        }
        if tokio::time::timeout(DRAIN, engine.drain()).await.is_err() {
            tracing::warn!(
                jobs = engine.jobs.len(),
                "work under way did not end within {DRAIN:?}, and is broken off"
            );
            engine.jobs.shutdown().await;
        }
    }

    fn app(&self) -> Option<Arc<App<S>>> {
        self.apps.borrow().get(&AppKey::Startup).ok()
    }

    pub(super) fn local(&self) -> Timestamp {
        (self.context.clock)()
    }

    fn nap(&self) -> Duration {
        let until = [self.timers.next(), self.retiring.next()].into_iter().flatten().min();
        let left = until.map(|at| Duration::try_from(at.duration_since(self.local())).unwrap_or_default());
        let longest = if self.recount { RECOUNT } else { TICK };
        left.map_or(longest, |left| left.min(longest))
            .max(Duration::from_millis(1))
    }

    fn ring(&mut self) {
        if std::mem::take(&mut self.recount) {
            self.count_policies();
        }
        let now = self.local();
        for key in self.timers.ring(now) {
            self.touch(&key);
        }
        for key in self.retiring.ring(now) {
            self.touch_secret(&key);
        }
    }

    /// Whether a Secret that is being deleted can be let go although not all is known yet: of a kind that is not served there are no
    /// Tokens, and there may never be any again.
    pub(super) fn is_doomed(&self, kind: Kind) -> bool {
        self.contacted && self.listed[2] && self.unserved.contains(&kind)
    }

    pub(super) fn ready(&self) -> bool {
        self.contacted && self.listed.iter().all(|listed| *listed)
    }

    fn change(&mut self, change: Change) {
        let failed = |change: &Change| matches!(change, Change::Failed(_) | Change::Unlisted(..) | Change::Unserved(_));
        let back = self.cut && !failed(&change);
        self.see(change);
        if back {
            self.cut = false;
            self.wake(None);
            self.retiring.hurry(self.local());
        }
    }

    fn see(&mut self, change: Change) {
        match change {
            Change::Token(record) => {
                let former = self.index.token(&record.key).filter(|known| known.uid != record.uid);
                if let Some(former) = former.cloned() {
                    self.token_gone(&former);
                }
                let (deleting, reference) = (record.deleting, record.reference());
                if let Some(key) = self.index.put_token(record) {
                    self.touch(&key);
                    if deleting {
                        self.touch_secrets_of(&reference);
                    }
                }
            }
            Change::TokenGone(record) => self.token_gone(&record),
            Change::TokensRestart(kind) => self.index.relist_tokens(kind),
            Change::TokensListed(kind) => {
                self.unserved.remove(&kind);
                for lost in self.index.tokens_listed(kind) {
                    self.token_gone(&lost);
                }
                self.has_listed(if kind == Kind::Token { 0 } else { 1 });
            }
            Change::Secret(meta) => self.secret_changed(&meta, None),
            Change::SecretGone(meta) => {
                let key = SecretKey::from(&meta.metadata);
                let uid = meta.metadata.uid.as_deref().unwrap_or_default();
                self.reclaim_orphan(&key, uid);
                self.secret_gone(&key, uid);
            }
            Change::NamespaceEnds(namespace) => self.part_from(&namespace),
            Change::SecretsRestart => self.index.relist_secrets(),
            Change::SecretsListed => {
                for (key, uid) in self.index.secrets_listed() {
                    let concerned = self.index.concerned(&key);
                    self.secret_lost(&key, &uid, concerned);
                }
                self.has_listed(2);
            }
            Change::Failed(error) => {
                self.cut |= matches!(error, ClusterError::Unavailable(_) | ClusterError::Unserved);
                tracing::warn!(%error, "a watch was interrupted; it is taken up again");
            }
            Change::Unlisted(kind, error) => {
                tracing::warn!(kind, %error, "what is to be watched cannot be listed; it is tried again");
            }
            Change::Unserved(kind) => {
                tracing::warn!("{}; it is tried again", unserved(kind.as_str()));
                self.unserved.insert(kind);
                self.touch_doomed();
            }
        }
    }

    fn contacted(&mut self) {
        self.contacted = true;
        self.begin();
    }

    pub(super) fn has_listed(&mut self, which: usize) {
        let before = self.ready();
        if let Some(listed) = self.listed.get_mut(which) {
            *listed = true;
        }
        if !before {
            self.begin();
        }
    }

    /// Work begins when all that it needs to know is known.
    fn begin(&mut self) {
        if self.ready() {
            self.index.share_owners();
            self.remember_the_last_minute(&|_| true);
            self.sweep();
        }
    }

    /// Looks at everything: by the wall clock, whatever events or alarms were missed.
    pub(super) fn sweep(&mut self) {
        self.index.find_strays();
        for key in self.index.keys().cloned().collect::<Vec<_>>() {
            self.touch(&key);
        }
        for key in self.index.secrets().map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.touch_secret(&key);
        }
        self.count_policies();
    }

    /// The API server says that a Token does not exist, and no watch has told yet: if one shows it again, it is there.
    pub(super) fn token_missing(&mut self, owner: &OwnerRef) {
        if let Some(token) = self.index.owner(owner).cloned() {
            tracing::info!(token = %owner.key, "the Token is gone, which no watch has told yet");
            self.token_gone(&token);
        }
    }

    fn token_gone(&mut self, record: &TokenRecord) {
        let Some(key) = self.index.remove_token(&record.key, &record.uid) else {
            return;
        };
        let state = self.states.remove(&key).unwrap_or_default();
        self.recount |= state.policies.is_some();
        self.discard(state.pending);
        self.timers.clear(&key);
        self.leave(&key);
        self.outages.dismiss(&key);
        self.context.observer.expiry(&key, None);
        self.touch_secrets_of(&record.reference());
        if let Some(turn) = state.turn {
            self.turn(*turn, None);
        }
    }

    pub(super) fn secret_changed(&mut self, meta: &Metadata, content: Option<Content>) {
        let key = SecretKey::from(&meta.metadata);
        let Some(record) = SecretRecord::new(meta) else { return };
        if self.index.put_secret(&key, record, content) {
            self.touch_secret(&key);
            for concerned in self.index.concerned(&key) {
                self.touch(&concerned);
            }
        }
    }

    /// One that we hold cannot be gone before it was being deleted.
    fn reclaim_orphan(&mut self, secret: &SecretKey, uid: &str) {
        let known = self.index.secret(secret).filter(|known| *known.uid == *uid);
        let lost = known.filter(|known| known.held && !known.deleting);
        let Some(owner) = lost.and_then(|lost| lost.owner.clone()) else {
            return;
        };
        if self.index.owner(&owner).is_some() {
            return;
        }
        let (context, secret, uid) = (self.context.clone(), secret.clone(), uid.to_owned());
        self.jobs.spawn(async move {
            job::reclaim_orphan(&context, &secret, &uid, &owner).await;
            Back::Nothing
        });
    }

    /// A Secret is not there any more.
    pub(super) fn secret_gone(&mut self, secret: &SecretKey, uid: &str) {
        let concerned = self.index.concerned(secret);
        self.index.remove_secret(secret, uid);
        self.secret_lost(secret, uid, concerned);
    }

    fn secret_lost(&mut self, secret: &SecretKey, uid: &str, concerned: Vec<Arc<Key>>) {
        self.retiring.forget(secret);
        for key in concerned {
            if let Some(state) = self.states.get_mut(&key) {
                state.lost = state.busy.then(|| uid.into());
                state.place = None;
                state
                    .failure
                    .take_if(|failure| failure.problem.reason == Reason::SecretConflict);
            }
            tracing::debug!(%secret, token = %key, "the Secret is gone");
            self.touch(&key);
        }
    }
}

/// Asks GitHub for its clock (and whether it knows the App) before anything is decided by the local one.
async fn first_contact<S: Sign>(app: Option<Arc<App<S>>>) {
    let Some(app) = app else { return };
    match tokio::time::timeout(FIRST_CONTACT, app.client.app()).await {
        Ok(Ok(found)) => tracing::info!(slug = found.slug, skew = %app.client.skew(), "GitHub knows the App"),
        Ok(Err(error)) => tracing::warn!(reason = %error.reason(), "{error}"),
        Err(_) => {
            tracing::warn!(reason = %Reason::GitHubUnavailable, "GitHub has not answered within {FIRST_CONTACT:?}")
        }
    }
}
