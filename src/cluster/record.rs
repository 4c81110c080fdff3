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

/// Between two writes: refusals come as often as a controller retries.
const PAUSE: Duration = Duration::from_secs(2);
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
            let news = std::mem::take(&mut *self.0.news.lock().unwrap_or_else(PoisonError::into_inner));
            write(&policies, news).await;
        }
    }
}

async fn write(policies: &Api<TokenPolicy>, news: News) {
    if news.refusals.is_empty() && news.counts.is_none() {
        return;
    }
    let all = match policies.list(&Default::default()).await {
        Ok(all) => all,
        Err(error) => {
            tracing::debug!(error = %super::ClusterError::from(error), "the status of policies was not written");
            return;
        }
    };
    for policy in all {
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
        if let Err(error) = policies.patch_status(name, &params, &Patch::Merge(&patch)).await {
            tracing::debug!(error = %super::ClusterError::from(error), policy = name, "the status of a policy was not written");
        }
    }
}
