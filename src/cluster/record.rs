//! The status of TokenPolicies: how many Tokens each is about, and the last refusal. Best effort, beside everything else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::api::names::MANAGER;
use crate::api::{Refusal, Time, TokenPolicy};
use crate::domain::intent::Key;
use crate::domain::policy::Verdict;
use crate::domain::quote;

use super::ClusterError;

/// Between two writes: refusals come as often as a controller retries.
const PAUSE: Duration = Duration::from_secs(2);
/// Before what could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// Policies whose news wait to be written.
const MOST: usize = 1000;

/// News of policies. A clone is a handle on the same.
#[derive(Clone, Default)]
pub struct Record(Arc<Shared>);

#[derive(Default)]
struct Shared {
    news: Mutex<News>,
    there: Notify,
}

#[derive(Default)]
struct News {
    refusals: BTreeMap<String, Refusal>,
    counts: Option<BTreeMap<String, (i64, i64)>>,
}

impl Record {
    /// Policies refused a Token, or would have.
    pub fn refused(&self, verdict: &Verdict, token: &Key, now: Timestamp) {
        let mut news = self.0.news.lock().unwrap_or_else(PoisonError::into_inner);
        for (policy, message) in verdict.refusals() {
            if news.refusals.len() < MOST {
                let refusal = Refusal {
                    at: Time::from(now),
                    token: quote(&token.to_string()),
                    message: message.to_owned(),
                };
                news.refusals.insert(policy.to_owned(), refusal);
                self.0.there.notify_one();
            }
        }
    }

    /// For each Token and each policy that is about it: whether the policy has something against it.
    pub fn count<'a>(&self, found: impl Iterator<Item = (&'a str, bool)>) {
        let mut counts: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for (policy, objects) in found {
            let (selected, violations) = match counts.get_mut(policy) {
                Some(counts) => counts,
                None => counts.entry(policy.to_owned()).or_default(),
            };
            *selected += 1;
            *violations += i64::from(objects);
        }
        self.0.news.lock().unwrap_or_else(PoisonError::into_inner).counts = Some(counts);
        self.0.there.notify_one();
    }

    /// Writes what is new, for as long as it is polled.
    pub async fn keep(self, client: Client) {
        let policies: Api<TokenPolicy> = Api::all(client);
        loop {
            self.0.there.notified().await;
            tokio::time::sleep(PAUSE).await;
            let mut news = self.take();
            while let Err(error) = write(&policies, &news).await {
                tracing::debug!(%error, "the status of policies was not written");
                // All else stays as it is until there are other news.
                if !matches!(error, ClusterError::Unavailable(_)) {
                    break;
                }
                tokio::time::sleep(AGAIN).await;
                news.add(self.take());
            }
        }
    }

    fn take(&self) -> News {
        std::mem::take(&mut *self.0.news.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl News {
    /// What has come since counts.
    fn add(&mut self, newer: News) {
        self.refusals.extend(newer.refusals);
        self.counts = newer.counts.or(self.counts.take());
    }
}

/// Writes to all policies that it can; the first error. Writing the same again writes nothing.
async fn write(policies: &Api<TokenPolicy>, news: &News) -> Result<(), ClusterError> {
    if news.refusals.is_empty() && news.counts.is_none() {
        return Ok(());
    }
    let mut result = Ok(());
    for policy in policies.list(&Default::default()).await? {
        let Some(name) = policy.metadata.name.as_deref() else {
            continue;
        };
        let former = policy.status.clone().unwrap_or_default();
        let mut status = former.clone();
        if let Some(refusal) = news.refusals.get(name) {
            status.last_refusal = Some(refusal.clone());
        }
        if let Some(counts) = &news.counts {
            (status.selected_tokens, status.violations) = counts.get(name).copied().unwrap_or_default();
            status.observed_generation = policy.metadata.generation;
        }
        if status == former && policy.status.is_some() {
            continue;
        }
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch: Value = json!({"metadata": {"uid": policy.metadata.uid}, "status": status});
        let written = policies.patch_status(name, &params, &Patch::Merge(&patch)).await;
        result = result.and(written.map(drop).map_err(ClusterError::from));
    }
    result
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::{BodyExt, Full};
    use hyper::body::Bytes;
    use hyper::{Method, Request, Response};
    use kube::client::Body;
    use tokio::sync::mpsc;
    use tower::service_fn;

    use super::*;

    /// An API server with the policy `p`, out of order for so many requests; and the statuses that it was given.
    fn server(out_of_order: usize) -> (Client, mpsc::UnboundedReceiver<Value>) {
        let (heard, statuses) = mpsc::unbounded_channel();
        let asked = Arc::new(AtomicUsize::new(0));
        let policy = json!({"apiVersion": "github.as-code.io/v1", "kind": "TokenPolicy", "metadata": {"name": "p", "uid": "u"}, "spec": {}});
        let answer = move |request: Request<Body>| {
            let (heard, asked, policy) = (heard.clone(), asked.clone(), policy.clone());
            async move {
                let fails = asked.fetch_add(1, Ordering::Relaxed) < out_of_order;
                let (status, body) = if fails {
                    let failure = json!({"kind": "Status", "status": "Failure", "code": 503, "reason": "ServiceUnavailable", "message": "no"});
                    (503, failure)
                } else if request.method() == Method::PATCH {
                    let body = request.into_body().collect().await?.to_bytes();
                    let _ = heard.send(serde_json::from_slice::<Value>(&body).unwrap()["status"].take());
                    (200, policy)
                } else {
                    (
                        200,
                        json!({"kind": "TokenPolicyList", "apiVersion": "github.as-code.io/v1", "metadata": {}, "items": [policy]}),
                    )
                };
                let body = Full::new(Bytes::from(body.to_string()));
                Ok::<_, kube::Error>(Response::builder().status(status).body(body).unwrap())
            }
        };
        (Client::new(service_fn(answer), "default"), statuses)
    }

    /// The policy is about so many Tokens.
    fn count(record: &Record, tokens: usize) {
        record.count(std::iter::repeat_n(("p", false), tokens));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_api_server_did_not_take_is_written_later_and_what_came_meanwhile_counts() {
        // The first list fails.
        let (client, mut statuses) = server(1);
        let record = Record::default();
        tokio::spawn(record.clone().keep(client));
        count(&record, 1);
        tokio::time::sleep(PAUSE * 2).await;
        assert!(statuses.try_recv().is_err());
        count(&record, 2);
        assert_eq!(statuses.recv().await.unwrap()["selectedTokens"], 2);
    }
}
