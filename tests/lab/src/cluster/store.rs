//! What a cluster holds, as etcd has it: read, and brought back past the API server, which sees it as it sees any write.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{error::Error, wait::wait_for};

/// Everything that an API server stores.
const ALL: (&str, &str) = ("/registry/", "/registry0");

/// What the API server keeps for itself, and follows by itself.
const ITS_OWN: [&str; 5] = [
    "/registry/apiregistration.k8s.io/",
    "/registry/configmaps/kube-system/",
    "/registry/leases/kube-system/",
    "/registry/masterleases/",
    "/registry/ranges/",
];

/// The kinds of other projects, which an API server takes seconds to serve or to forget.
const KINDS: &str = "/registry/apiextensions.k8s.io/";

/// What it makes last, some time after it says that it is ready.
const LAST: [&str; 5] = [
    "/registry/namespaces/default",
    "/registry/namespaces/kube-node-lease",
    "/registry/namespaces/kube-public",
    "/registry/namespaces/kube-system",
    "/registry/services/specs/default/kubernetes",
];

/// Time for the API server to make what it makes by itself.
const SETTLED: Duration = Duration::from_secs(60);

/// Operations of one transaction; etcd takes 128.
const BATCH: usize = 100;

/// Keys and values, both as etcd's gateway writes them: base64.
#[derive(Debug)]
pub(super) struct Store(BTreeMap<String, String>);

impl Store {
    /// What a new cluster holds, once its API server has made all that it makes by itself.
    pub(super) async fn settled(etcd: &str) -> Result<Self, Error> {
        wait_for(SETTLED, "the API server's own namespaces", async || {
            let store = Self::read(etcd).await.map_err(|error| error.to_string())?;
            match LAST.iter().find(|key| !store.0.contains_key(&STANDARD.encode(key))) {
                None => Ok(store),
                Some(missing) => Err(format!("{missing} is missing")),
            }
        })
        .await
    }

    /// Brings the cluster back to what it held.
    ///
    /// # Errors
    /// When etcd fails, and when the cluster's kinds are not what they were: a new cluster is quicker then.
    pub(super) async fn restore(&self, etcd: &str) -> Result<(), Error> {
        let now = Self::read(etcd).await?;
        let added = now.0.keys().filter(|key| !self.0.contains_key(*key));
        let changed = self.0.iter().filter(|(key, value)| now.0.get(*key) != Some(value));
        if let Some(key) = added
            .clone()
            .chain(changed.clone().map(|(key, _)| key))
            .find(|key| is_under(key, &[KINDS]))
        {
            return Err(Error::Usage(format!("the cluster's kinds were changed: {key}")));
        }
        let removed = added.map(|key| json!({"requestDeleteRange": {"key": key}}));
        let written = changed.map(|(key, value)| json!({"requestPut": {"key": key, "value": value}}));
        let operations: Vec<Value> = removed.chain(written).collect();
        for batch in operations.chunks(BATCH) {
            call(etcd, "txn", &json!({"success": batch})).await?;
        }
        Ok(())
    }

    async fn read(etcd: &str) -> Result<Self, Error> {
        let (first, end) = ALL;
        let range = json!({"key": STANDARD.encode(first), "range_end": STANDARD.encode(end)});
        let answer = call(etcd, "range", &range).await?;
        let pair = |pair: &Value| Some((pair["key"].as_str()?.to_owned(), pair["value"].as_str()?.to_owned()));
        let pairs = answer["kvs"].as_array().into_iter().flatten().filter_map(pair);
        Ok(Self(pairs.filter(|(key, _)| !is_under(key, &ITS_OWN)).collect()))
    }
}

/// Whether a key, in base64, begins with one of the prefixes.
fn is_under(key: &str, prefixes: &[&str]) -> bool {
    let key = STANDARD.decode(key).unwrap_or_default();
    prefixes.iter().any(|prefix| key.starts_with(prefix.as_bytes()))
}

/// Calls etcd's JSON gateway.
async fn call(etcd: &str, operation: &str, body: &Value) -> Result<Value, Error> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .timeout(SETTLED)
        .build()?;
    let request = client.post(format!("{etcd}/v3/kv/{operation}")).json(body);
    Ok(request.send().await?.error_for_status()?.json().await?)
}
