//! A desk for each App: its line of Tokens, and who calls them. One App's trouble keeps no other App's Tokens waiting.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::domain::Sign;
use crate::domain::intent::{AppKey, Key};
use crate::github::Permit;

use super::app::AppsNow;
use super::lane::Lane;

/// Issues of one App under way at once. More than GitHub lets through, so that writes of finished ones do not hold up the next.
const ISSUES: usize = 160;

/// One more of an App's Tokens may ask GitHub.
pub struct Turn {
    /// The App.
    pub app: AppKey,
    /// GitHub's permit.
    pub permit: Permit,
    /// Of the App's issues under way, this is one.
    pub slots: Arc<Semaphore>,
}

struct Desk {
    lane: Lane,
    demand: mpsc::UnboundedSender<()>,
    _porter: AbortOnDropHandle<()>,
}

/// The desks of all Apps.
pub struct Desks<S> {
    apps: AppsNow<S>,
    turns: mpsc::Sender<Turn>,
    desks: HashMap<AppKey, Desk>,
}

impl<S: Sign + 'static> Desks<S> {
    /// No App has a line yet; turns are handed in through `turns`.
    pub fn new(apps: AppsNow<S>, turns: mpsc::Sender<Turn>) -> Self {
        Desks {
            apps,
            turns,
            desks: HashMap::new(),
        }
    }

    /// Puts a Token in the App's line.
    pub fn join(&mut self, app: &AppKey, key: &Arc<Key>, deadline: Timestamp) {
        for (_, other) in self.desks.iter_mut().filter(|(name, _)| *name != app) {
            other.lane.leave(key);
        }
        if !self.desks.contains_key(app) {
            let (demand, demanded) = mpsc::unbounded_channel();
            let porter = porter(app.clone(), self.apps.clone(), demanded, self.turns.clone());
            let desk = Desk {
                lane: Lane::default(),
                demand,
                _porter: AbortOnDropHandle::new(tokio::spawn(porter)),
            };
            self.desks.insert(app.clone(), desk);
        }
        if let Some(desk) = self.desks.get_mut(app)
            && desk.lane.join(key, deadline)
        {
            let _ = desk.demand.send(());
        }
    }

    /// Takes a Token out of whatever line it is in.
    pub fn leave(&mut self, key: &Arc<Key>) {
        for desk in self.desks.values_mut() {
            desk.lane.leave(key);
        }
    }

    /// Takes the Token with the earliest deadline out of the App's line.
    pub fn next(&mut self, app: &AppKey) -> Option<Arc<Key>> {
        self.desks.get_mut(app)?.lane.next()
    }

    /// How many wait for this App.
    #[must_use]
    pub fn line(&self, app: &AppKey) -> usize {
        self.desks.get(app).map_or(0, |desk| desk.lane.len())
    }

    /// How many wait for any App.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.desks.values().map(|desk| desk.lane.len()).sum()
    }

    /// Closes the desks of Apps that are gone.
    pub fn close(&mut self, exists: impl Fn(&AppKey) -> bool) {
        self.desks.retain(|app, desk| desk.lane.len() > 0 || exists(app));
    }
}

/// Gets one turn at GitHub for each Token that joined the line, and hands it in. The turn comes first and the Token that takes it
/// is chosen then: so the earliest deadline is served first, even if it joined last.
async fn porter<S: Sign + 'static>(
    name: AppKey,
    mut apps: AppsNow<S>,
    mut demanded: mpsc::UnboundedReceiver<()>,
    turns: mpsc::Sender<Turn>,
) {
    let slots = Arc::new(Semaphore::new(ISSUES));
    while demanded.recv().await.is_some() {
        let Ok(found) = apps
            .wait_for(|apps| apps.get(&name).is_ok())
            .await
            .map(|apps| apps.get(&name))
        else {
            return;
        };
        let Ok(app) = found else { continue };
        // Not taken, only waited for: the job takes it.
        let Ok(slot) = slots.acquire().await else { return };
        drop(slot);
        let turn = Turn {
            app: name.clone(),
            permit: app.client.mint_turn().await,
            slots: slots.clone(),
        };
        if turns.send(turn).await.is_err() {
            return;
        }
    }
}
