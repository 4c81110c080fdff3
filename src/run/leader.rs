//! One leader at a time.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::names::{LEASE, MANAGER};
use crate::cluster::ClusterError;

/// How long a leader that has gone silent is waited for, in seconds; with the time that a standby takes to see it, a new leader
/// works within 15 s.
pub(super) const DURATION: u64 = 10;
/// How long before its end the lease is renewed, in seconds.
const GRACE: u64 = 5;
/// How often the lease is looked at, and how long that may take.
const LOOK: Duration = Duration::from_secs(1);
/// How much longer than its term a holder is waited for that has gone silent, where its clock is not ours.
const SLACK: Duration = Duration::from_secs(2);

/// Whether this replica leads, from now on and for as long as `stop` is not cancelled; the lease is given back then.
pub struct Leadership {
    /// The present state.
    pub leads: watch::Receiver<bool>,
    /// Ends when the lease can no longer be taken care of, or after it was given back.
    pub task: JoinHandle<Result<(), String>>,
}

/// Takes part in the election, which begins when the Lease can be read.
pub fn campaign(client: Client, namespace: &str, identity: String, stop: CancellationToken) -> Leadership {
    let candidate = Candidate {
        client,
        namespace: namespace.to_owned(),
        identity,
    };
    let (tell, leads) = watch::channel(false);
    let task = tokio::spawn(candidate.run(tell, stop));
    Leadership { leads, task }
}

/// A replica that takes part.
struct Candidate {
    client: Client,
    namespace: String,
    identity: String,
}

impl Candidate {
    /// The lease is made where there is none.
    async fn manager(&self) -> Result<LeaseManager, String> {
        let manager = LeaseManagerBuilder::new(self.client.clone(), LEASE)
            .with_namespace(&self.namespace)
            .with_identity(&self.identity)
            .with_duration(DURATION)
            .with_grace(GRACE)
            .build();
        manager.await.map_err(|error| self.unusable(error))
    }

    /// What the API server said, shortly, and what helps.
    fn unusable(&self, error: LeaseManagerError) -> String {
        let namespace = &self.namespace;
        let said = match error {
            LeaseManagerError::KubeError(error) => match ClusterError::from(error) {
                ClusterError::NamespaceUnavailable(said) => {
                    format!("{said}; create the namespace {namespace}, or name another by --namespace")
                }
                other => other.to_string(),
            },
            other => other.to_string(),
        };
        format!("the Lease {namespace}/{LEASE} cannot be used: {said}")
    }

    async fn run(self, tell: watch::Sender<bool>, stop: CancellationToken) -> Result<(), String> {
        let mut lookout = Lookout {
            lease: Api::namespaced(self.client.clone(), &self.namespace),
            identity: self.identity.clone(),
            renewed: None,
        };
        loop {
            let manager = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                manager = self.manager_at_last() => manager,
            };
            let (held, keeper) = manager.watch().await;
            let again = follow(held, &tell, &mut lookout, &stop).await;
            tell.send_replace(false);
            if !again {
                return kept(keeper).await;
            }
            // It has nothing to give back.
            keeper.abort();
        }
    }

    /// The webhook of a replica does not depend on whether the lease can be read at the moment, and an API server that is down while
    /// the operator starts is waited for.
    async fn manager_at_last(&self) -> LeaseManager {
        let mut told = String::new();
        loop {
            match self.manager().await {
                Ok(manager) => return manager,
                Err(error) if error == told => {}
                Err(error) => {
                    tracing::warn!("{error}; it is tried again every second");
                    told = error;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Passes on whether this replica leads. Returns `true` when the manager of the lease is to be made anew.
async fn follow(
    mut held: watch::Receiver<bool>,
    tell: &watch::Sender<bool>,
    lookout: &mut Lookout,
    stop: &CancellationToken,
) -> bool {
    loop {
        let leads = *held.borrow_and_update();
        tell.send_if_modified(|told| std::mem::replace(told, leads) != leads);
        tokio::select! {
            () = stop.cancelled() => return false,
            changed = held.changed() => if changed.is_err() { return false },
            anew = lookout.calls(leads) => if anew { return true },
        }
    }
}

/// Sees what the manager of the lease does not: it sleeps until the end of the term that it knows of, by its own clock, and it makes a
/// lease only at its own beginning.
struct Lookout {
    lease: Api<Lease>,
    identity: String,
    /// The last renewal, and when it was first seen.
    renewed: Option<(Option<MicroTime>, Instant)>,
}

impl Lookout {
    /// After a pause: whether the lease is gone; for who leads, whether it is not ours any more, and for others, whether nobody holds it.
    async fn calls(&mut self, leads: bool) -> bool {
        tokio::time::sleep(LOOK).await;
        let Ok(Ok(found)) = tokio::time::timeout(LOOK, self.lease.get_opt(LEASE)).await else {
            return false;
        };
        let Some(Lease { metadata, spec }) = found else {
            return true;
        };
        let spec = spec.unwrap_or_default();
        match spec.holder_identity.as_deref().filter(|holder| !holder.is_empty()) {
            holder if leads => holder != Some(&self.identity),
            None => true,
            Some(_) => self.is_silent(&spec) && self.clear(metadata.resource_version).await,
        }
    }

    /// Whether the holder has let its term pass, by our clock alone: its own may be ahead, and with it the end of the term.
    fn is_silent(&mut self, spec: &LeaseSpec) -> bool {
        match &self.renewed {
            Some((renewal, since)) if *renewal == spec.renew_time => {
                let term = u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
                since.elapsed() > Duration::from_secs(term) + SLACK
            }
            _ => {
                self.renewed = Some((spec.renew_time.clone(), Instant::now()));
                false
            }
        }
    }

    /// Takes the lease from its holder, unless it was renewed meanwhile.
    async fn clear(&self, version: Option<String>) -> bool {
        let nobody = Patch::Merge(json!({"metadata": {"resourceVersion": version}, "spec": {
            "holderIdentity": null, "acquireTime": null, "renewTime": null, "leaseDurationSeconds": null}}));
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let cleared = self.lease.patch(LEASE, &params, &nobody);
        matches!(tokio::time::timeout(LOOK, cleared).await, Ok(Ok(_)))
    }
}

/// The end of the lease's keeper, which first gives back what it holds.
async fn kept(keeper: JoinHandle<Result<LeaseManager, LeaseManagerError>>) -> Result<(), String> {
    match tokio::time::timeout(Duration::from_secs(5), keeper).await {
        Ok(Ok(Ok(_))) => Ok(()),
        Ok(Ok(Err(error))) => Err(format!("the lease could not be kept: {error}")),
        Ok(Err(error)) => Err(format!("the keeper of the lease died: {error}")),
        Err(_) => Err("the lease could not be given back within 5 s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http_body_util::{BodyExt, Full};
    use hyper::body::Bytes;
    use hyper::{Method, Request, Response};
    use kube::client::Body;
    use serde_json::Value;
    use tower::{BoxError, service_fn};

    use super::*;

    /// An API server that answers so, in turn, and again and again with the last; and what is written to it.
    fn server(mut answers: Vec<(u16, Value)>) -> (Client, Arc<Mutex<Vec<Value>>>) {
        answers.reverse();
        let (answers, written) = (Arc::new(Mutex::new(answers)), Arc::new(Mutex::new(Vec::new())));
        let writes = written.clone();
        let serve = move |request: Request<Body>| {
            let (answers, writes) = (answers.clone(), writes.clone());
            async move {
                let patch = request.method() == Method::PATCH;
                let body = request.into_body().collect().await?.to_bytes();
                if patch {
                    writes.lock().unwrap().push(serde_json::from_slice(&body)?);
                }
                let mut left = answers.lock().unwrap();
                let (status, body) = if left.len() > 1 {
                    left.pop()
                } else {
                    left.last().cloned()
                }
                .unwrap();
                let answer = Response::builder().status(status);
                Ok::<_, BoxError>(answer.body(Full::new(Bytes::from(body.to_string())))?)
            }
        };
        (Client::new(service_fn(serve), "default"), written)
    }

    fn failure(code: u16) -> (u16, Value) {
        let reason = if code == 404 { "NotFound" } else { "InternalError" };
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code});
        (code, status)
    }

    fn lease(holder: Option<&str>, renewed: &str) -> (u16, Value) {
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": LEASE, "resourceVersion": "7"},
            "spec": {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": DURATION}});
        (200, lease)
    }

    fn lookout(answers: Vec<(u16, Value)>) -> (Lookout, Arc<Mutex<Vec<Value>>>) {
        let (client, written) = server(answers);
        let lookout = Lookout {
            lease: Api::namespaced(client, "default"),
            identity: "ours".to_owned(),
            renewed: None,
        };
        (lookout, written)
    }

    const EARLIER: &str = "2030-01-01T00:00:00.000000Z";
    const LATER: &str = "2030-01-01T00:00:05.000000Z";

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_gone_or_free_calls_everyone_and_one_that_somebody_else_holds_calls_who_leads() {
        for (answer, leads, called) in [
            (failure(404), true, true),
            (failure(404), false, true),
            (lease(None, EARLIER), true, true),
            (lease(Some("ours"), EARLIER), true, false),
            (lease(Some("a"), EARLIER), true, true),
            (failure(503), true, false),
            (lease(None, EARLIER), false, true),
            (lease(Some(""), EARLIER), false, true),
            (lease(Some("a"), EARLIER), false, false),
            (failure(503), false, false),
        ] {
            let (mut lookout, written) = lookout(vec![answer.clone()]);
            assert_eq!(lookout.calls(leads).await, called, "{answer:?} {leads}");
            assert!(written.lock().unwrap().is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_renews_nothing_loses_the_lease_whatever_its_clock_says() {
        let renewals = [EARLIER, EARLIER, LATER].map(|renewed| lease(Some("a"), renewed));
        let (mut lookout, written) = lookout(renewals.into());
        let begun = Instant::now();
        while !lookout.calls(false).await {
            assert!(begun.elapsed() < Duration::from_secs(30));
        }
        // The last renewal was seen after 3 s.
        assert!(begun.elapsed() > Duration::from_secs(3 + DURATION) + SLACK);
        let written = written.lock().unwrap();
        assert_eq!(written.len(), 1);
        assert_eq!(
            written[0]["metadata"]["resourceVersion"], "7",
            "a renewal meanwhile is a conflict"
        );
        assert_eq!(written[0]["spec"]["holderIdentity"], Value::Null);
    }

    fn candidate(answers: Vec<(u16, Value)>) -> Candidate {
        Candidate {
            client: server(answers).0,
            namespace: "default".to_owned(),
            identity: "b".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_lease_that_cannot_be_made_is_told_shortly_and_with_what_helps() {
        let mut missing = failure(404);
        missing.1["message"] = json!("namespaces \"default\" not found");
        missing.1["details"] = json!({"name": "default", "kind": "namespaces"});
        for (answer, text) in [
            (
                missing,
                "namespaces \"default\" not found; create the namespace default, or name another by --namespace",
            ),
            (failure(500), "no"),
        ] {
            let told = candidate(vec![failure(404), answer]).manager().await.err();
            let text = format!("the Lease default/{LEASE} cannot be used: {text}");
            assert_eq!(told, Some(text));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_cannot_be_read_at_the_moment_ends_nothing() {
        let candidate = candidate(vec![failure(500), failure(404), failure(500), lease(None, EARLIER)]);
        let begun = Instant::now();
        candidate.manager_at_last().await;
        assert_eq!(begun.elapsed(), LOOK * 2);
    }
}
