//! Clusters that tests use in turn. An API server takes four seconds of processor time to start, and most tests need one that
//! works for a few seconds only; to clean one takes a tenth of a second.

use std::{
    mem::drop,
    ops::Deref,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use super::{Builder, Cluster, store::Store};
use crate::error::Error;

/// How many clusters wait for their next test at most; each takes 300 MB of memory.
const IDLE: usize = 3;

/// Those that nobody uses now, the last one used at the end. They end with the program.
static WAITING: Mutex<Vec<Lent>> = Mutex::new(Vec::new());

/// A cluster like a new one that belongs to whoever holds it. Dropping it leaves it to the next who asks for the same settings,
/// unless its API server is down, the test failed, or it has controllers (who would go on with what is taken away): end
/// everything that uses it before.
#[derive(Debug)]
pub struct Leased(Option<Lent>);

#[derive(Debug)]
struct Lent {
    cluster: Cluster,
    settings: Builder,
    /// What the cluster held when it was new.
    new: Store,
}

impl Builder {
    /// A cluster with these settings: one that another test has left, cleaned, or a new one.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub async fn lease(self) -> Result<Leased, Error> {
        while let Some(lent) = take(&self) {
            // One that cannot be cleaned ends here.
            if lent.new.restore(lent.cluster.etcd_url()).await.is_ok() {
                return Ok(Leased(Some(lent)));
            }
        }
        let cluster = self.clone().start().await?;
        let new = Store::settled(cluster.etcd_url()).await?;
        let settings = self;
        Ok(Leased(Some(Lent { cluster, settings, new })))
    }
}

impl Deref for Leased {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        match &self.0 {
            Some(lent) => &lent.cluster,
            None => unreachable!("it is given back when it is dropped, not before"),
        }
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        let usable = |lent: &Lent| {
            let is_up = lent.cluster.apiserver_pid().is_some();
            is_up && !lent.settings.controller_manager && !thread::panicking()
        };
        let Some(lent) = self.0.take().filter(usable) else {
            return;
        };
        let mut waiting = waiting();
        let oldest = (waiting.len() >= IDLE).then(|| waiting.remove(0));
        waiting.push(lent);
        drop(waiting);
        // Its processes are waited for: not while others want a cluster.
        drop(oldest);
    }
}

fn take(settings: &Builder) -> Option<Lent> {
    let mut waiting = waiting();
    let place = waiting.iter().rposition(|lent| lent.settings == *settings)?;
    Some(waiting.remove(place))
}

fn waiting() -> MutexGuard<'static, Vec<Lent>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}
