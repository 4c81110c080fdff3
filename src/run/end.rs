//! How the manager ends: by a signal, or because a task that should not end did.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::controller;
use crate::telemetry::http::Readiness;

use super::manager::ManagerError;

/// How long the end may take, with what comes after the last job: the Lease is given back. Less than the grace period of a pod, and of
/// isometry/github-token-manager's chart.
const DRAIN: Duration = controller::DRAIN.saturating_add(Duration::from_secs(2));

/// What asks the process to end. The first process of a container is not ended by a signal that it does not await.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    /// The terminal that it was started from is closed.
    hup: Signal,
}

impl Signals {
    /// Awaits them from now on.
    pub fn listen() -> Result<Self, ManagerError> {
        let listen =
            |kind| signal(kind).map_err(|error| ManagerError::Failed(format!("signals cannot be awaited: {error}")));
        Ok(Signals {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            hup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
            _ = self.hup.recv() => {}
        }
    }
}

/// What runs until the end.
pub(super) struct Tasks {
    pub working: JoinHandle<Result<(), String>>,
    pub serving: JoinHandle<()>,
    pub apps: JoinHandle<()>,
    pub law: JoinHandle<((), ())>,
    pub webhook: JoinHandle<Result<(), String>>,
}

/// Waits until the end is asked for, or a task ends that should not; then lets the rest come to its end.
pub(super) async fn until_the_end(
    asked: impl Future<Output = ()>,
    stop: &CancellationToken,
    readiness: &Readiness,
    tasks: Tasks,
) -> Result<(), ManagerError> {
    let Tasks {
        mut working,
        mut serving,
        mut apps,
        mut law,
        mut webhook,
    } = tasks;
    let died = |what: &str| ManagerError::Failed(format!("{what} ended without being asked to"));
    let why = |result: Result<Result<(), String>, JoinError>, what: &str| match result {
        Ok(Err(error)) => ManagerError::Failed(error),
        Ok(Ok(())) => died(what),
        Err(error) => ManagerError::Failed(format!("{what} died: {error}")),
    };
    let early = tokio::select! {
        () = asked => None,
        result = &mut working => Some(why(result, "the controllers")),
        result = &mut webhook => Some(why(result, "the webhook")),
        _ = &mut serving => Some(died("the server for metrics and probes")),
        _ = &mut apps => Some(died("the reader of the configuration")),
        _ = &mut law => Some(died("the watch of policies")),
    };
    if early.is_none() {
        tracing::info!("ending: no new work is begun");
    }
    stop.cancel();
    readiness.set(false);
    apps.abort();
    tokio::join!(drain(working, "the controllers"), drain(webhook, "the webhook"));
    // Until here, both go on by it.
    law.abort();
    early.map_or(Ok(()), Err)
}

/// Lets a task come to its end.
async fn drain(task: JoinHandle<Result<(), String>>, what: &str) {
    // One that ended early has said why.
    if task.is_finished() {
        return;
    }
    match tokio::time::timeout(DRAIN, task).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!("{error}"),
        Ok(Err(error)) => tracing::warn!("{what} died: {error}"),
        Err(_) => tracing::warn!("{what}: work under way did not end within {DRAIN:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    /// Waits for the end, unless this task is the one that fails.
    fn task<T: Send + 'static>(
        stop: &CancellationToken,
        name: &str,
        failing: &str,
        ends: T,
        fails: T,
    ) -> JoinHandle<T> {
        let (stop, fails) = (stop.clone(), (name == failing).then_some(fails));
        tokio::spawn(async move {
            match fails {
                Some(fails) => fails,
                None => {
                    stop.cancelled().await;
                    ends
                }
            }
        })
    }

    /// How the process ends, and whether anything was left as it was.
    async fn end(failing: &str, asked: impl Future<Output = ()>) -> (Result<(), ManagerError>, bool) {
        let (stop, readiness) = (CancellationToken::new(), Readiness::default());
        readiness.set(true);
        let broken = Err("the port is taken".to_owned());
        let tasks = Tasks {
            working: task(&stop, "working", failing, Ok(()), Ok(())),
            serving: task(&stop, "serving", failing, (), ()),
            apps: task(&stop, "apps", failing, (), ()),
            law: task(&stop, "law", failing, ((), ()), ((), ())),
            webhook: task(&stop, "webhook", failing, Ok(()), broken),
        };
        let result = until_the_end(asked, &stop, &readiness, tasks).await;
        (result, readiness.get() || !stop.is_cancelled())
    }

    #[tokio::test]
    async fn a_task_that_ends_ends_the_process_as_failed() {
        for (failing, why) in [
            ("working", "the controllers ended without being asked to"),
            ("serving", "the server for metrics and probes ended"),
            ("apps", "the reader of the configuration ended"),
            ("law", "the watch of policies ended"),
            ("webhook", "the port is taken"),
        ] {
            let (result, goes_on) = end(failing, pending()).await;
            let Err(ManagerError::Failed(message)) = result else {
                panic!("{failing}: {result:?}");
            };
            assert!(message.starts_with(why), "{failing}: {message}");
            assert!(!goes_on, "{failing}");
        }
    }

    #[tokio::test]
    async fn a_signal_ends_it_well() {
        let (result, goes_on) = end("", ready(())).await;
        assert!(result.is_ok() && !goes_on, "{result:?}");
    }
}
