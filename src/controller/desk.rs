//! A desk for each App, and for each set of Apps that share a load: its line of Tokens, and who calls them. One App's trouble keeps
//! no other App's Tokens waiting.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::domain::Sign;
use crate::domain::intent::{AppKey, Key};
use crate::github::{Budget, Client, Permit};

use super::app::AppsNow;
use super::lane::{Lane, give_back};

/// Issues of one desk under way at once. More than GitHub lets through, so that writes of finished ones do not hold up the next.
pub(super) const ISSUES: usize = 160;
/// How often an App that could not be asked is looked at again, while others keep the line waiting.
const RECHECK: Duration = Duration::from_secs(10);

/// The Apps that any Token of a line may come from: in full, the preferred one first.
pub type Line = Arc<[AppKey]>;

/// One more Token may ask GitHub.
#[derive(Debug)]
pub struct Turn {
    /// The line whose turn it is.
    pub line: Line,
    /// The App.
    pub app: AppKey,
    /// GitHub's permit.
    pub permit: Permit,
    /// Its place among the desk's issues under way.
    pub slot: OwnedSemaphorePermit,
}

struct Desk {
    lane: Lane,
    /// How many are in the lane, for the porter.
    length: Arc<AtomicUsize>,
    demand: mpsc::UnboundedSender<()>,
    _porter: AbortOnDropHandle<()>,
}

impl Desk {
    fn tell_length(&self) {
        self.length.store(self.lane.len(), Ordering::Release);
    }
}

/// Where a Token stands in line.
struct Place {
    line: Line,
    since: Timestamp,
}

/// The desks of all Apps.
pub struct Desks<S> {
    apps: AppsNow<S>,
    turns: mpsc::Sender<Turn>,
    desks: HashMap<Line, Desk>,
    places: HashMap<Arc<Key>, Place>,
}

impl<S: Sign + 'static> Desks<S> {
    /// No App has a line yet; turns are handed in through `turns`.
    pub fn new(apps: AppsNow<S>, turns: mpsc::Sender<Turn>) -> Self {
        Desks {
            apps,
            turns,
            desks: HashMap::new(),
            places: HashMap::new(),
        }
    }

    /// Puts a Token in line, and takes it out of any other. Returns since when it has been waiting, and the line that it has left.
    pub fn join(
        &mut self,
        line: &Line,
        key: &Arc<Key>,
        deadline: Timestamp,
        now: Timestamp,
    ) -> (Timestamp, Option<Line>) {
        let place = self.places.get(key);
        let since = place.map_or(now, |place| place.since.min(now));
        let left = match place {
            Some(place) if place.line != *line => self.leave(key),
            _ => None,
        };
        if !self.desks.contains_key(line) {
            let (demand, demanded) = mpsc::unbounded_channel();
            let length = Arc::<AtomicUsize>::default();
            let called = Called {
                demanded,
                length: length.clone(),
            };
            let porter = porter(line.clone(), self.apps.clone(), called, self.turns.clone());
            let desk = Desk {
                lane: Lane::default(),
                length,
                demand,
                _porter: AbortOnDropHandle::new(tokio::spawn(porter)),
            };
            self.desks.insert(line.clone(), desk);
        }
        let place = Place {
            line: line.clone(),
            since,
        };
        self.places.insert(key.clone(), place);
        if let Some(desk) = self.desks.get_mut(line)
            && desk.lane.join(key, deadline)
        {
            desk.tell_length();
            let _ = desk.demand.send(());
        }
        (since, left)
    }

    /// Takes a Token out of whatever line it is in, which is returned.
    pub fn leave(&mut self, key: &Arc<Key>) -> Option<Line> {
        let Place { line, .. } = self.places.remove(key)?;
        give_back(&mut self.places);
        if let Some(desk) = self.desks.get_mut(&line) {
            desk.lane.leave(key);
            desk.tell_length();
        }
        Some(line)
    }

    /// Takes the Token with the earliest deadline out of the line.
    pub fn next(&mut self, line: &Line) -> Option<Arc<Key>> {
        let desk = self.desks.get_mut(line)?;
        let key = desk.lane.next()?;
        desk.tell_length();
        self.places.remove(&key);
        give_back(&mut self.places);
        Some(key)
    }

    /// How many are in this line.
    #[must_use]
    pub fn line(&self, line: &Line) -> usize {
        self.desks.get(line).map_or(0, |desk| desk.lane.len())
    }

    /// How many wait for this App, as the one that they would rather have.
    #[must_use]
    pub fn waiting(&self, app: &AppKey) -> usize {
        let lines = self.desks.iter().filter(|(line, _)| line.first() == Some(app));
        lines.map(|(_, desk)| desk.lane.len()).sum()
    }

    /// Closes the desks where nobody waits: of Apps that are gone, and of sets of Apps, which are made again when they are needed.
    pub fn close(&mut self, exists: impl Fn(&AppKey) -> bool) {
        let stays = |line: &Line| line.len() == 1 && line.iter().all(&exists);
        self.desks.retain(|line, desk| desk.lane.len() > 0 || stays(line));
    }
}

/// What a porter hears.
struct Called {
    demanded: mpsc::UnboundedReceiver<()>,
    length: Arc<AtomicUsize>,
}

impl Called {
    /// Waits until someone wants a turn; `false`: nobody ever will.
    async fn demand(&mut self) -> bool {
        while self.demanded.recv().await.is_some() {
            // Who has left the line left the demand behind: a turn that nobody takes would count at GitHub's gate.
            if self.length.load(Ordering::Acquire) > 0 {
                return true;
            }
        }
        false
    }
}

/// Gets one turn at GitHub for each Token that joined the line, and hands it in. The turn comes first and the Token that takes it
/// is chosen then: so the earliest deadline is served first, even if it joined last.
async fn porter<S: Sign + 'static>(line: Line, mut apps: AppsNow<S>, mut called: Called, turns: mpsc::Sender<Turn>) {
    let slots = Arc::new(Semaphore::new(ISSUES));
    while called.demand().await {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let Some((app, permit)) = permit(&line, &mut apps).await else {
            return;
        };
        let turn = Turn {
            line: line.clone(),
            app,
            permit,
            slot,
        };
        if turns.send(turn).await.is_err() {
            return;
        }
    }
}

/// The permit of the App with the most budget left; where that is none, the first that any App gets. `None` when nobody is left who
/// could need one.
async fn permit<S: Sign + 'static>(line: &Line, apps: &mut AppsNow<S>) -> Option<(AppKey, Permit)> {
    loop {
        let mut clients = working(line, apps);
        // Stable: of equals, the one that was asked less, then the one that is named first.
        clients.sort_by_cached_key(|(_, client)| Reverse((client.budget(), Reverse(client.mints_granted()))));
        let rich = clients.iter().filter(|(_, client)| client.budget() > Budget::NONE);
        let at_once = |(app, client): &(AppKey, Arc<Client<S>>)| Some((app.clone(), client.mint_turn_now()?));
        if let Some(found) = rich.into_iter().find_map(at_once) {
            return Some(found);
        }
        let all = clients.len();
        if clients.iter().any(|(_, client)| client.prospect() > Budget::NONE) {
            clients.retain(|(_, client)| client.prospect() > Budget::NONE);
        }
        let barred = all > clients.len();
        let waits = clients.into_iter();
        let mut waits: FuturesUnordered<_> = waits
            .map(|(app, client)| async move { (app, client.mint_turn().await) })
            .collect();
        tokio::select! {
            Some(found) = waits.next() => return Some(found),
            changed = apps.changed() => changed.ok()?,
            () = tokio::time::sleep(RECHECK), if barred => {}
        }
    }
}

fn working<S>(line: &Line, apps: &mut AppsNow<S>) -> Vec<(AppKey, Arc<Client<S>>)> {
    let now = apps.borrow_and_update();
    let works = |app: &AppKey| Some((app.clone(), now.get(app).ok()?.client.clone()));
    line.iter().filter_map(works).collect()
}
