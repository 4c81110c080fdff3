//! What belongs to one App: its series are there for as long as the App is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::labels::Outcome;

/// Answers how many tokens each App may ask for; `None` is no limit.
type AskBudgets = Box<dyn Fn() -> Vec<(String, Option<u32>)> + Send + Sync>;

/// The numbers of one App.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AppNumbers {
    pub signatures: u64,
    pub failures: u64,
    pub waiting: usize,
    pub holds: u64,
}

/// The numbers of each App that exists.
#[derive(Default)]
pub(super) struct AppSeries {
    apps: Mutex<BTreeMap<String, AppNumbers>>,
    budgets: OnceLock<AskBudgets>,
}

impl AppSeries {
    pub fn begin(&self, app: &str) {
        self.lock().entry(app.to_owned()).or_default();
    }

    pub fn end(&self, app: &str) {
        self.lock().remove(app);
    }

    /// What is told of an App that does not exist is late, and counts nowhere.
    pub fn change(&self, app: &str, change: impl FnOnce(&mut AppNumbers)) {
        if let Some(numbers) = self.lock().get_mut(app) {
            change(numbers);
        }
    }

    pub fn ask_budgets(&self, ask: AskBudgets) {
        let _ = self.budgets.set(ask);
    }

    /// A thread that panicked here left a whole map: what is done under the lock does not stop half-way.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, AppNumbers>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for AppSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppSeries")
    }
}

/// Encodes the metrics that have an `app` label.
#[derive(Debug)]
pub(super) struct AppCollector(pub Arc<AppSeries>);

impl Collector for AppCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let apps = self.0.lock().clone();
        let help = "Signatures asked of an App's private key";
        let mut family = encoder.encode_descriptor("github_app_signatures", help, None, MetricType::Counter)?;
        for (app, numbers) in &apps {
            for (result, count) in [
                (Outcome::Success, numbers.signatures),
                (Outcome::Error, numbers.failures),
            ] {
                let labels = [("app", app.as_str()), ("result", result.as_str())];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Times that GitHub's limits held a whole App";
        let mut family = encoder.encode_descriptor("github_gate_holds", help, None, MetricType::Counter)?;
        for (app, numbers) in &apps {
            ConstCounter::new(numbers.holds).encode(family.encode_family(&[("app", app.as_str())])?)?;
        }
        let help = "Tokens that wait for their turn at GitHub";
        let mut family = encoder.encode_descriptor("github_gate_waiting", help, None, MetricType::Gauge)?;
        for (app, numbers) in &apps {
            let waiting = i64::try_from(numbers.waiting).unwrap_or(i64::MAX);
            ConstGauge::new(waiting).encode(family.encode_family(&[("app", app.as_str())])?)?;
        }
        let help = "New tokens that an App may ask for now, by GitHub's limits; +Inf where nothing limits it";
        let mut family = encoder.encode_descriptor("github_app_budget_remaining", help, None, MetricType::Gauge)?;
        let budgets = self.0.budgets.get().map(|ask| ask()).unwrap_or_default();
        for (app, budget) in budgets.iter().filter(|(app, _)| apps.contains_key(app)) {
            let budget = budget.map_or(f64::INFINITY, f64::from);
            ConstGauge::new(budget).encode(family.encode_family(&[("app", app.as_str())])?)?;
        }
        Ok(())
    }
}
