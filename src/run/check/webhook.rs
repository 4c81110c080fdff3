//! The webhook, as the API server sees it: asked by dry runs of what it refuses, of which nothing stays.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Chain, Verdict};
use crate::api::ClusterToken;
use crate::api::names::{annotation, pod};
use crate::cluster::{ClusterError, Configuration, Configurations, Hook};

/// What the link is called.
const LINK: &str = "webhook";
/// What is tried is called.
const PROBE: &str = "gtm-check";

/// Looks at the configurations that call the operator in `own`; a pod is tried in `place`.
pub(super) async fn look(chain: &mut Chain, cluster: &Client, own: &str, place: &str) {
    let all = match Configurations::new(cluster.clone(), own).list().await {
        Ok(all) => all,
        Err(error) => return chain.unseen(LINK, &error),
    };
    if all.iter().all(|configuration| configuration.hooks.is_empty()) {
        let message = format!(
            "no configuration calls the operator in the namespace {own}: pods get no token, and Tokens are looked at only after they are stored"
        );
        return chain.good(LINK, message);
    }
    for configuration in &all {
        for hook in &configuration.hooks {
            let (verdict, message) = if hook.ca_bundle.is_empty() && hook.host.ends_with(".svc") {
                let why = "its caBundle is empty: does the operator run, and may it write there (docs/rbac.md)";
                (Verdict::Bad, why.to_owned())
            } else if configuration.is_mutating() {
                of_pods(cluster, place, hook).await
            } else {
                of_tokens(cluster, own, hook).await
            };
            chain.say(LINK, verdict, format!("{}: {message}", title(configuration)));
        }
    }
}

fn title(configuration: &Configuration) -> String {
    let kind = if configuration.is_mutating() {
        "for pods"
    } else {
        "for Tokens"
    };
    format!("{kind} ({})", configuration.name)
}

/// A pod whose annotations contradict themselves.
async fn of_pods(cluster: &Client, place: &str, hook: &Hook) -> (Verdict, String) {
    let named = |key: &str| format!("{}{key}", annotation::PREFIX);
    let pod = json!({"metadata": {"name": PROBE, "annotations": {named(pod::TOKEN): PROBE, named(pod::INJECT): "nothing"}},
        "spec": {"containers": [{"name": PROBE, "image": PROBE}]}});
    let answer = rehearse::<Pod>(Api::namespaced(cluster.clone(), place), pod).await;
    verdict(hook, answer).unwrap_or_else(|| {
        let message = format!(
            "it is not asked about pods of the namespace {place}: that one is exempt (namespaceSelector), or failurePolicy is not Fail"
        );
        (Verdict::Doubtful, message)
    })
}

/// A ClusterToken, since no selector of namespaces is about it, with a template that has an unknown name.
async fn of_tokens(cluster: &Client, own: &str, hook: &Hook) -> (Verdict, String) {
    let secret = json!({"namespace": own, "format": "template", "template": {"key": "{{ .nothing }}"}});
    let token = json!({"metadata": {"name": PROBE}, "spec": {"secret": secret}});
    let answer = rehearse::<ClusterToken>(Api::all(cluster.clone()), token).await;
    verdict(hook, answer).unwrap_or_else(|| {
        let message = "the API server gets no answer, and lets everything pass (failurePolicy Ignore): does the operator run, is its Service \
                       reachable from the API server, is caBundle its authority's";
        (Verdict::Bad, message.to_owned())
    })
}

/// Has the API server say what it would do.
async fn rehearse<K>(api: Api<K>, object: Value) -> Result<(), ClusterError>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let object = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
    api.create(&params, &object).await?;
    Ok(())
}

/// What the API server's answer says of the webhook; `None`: everything was let pass.
fn verdict(hook: &Hook, answer: Result<(), ClusterError>) -> Option<(Verdict, String)> {
    let said = answer.err()?.to_string();
    let is_said = |words: &str| said.contains(&format!("{words} \"{}\"", hook.name));
    Some(if is_said("failed calling webhook") {
        (Verdict::Bad, said)
    } else if is_said("admission webhook") {
        (Verdict::Good, "it answers the API server".to_owned())
    } else {
        (Verdict::Doubtful, format!("not tried: {said}"))
    })
}
