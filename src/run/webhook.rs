//! The webhook as a part of the manager: every replica serves, no leader.

use std::path::PathBuf;
use std::sync::Arc;

use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Authorities, Configurations, Events, Record, Scope, Secrets, Tokens, watch_both};
use crate::domain::authority::Terms;
use crate::domain::policy::Policies;
use crate::telemetry::http::Readiness;
use crate::telemetry::metrics::Metrics;
use crate::webhook::authority::Authority;
use crate::webhook::mounted::Mounted;
use crate::webhook::{Desk, Known, Owners, routes, server};

use super::clock::now;
use super::recorder::Recorder;

/// What requests are judged by.
pub struct Admission {
    /// What Tokens may ask for.
    pub policies: watch::Receiver<Option<Arc<Policies>>>,
    /// Where refusals are written down.
    pub record: Record,
}

/// What the webhook is made of.
pub struct Webhook {
    /// Where it is reached.
    pub listener: TcpListener,
    /// The cluster.
    pub client: Client,
    /// The operator's own namespace.
    pub namespace: String,
    /// The namespaces whose Tokens are served.
    pub scope: Scope,
    /// The pod's name, for Events.
    pub identity: String,
    /// A mounted folder with the certificate; `None`: our own certificate authority.
    pub cert_path: Option<PathBuf>,
    /// What requests are judged by.
    pub admission: Admission,
    /// Where reviews are counted.
    pub metrics: Metrics,
    /// Becomes true with a good certificate and the Tokens in memory.
    pub readiness: Readiness,
}

impl Webhook {
    /// Serves until `stop`, and until what is under way then is answered. The task ends with an error when a part of it dies.
    ///
    /// # Errors
    /// When TLS cannot be set up at all.
    pub fn start(self, stop: CancellationToken) -> Result<JoinHandle<Result<(), String>>, String> {
        let (serve, certificate) = watch::channel(None);
        let tls = server::tls(certificate.clone()).map_err(|error| format!("the webhook: no TLS: {error}"))?;
        let known = Known::new(Tokens::new(self.client.clone(), self.scope.clone()));
        let (owners, telling) = Owners::new(Events::new(self.client.clone(), "Admit", self.identity, now));
        let desk = Desk {
            known: known.clone(),
            observer: Arc::new(Recorder(self.metrics)),
            owners,
            secrets: Secrets::new(self.client.clone()),
            policies: self.admission.policies.clone(),
            record: self.admission.record,
            namespace: self.namespace.clone(),
            clock: now,
        };
        let mut parts: JoinSet<&'static str> = JoinSet::new();
        parts.spawn(say_ready(
            self.readiness,
            certificate,
            known.warm(),
            self.admission.policies,
        ));
        parts.spawn(ended(
            known.follow(watch_both(&self.client, &self.scope)),
            "the watch of Tokens for the webhook",
        ));
        parts.spawn(ended(telling, "the writer of the webhook's Events"));
        let keeper = "the keeper of the webhook's certificate";
        match self.cert_path {
            Some(folder) => parts.spawn(ended(
                Mounted {
                    folder,
                    clock: now,
                    serve,
                }
                .keep(),
                keeper,
            )),
            None => {
                let authority = Authority {
                    secret: Authorities::new(self.client.clone(), &self.namespace),
                    configurations: Configurations::new(self.client, &self.namespace),
                    namespace: self.namespace,
                    terms: Terms::default(),
                    clock: now,
                    serve,
                };
                parts.spawn(ended(authority.keep(), keeper))
            }
        };
        let serving = server::serve(self.listener, tls, routes(Arc::new(desk), stop.clone()), stop);
        Ok(tokio::spawn(async move {
            tokio::select! {
                () = serving => Ok(()),
                Some(part) = parts.join_next() => Err(match part {
                    Ok(what) => format!("{what} ended without being asked to"),
                    Err(error) => format!("a part of the webhook died: {error}"),
                }),
            }
        }))
    }
}

async fn ended(work: impl Future<Output = ()>, what: &'static str) -> &'static str {
    work.await;
    what
}

/// With a good certificate, and everything in memory that answers are made of.
async fn say_ready(
    readiness: Readiness,
    mut certificate: server::Certificate,
    mut warm: watch::Receiver<bool>,
    mut policies: watch::Receiver<Option<Arc<Policies>>>,
) -> &'static str {
    loop {
        let known = *warm.borrow_and_update() && policies.borrow_and_update().is_some();
        readiness.set(certificate.borrow_and_update().is_some() && known);
        let changed = tokio::select! {
            changed = certificate.changed() => changed,
            changed = warm.changed() => changed,
            changed = policies.changed() => changed,
        };
        if changed.is_err() {
            return "what the webhook's readiness depends on";
        }
    }
}
