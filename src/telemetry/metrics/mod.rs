//! Prometheus metrics: those of isometry/github-token-manager under their names (`internal/metrics/recorder.go`), and
//! ours. All times are in seconds.

mod apps;
mod expiry;
mod labels;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::api::Reason;
use crate::domain::intent::Key;
use apps::{AppCollector, AppSeries};
use expiry::{Expiries, ExpiryCollector};
pub use labels::{ConfigSource, Controller, Operation, Outcome, Review, Revocation, Webhook};
use labels::{OptionalReason, ReasonLabel};

/// The media type of [`Metrics::render`]: OpenMetrics, which Prometheus reads since 2.5.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the histograms' buckets in seconds: a fast API call to a call's total timeout.
const BUCKETS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Every metric of the operator. A clone is a handle on the same ones.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    rendered_bytes: AtomicUsize,
    expiries: Arc<Expiries>,
    refreshes: Family<Refresh, Counter>,
    refresh_seconds: Family<RefreshOperation, Histogram, fn() -> Histogram>,
    calls: Family<Call, Counter>,
    call_seconds: Family<Call, Histogram, fn() -> Histogram>,
    reconcile_errors: Family<ReconcileError, Counter>,
    secret_operations: Family<SecretOperation, Counter>,
    config_errors: Family<ConfigErrorOf, Counter>,
    apps: Arc<AppSeries>,
    revocations: Family<RevocationOf, Counter>,
    leader: Gauge,
    reviews: Family<ReviewOf, Counter>,
    review_seconds: Family<WebhookOf, Histogram, fn() -> Histogram>,
}

macro_rules! label_sets {
    ($($name:ident { $($label:ident: $type:ty),+ })+) => {
        $(
            #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
            struct $name { $($label: $type),+ }
        )+
    };
}

label_sets! {
    Refresh { controller: Controller, result: Outcome }
    RefreshOperation { controller: Controller, operation: Operation }
    Call { controller: Controller, result: Outcome }
    ReconcileError { controller: Controller, reason: ReasonLabel }
    SecretOperation { controller: Controller, operation: Operation, result: Outcome }
    ConfigErrorOf { controller: Controller, source: ConfigSource }
    RevocationOf { result: Revocation }
    ReviewOf { operation: Webhook, outcome: Review, reason: OptionalReason }
    WebhookOf { operation: Webhook }
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

/// Upper bounds for answers from memory, in seconds; an API server waits 5 s.
const REVIEW_BUCKETS: [f64; 10] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.025, 0.1, 1.0, 5.0];

fn review_histogram() -> Histogram {
    Histogram::new(REVIEW_BUCKETS)
}

impl Metrics {
    /// Registers everything, at zero. `version` is the operator's.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        let mut inner = Inner {
            registry: Registry::default(),
            rendered_bytes: AtomicUsize::new(0),
            expiries: Arc::default(),
            refreshes: Family::default(),
            refresh_seconds: Family::new_with_constructor(histogram),
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(histogram),
            reconcile_errors: Family::default(),
            secret_operations: Family::default(),
            config_errors: Family::default(),
            apps: Arc::default(),
            revocations: Family::default(),
            leader: Gauge::default(),
            reviews: Family::default(),
            review_seconds: Family::new_with_constructor(review_histogram),
        };
        inner.register_the_peers();
        inner.register_ours(version);
        inner.start_at_zero();
        Metrics(Arc::new(inner))
    }

    /// A refresh (mint and publication of one token) ended, `duration` after it began.
    pub fn token_refreshed(&self, controller: Controller, operation: Operation, result: Outcome, duration: Duration) {
        self.0.refreshes.get_or_create(&Refresh { controller, result }).inc();
        let labels = RefreshOperation { controller, operation };
        self.0
            .refresh_seconds
            .get_or_create(&labels)
            .observe(duration.as_secs_f64());
    }

    /// A call of GitHub's API ended, `duration` after it began; waiting at the gate is not counted.
    pub fn github_called(&self, controller: Controller, result: Outcome, duration: Duration) {
        let labels = Call { controller, result };
        self.0.calls.get_or_create(&labels).inc();
        self.0
            .call_seconds
            .get_or_create(&labels)
            .observe(duration.as_secs_f64());
    }

    /// A token that expires then is in its Secret. `namespace`: of its Secret.
    pub fn token_live(&self, key: &Arc<Key>, namespace: &str, expires_at: Timestamp) {
        self.0.expiries.set(key, namespace, expires_at);
    }

    /// The token is no more: its series goes.
    pub fn token_gone(&self, key: &Key) {
        self.0.expiries.remove(key);
    }

    /// Forgets every token: another replica reports them now.
    pub fn tokens_handed_over(&self) {
        self.0.expiries.clear();
    }

    /// A reconciliation ended with an error.
    pub fn reconcile_failed(&self, controller: Controller, reason: Reason) {
        self.0
            .reconcile_errors
            .get_or_create(&ReconcileError {
                controller,
                reason: ReasonLabel(reason),
            })
            .inc();
    }

    /// A Secret was written or removed, or could not be.
    pub fn secret_operated(&self, controller: Controller, operation: Operation, result: Outcome) {
        self.0
            .secret_operations
            .get_or_create(&SecretOperation {
                controller,
                operation,
                result,
            })
            .inc();
    }

    /// A configuration cannot be used.
    pub fn config_failed(&self, controller: Controller, source: ConfigSource) {
        self.0
            .config_errors
            .get_or_create(&ConfigErrorOf { controller, source })
            .inc();
    }

    /// An App exists: its series begin, at zero.
    pub fn app_known(&self, app: &str) {
        self.0.apps.begin(app);
    }

    /// An App is no more: its series go, and nothing brings them back before it is known again.
    pub fn app_gone(&self, app: &str) {
        self.0.apps.end(app);
    }

    /// The App's key was asked to sign.
    pub fn signed(&self, app: &str, result: Outcome) {
        self.0.apps.change(app, |app| match result {
            Outcome::Success => app.signatures += 1,
            Outcome::Error => app.failures += 1,
        });
    }

    /// So many Tokens wait for their turn with this App now.
    pub fn waiting(&self, app: &str, count: usize) {
        self.0.apps.change(app, |app| app.waiting = count);
    }

    /// GitHub's secondary limit holds a whole App.
    pub fn gate_held(&self, app: &str) {
        self.0.apps.change(app, |app| app.holds += 1);
    }

    /// Whom to ask, whenever metrics are read, how many tokens each App may ask for: `None` is no limit. Only the first is asked.
    pub fn ask_budgets(&self, ask: impl Fn() -> Vec<(String, Option<u32>)> + Send + Sync + 'static) {
        self.0.apps.ask_budgets(Box::new(ask));
    }

    /// A revocation ended.
    pub fn revocation(&self, result: Revocation) {
        self.0.revocations.get_or_create(&RevocationOf { result }).inc();
    }

    /// A review of the webhook was answered, `duration` after it was read; without a reason, it was not understood.
    pub fn reviewed(&self, operation: Webhook, outcome: Review, reason: Option<Reason>, duration: Duration) {
        let reason = OptionalReason(reason);
        let labels = ReviewOf {
            operation,
            outcome,
            reason,
        };
        self.0.reviews.get_or_create(&labels).inc();
        let seconds = self.0.review_seconds.get_or_create(&WebhookOf { operation });
        seconds.observe(duration.as_secs_f64());
    }

    /// Whether this replica leads.
    pub fn leader(&self, leads: bool) {
        self.0.leader.set(i64::from(leads));
    }

    /// All metrics as OpenMetrics text; serve it as [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// When a metric cannot be encoded.
    pub fn render(&self) -> Result<String, fmt::Error> {
        // As long as the last text and a little more: growing by doubling would double the peak of memory.
        let last = self.0.rendered_bytes.load(Ordering::Relaxed);
        let mut text = String::with_capacity(last + last / 16 + 4096);
        encode(&mut text, &self.0.registry)?;
        self.0.rendered_bytes.store(text.len(), Ordering::Relaxed);
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Inner {
    /// The names and labels of isometry/github-token-manager.
    fn register_the_peers(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "token_refresh",
            "Tokens asked for, by how it ended",
            self.refreshes.clone(),
        );
        registry.register_with_unit(
            "token_refresh_duration",
            "From asking for a token until its Secret was written",
            Unit::Seconds,
            self.refresh_seconds.clone(),
        );
        registry.register(
            "github_api_requests",
            "Requests to GitHub, by how they ended",
            self.calls.clone(),
        );
        registry.register_with_unit(
            "github_api_call_duration",
            "From sending a request to GitHub until its answer was read",
            Unit::Seconds,
            self.call_seconds.clone(),
        );
        registry.register(
            "token_reconcile_errors",
            "Failed attempts to keep a Token, by reason",
            self.reconcile_errors.clone(),
        );
        registry.register(
            "kubernetes_secret_operations",
            "Writes of managed Secrets",
            self.secret_operations.clone(),
        );
        registry.register(
            "config_errors",
            "Configurations that cannot be used",
            self.config_errors.clone(),
        );
        registry.register_collector(Box::new(ExpiryCollector(Arc::clone(&self.expiries))));
    }

    fn register_ours(&mut self, version: &'static str) {
        let registry = &mut self.registry;
        registry.register_collector(Box::new(AppCollector(Arc::clone(&self.apps))));
        let help = "Total number of token revocations, by how they ended";
        registry.register("token_revocations", help, self.revocations.clone());
        let help = "Whether this replica leads (1) or stands by (0)";
        registry.register("github_token_manager_leader", help, self.leader.clone());
        let help = "Admission reviews, by webhook, how they ended, and why";
        registry.register("github_webhook_reviews", help, self.reviews.clone());
        let help = "From reading an admission review until it was answered";
        let seconds = self.review_seconds.clone();
        registry.register_with_unit("github_webhook_review_duration", help, Unit::Seconds, seconds);
        let build = Info::new([("version", version)]);
        registry.register("github_token_manager_build", "The version that runs", build);
    }

    /// A series that is absent until its first event hides that event from `rate()`: the few that matter are there at once.
    fn start_at_zero(&self) {
        for &result in Outcome::ALL {
            for controller in [Controller::Token, Controller::ClusterToken] {
                let _ = self.refreshes.get_or_create(&Refresh { controller, result });
                let _ = self.calls.get_or_create(&Call { controller, result });
            }
        }
        for &result in Revocation::ALL {
            let _ = self.revocations.get_or_create(&RevocationOf { result });
        }
    }
}

#[cfg(test)]
mod tests;
