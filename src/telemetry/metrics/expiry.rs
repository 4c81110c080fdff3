//! When each token expires: one series for each token, so the store is compact (about 100 bytes a token).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::labels::Controller;

/// The tokens that are held in Secrets, and the second at which each expires. Each controller's tokens have a map of
/// their own, by `namespace/name`: a slash is in neither.
#[derive(Debug, Default)]
pub(super) struct Expiries(Mutex<Tokens>);

#[derive(Debug, Default)]
struct Tokens {
    token: HashMap<Box<str>, i64>,
    cluster_token: HashMap<Box<str>, i64>,
}

impl Tokens {
    /// An `App` holds no token: its controller has no map.
    fn of(&mut self, controller: Controller) -> Option<&mut HashMap<Box<str>, i64>> {
        match controller {
            Controller::Token => Some(&mut self.token),
            Controller::ClusterToken => Some(&mut self.cluster_token),
            Controller::App => None,
        }
    }
}

impl Expiries {
    pub fn set(&self, controller: Controller, namespace: &str, name: &str, expires_at: Timestamp) {
        if let Some(tokens) = self.lock().of(controller) {
            tokens.insert(key(namespace, name), expires_at.as_second());
        }
    }

    pub fn remove(&self, controller: Controller, namespace: &str, name: &str) {
        if let Some(tokens) = self.lock().of(controller) {
            tokens.remove(&key(namespace, name));
        }
    }

    pub fn clear(&self) {
        *self.lock() = Tokens::default();
    }

    /// A thread that panicked here left a whole map: insertion and removal do not stop half-way.
    fn lock(&self) -> MutexGuard<'_, Tokens> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(namespace: &str, name: &str) -> Box<str> {
    format!("{namespace}/{name}").into_boxed_str()
}

/// Encodes `token_expiry_timestamp_seconds` and `tokens_active`.
#[derive(Debug)]
pub(super) struct ExpiryCollector(pub std::sync::Arc<Expiries>);

impl Collector for ExpiryCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let tokens = self.0.lock();
        let each = [
            (Controller::Token, &tokens.token),
            (Controller::ClusterToken, &tokens.cluster_token),
        ];

        let help = "Unix timestamp when the token expires";
        let mut expiry =
            encoder.encode_descriptor("token_expiry_timestamp", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for (controller, tokens) in each {
            for (key, expires_at) in tokens {
                let (namespace, name) = key.split_once('/').unwrap_or(("", key));
                let labels = [
                    ("controller", controller.as_str()),
                    ("namespace", namespace),
                    ("name", name),
                ];
                ConstGauge::new(*expires_at).encode(expiry.encode_family(&labels)?)?;
            }
        }

        let help = "Number of currently active tokens";
        let mut active = encoder.encode_descriptor("tokens_active", help, None, MetricType::Gauge)?;
        for (controller, tokens) in each {
            let count = i64::try_from(tokens.len()).unwrap_or(i64::MAX);
            ConstGauge::new(count).encode(active.encode_family(&[("controller", controller.as_str())])?)?;
        }
        Ok(())
    }
}
