//! App objects become Apps: each has a task of its own, so that one App's trouble is nobody else's.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt;
use kube::Client;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::cluster::{AppChange, AppObject, AppObjects, ClusterError, Events, Scope, unserved};
use crate::controller::{AppName, Apps, Rediscover};
use crate::github::HttpClients;
use crate::signer::Signer;
use crate::telemetry::metrics::Metrics;

use super::object::Caretaker;
use super::settings::Settings;

/// What the keepers of all App objects share.
#[derive(Clone)]
pub struct Objects {
    /// The cluster.
    pub client: Client,
    /// What GitHub is asked through.
    pub http: HttpClients,
    /// The operator's own namespace.
    pub namespace: String,
    /// The namespaces whose Apps are served.
    pub scope: Scope,
    /// What the startup configuration says beside its own App.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Tells the controllers.
    pub publish: Arc<watch::Sender<Apps<Signer>>>,
    /// Hears that an App's installations are to be listed anew.
    pub rediscover: Rediscover,
    /// Hears of each request of an App's.
    pub metrics: Metrics,
    /// Tells people.
    pub events: Events,
}

/// How an App object stands in metrics.
pub(super) fn label(name: &AppName) -> String {
    format!("{}/{}", name.0, name.1)
}

/// The task of one App object, and what tells it of changes.
struct Kept {
    tell: watch::Sender<AppObject>,
    task: AbortHandle,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The App objects by name, and their tasks.
#[derive(Default)]
struct All {
    kept: HashMap<AppName, Kept>,
    tasks: JoinSet<()>,
}

impl Objects {
    /// Works until `stop`; then no App object is known any more, so that who leads next finds them as they are then. The panic of an App's
    /// task goes on here.
    pub async fn keep(self, stop: CancellationToken) {
        let mut all = All::default();
        let mut listing: Option<HashSet<AppName>> = None;
        let changes = AppObjects::new(self.client.clone()).watch(&self.scope);
        let mut changes = std::pin::pin!(changes);
        loop {
            let change = tokio::select! {
                () = stop.cancelled() => break,
                change = changes.next() => change,
                Some(ended) = all.tasks.join_next() => {
                    if let Err(error) = ended
                        && let Ok(panic) = error.try_into_panic()
                    {
                        std::panic::resume_unwind(panic);
                    }
                    continue;
                }
            };
            match change {
                None => break,
                Some(AppChange::Put(object)) => {
                    let name = (object.namespace.clone(), object.name.clone());
                    if let Some(seen) = &mut listing {
                        seen.insert(name.clone());
                    }
                    self.put(&mut all, name, *object);
                }
                Some(AppChange::Gone(object)) => self.gone(&mut all.kept, &(object.namespace, object.name)),
                Some(AppChange::Restart) => listing = Some(HashSet::new()),
                Some(AppChange::Listed) => {
                    let seen = listing.take().unwrap_or_default();
                    let lost: Vec<_> = all.kept.keys().filter(|name| !seen.contains(*name)).cloned().collect();
                    for name in lost {
                        self.gone(&mut all.kept, &name);
                    }
                    self.listed();
                }
                Some(AppChange::Failed(ClusterError::Unserved)) => {
                    tracing::warn!("{}", unserved("App"));
                    self.listed();
                }
                Some(AppChange::Failed(error)) => {
                    tracing::warn!(%error, "the watch of Apps was interrupted; it is taken up again");
                }
            }
        }
        for name in all.kept.keys() {
            self.metrics.app_gone(&label(name));
        }
        self.publish.send_modify(|apps| {
            apps.objects.clear();
            apps.known.clear();
            apps.listed = false;
        });
    }

    /// All App objects are known by name.
    fn listed(&self) {
        self.publish
            .send_if_modified(|apps| !std::mem::replace(&mut apps.listed, true));
    }

    fn put(&self, all: &mut All, name: AppName, object: AppObject) {
        if let Some(known) = all.kept.get(&name)
            && known.tell.borrow().uid == object.uid
        {
            // A status that changed is no news.
            known.tell.send_if_modified(|before| {
                let changed = before.generation != object.generation || before.read.is_err() != object.read.is_err();
                *before = object;
                changed
            });
            return;
        }
        self.metrics.app_known(&label(&name));
        self.publish.send_modify(|apps| {
            apps.known.remove(&name);
            apps.objects.insert(name.clone(), None);
        });
        let (tell, told) = watch::channel(object);
        let task = all.tasks.spawn(Caretaker::new(self.clone(), name.clone(), told).work());
        all.kept.insert(name, Kept { tell, task });
    }

    fn gone(&self, kept: &mut HashMap<AppName, Kept>, name: &AppName) {
        kept.remove(name);
        self.metrics.app_gone(&label(name));
        self.publish.send_modify(|apps| {
            apps.known.remove(name);
            if let Some(Some(Ok(app))) = apps.objects.remove(name) {
                apps.remember(name, app);
            }
        });
    }
}
