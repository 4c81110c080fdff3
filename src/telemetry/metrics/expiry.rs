//! When each token expires: one series for each token, so the store is compact (less than 30 bytes a token).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::domain::intent::{Key, Kind};

use super::labels::Controller;

/// The tokens that are held in Secrets, and the second at which each expires.
#[derive(Debug, Default)]
pub(super) struct Expiries(Mutex<Tokens>);

/// The names are those that the controller holds as well.
#[derive(Debug, Default)]
struct Tokens {
    token: HashMap<Arc<Key>, i64>,
    /// With the namespace of the Secret.
    cluster_token: HashMap<Arc<Key>, (Box<str>, i64)>,
}

impl Expiries {
    pub fn set(&self, key: &Arc<Key>, namespace: &str, expires_at: Timestamp) {
        let (key, at) = (key.clone(), expires_at.as_second());
        match key.kind {
            Kind::Token => drop(self.lock().token.insert(key, at)),
            Kind::ClusterToken => drop(self.lock().cluster_token.insert(key, (namespace.into(), at))),
        }
    }

    pub fn remove(&self, key: &Key) {
        match key.kind {
            Kind::Token => drop(self.lock().token.remove(key)),
            Kind::ClusterToken => drop(self.lock().cluster_token.remove(key)),
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

/// Encodes `token_expiry_timestamp_seconds` and `tokens_active`.
#[derive(Debug)]
pub(super) struct ExpiryCollector(pub Arc<Expiries>);

impl Collector for ExpiryCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let tokens = self.0.lock();
        let own = tokens.token.iter();
        let own = own.map(|(key, at)| (key, key.namespace.as_deref().unwrap_or_default(), at));
        let elsewhere = tokens.cluster_token.iter();
        let elsewhere = elsewhere.map(|(key, (namespace, at))| (key, &**namespace, at));

        let help = "When the token in the Secret expires, in seconds since 1970";
        let mut expiry =
            encoder.encode_descriptor("token_expiry_timestamp", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for (key, namespace, expires_at) in own.chain(elsewhere) {
            let labels = [
                ("controller", Controller::from(key.kind).as_str()),
                ("namespace", namespace),
                ("name", &key.name),
            ];
            ConstGauge::new(*expires_at).encode(expiry.encode_family(&labels)?)?;
        }

        let help = "Tokens that are held in Secrets";
        let mut active = encoder.encode_descriptor("tokens_active", help, None, MetricType::Gauge)?;
        let counts = [
            (Controller::Token, tokens.token.len()),
            (Controller::ClusterToken, tokens.cluster_token.len()),
        ];
        for (controller, count) in counts {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            ConstGauge::new(count).encode(active.encode_family(&[("controller", controller.as_str())])?)?;
        }
        Ok(())
    }
}
