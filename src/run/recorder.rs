//! From what happens to the metrics.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::Reason;
use crate::controller::{Observer, Revocation as Ended};
use crate::domain::intent::{AppKey, Key, SecretKey};
use crate::github::{Observation, Observe, Route};
use crate::telemetry::metrics::{ConfigSource, Controller, Metrics, Operation, Outcome, Review, Revocation, Webhook};
use crate::webhook;

/// Records into the metrics.
pub struct Recorder(pub Metrics);

fn outcome(ok: bool) -> Outcome {
    if ok { Outcome::Success } else { Outcome::Error }
}

impl Observer for Recorder {
    fn minted(&self, key: &Key, ok: bool, took: Duration) {
        self.0.github_called(key.kind.into(), outcome(ok), took);
    }

    fn issued(&self, key: &Key, refresh: bool, ok: bool, took: Duration) {
        let operation = if refresh { Operation::Update } else { Operation::Create };
        self.0.token_refreshed(key.kind.into(), operation, outcome(ok), took);
    }

    fn secret_written(&self, key: &Key, operation: &'static str, ok: bool) {
        let operation = match operation {
            "create" => Operation::Create,
            "delete" => Operation::Delete,
            _ => Operation::Update,
        };
        self.0.secret_operated(key.kind.into(), operation, outcome(ok));
    }

    fn failed(&self, key: &Key, reason: Reason) {
        self.0.reconcile_failed(key.kind.into(), reason);
    }

    fn expiry(&self, key: &Arc<Key>, live: Option<(&SecretKey, Timestamp)>) {
        match live {
            Some((secret, at)) => self.0.token_live(key, &secret.namespace, at),
            None => self.0.token_gone(key),
        }
    }

    fn waiting(&self, app: &AppKey, count: usize) {
        // Whoever waits for an App has its whole name by then.
        self.0.waiting(&app.label(""), count);
    }

    fn revoked(&self, ended: Ended) {
        self.0.revocation(match ended {
            Ended::Done => Revocation::Revoked,
            Ended::Again => Revocation::Retried,
            Ended::GivenUp => Revocation::Abandoned,
        });
    }

    fn app_missing(&self, key: &Key) {
        self.0.config_failed(key.kind.into(), ConfigSource::Startup);
    }
}

/// Records what one App asks of GitHub and of its key.
pub struct AppRecorder {
    metrics: Metrics,
    app: String,
}

impl AppRecorder {
    /// For the App of the startup configuration, which there may always be.
    pub fn of_startup(metrics: &Metrics) -> Self {
        let app = AppKey::Startup.label("");
        metrics.app_known(&app);
        AppRecorder::new(metrics.clone(), app)
    }

    /// For the App of this label.
    pub fn new(metrics: Metrics, app: String) -> Self {
        AppRecorder { metrics, app }
    }
}

impl Observe for AppRecorder {
    fn request(&self, observation: Observation) {
        // Mints are recorded where the kind of the Token is known.
        if observation.route != Route::Mint {
            self.metrics.github_called(
                Controller::App,
                outcome(observation.failure.is_none()),
                observation.took,
            );
        }
    }

    fn signed(&self, ok: bool) {
        self.metrics.signed(&self.app, outcome(ok));
    }

    fn held(&self) {
        self.metrics.gate_held(&self.app);
    }
}

impl webhook::Observer for Recorder {
    fn reviewed(
        &self,
        operation: webhook::Operation,
        outcome: webhook::Outcome,
        reason: Option<Reason>,
        took: Duration,
    ) {
        let operation = match operation {
            webhook::Operation::Inject => Webhook::Inject,
            webhook::Operation::Validate => Webhook::Validate,
        };
        let outcome = match outcome {
            webhook::Outcome::Allowed => Review::Allowed,
            webhook::Outcome::Patched => Review::Patched,
            webhook::Outcome::Refused => Review::Refused,
            webhook::Outcome::Rejected => Review::Rejected,
        };
        self.0.reviewed(operation, outcome, reason, took);
    }
}
