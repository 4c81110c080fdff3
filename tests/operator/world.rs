//! One cluster, one GitHub, one operator: what most tests need.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use github_token_manager::api::names::annotation;
use github_token_manager::api::{ClusterToken, Condition, Token, TokenStatus};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use lab::cluster::{Builder as ClusterBuilder, Cluster, Leased};
use lab::github::{GitHub, Settings, TokenState};
use lab::gtm::{Builder, Operator};
use lab::monitor::{Monitor, Rules};
use lab::process::Folder;
use lab::wait::eventually;
use serde_json::{Value, json};

/// How long anything may take that is not waited for on purpose.
pub const SOON: Duration = Duration::from_secs(20);

/// Everything a test needs. Dropping it ends all of it, the operator before the cluster is another test's.
pub struct World {
    pub operator: Operator,
    pub client: Client,
    pub github: GitHub,
    pub namespace: String,
    pub folder: Folder,
    pub cluster: Leased,
}

/// The cluster of a world: the operator's CRDs are installed.
pub fn cluster() -> ClusterBuilder {
    let crds = github_token_manager::cli::crds::yaml().expect("CRDs");
    Cluster::builder().with_crds(crds)
}

impl World {
    /// A world with an operator that is ready.
    pub async fn new() -> World {
        World::with(cluster().with_audit_log(), Settings::default(), |operator| operator).await
    }

    /// A world whose parts are made to measure.
    pub async fn with(cluster: ClusterBuilder, settings: Settings, operator: impl FnOnce(Builder) -> Builder) -> World {
        let cluster = cluster.lease().await.expect("a cluster");
        let github = GitHub::start(settings).await.expect("the stand-in starts");
        let folder = Folder::new().expect("a folder");
        let config = configure(&folder, &github);
        let builder = Operator::builder(env!("CARGO_BIN_EXE_gtm"), cluster.kubeconfig_path());
        let builder = builder
            .config(&config)
            .namespace("default")
            // A test's own flag wins over the variable.
            .env("GTM_LOG_LEVEL", "debug")
            .leader_elect(false);
        let operator = operator(builder).start().await.expect("the operator starts");
        let client = cluster.client().await.expect("a client");
        let namespace = cluster.namespace("test").await.expect("a namespace");
        World {
            operator,
            client,
            github,
            namespace,
            folder,
            cluster,
        }
    }

    pub fn tokens(&self) -> Api<Token> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn cluster_tokens(&self) -> Api<ClusterToken> {
        Api::all(self.client.clone())
    }

    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies a Token of the test's namespace with this spec.
    pub async fn token(&self, name: &str, spec: serde_json::Value) -> Token {
        let object = serde_json::json!({
            "apiVersion": "github.as-code.io/v1", "kind": "Token",
            "metadata": {"name": name, "namespace": self.namespace}, "spec": spec});
        let params = PatchParams::apply("test").force();
        self.tokens()
            .patch(name, &params, &Patch::Apply(&object))
            .await
            .expect("the Token is accepted")
    }

    /// The status of a Token.
    pub async fn status(&self, name: &str) -> TokenStatus {
        self.tokens()
            .get(name)
            .await
            .expect("the Token exists")
            .status
            .unwrap_or_default()
    }

    /// Waits until a Token's condition has this status and reason.
    pub async fn condition(&self, name: &str, kind: &str, status: &str, reason: &str) -> Condition {
        eventually(SOON, &format!("{name}: {kind}={status} {reason}"), async || {
            let now = self.status(name).await;
            match now.condition(kind) {
                Some(c) if c.status == status && (reason.is_empty() || c.reason == reason) => Ok(c.clone()),
                _ => Err(format!("{now:?}")),
            }
        })
        .await
    }

    /// Waits until a Token is ready for its present generation.
    pub async fn ready(&self, name: &str) -> Token {
        eventually(SOON, &format!("{name} is ready"), async || {
            let token = self.tokens().get(name).await.map_err(|e| e.to_string())?;
            let status = token.status.clone().unwrap_or_default();
            match status.condition("Ready") {
                Some(c) if c.status == "True" && c.observed_generation == token.metadata.generation => Ok(token),
                _ => Err(format!("{status:?}")),
            }
        })
        .await
    }

    /// The data of a Secret, as texts.
    pub async fn data(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let secret = self.secrets().get_opt(name).await.expect("the API server answers")?;
        let text = |(key, value): (String, k8s_openapi::ByteString)| (key, String::from_utf8(value.0).expect("a text"));
        Some(secret.data.unwrap_or_default().into_iter().map(text).collect())
    }

    /// The token in a Secret of format `token`.
    pub async fn token_in(&self, name: &str) -> Option<String> {
        self.data(name).await?.remove("token")
    }

    /// Waits until the Secret holds a token that is good and is not `other`.
    pub async fn good_token(&self, name: &str, other: Option<&str>) -> String {
        eventually(SOON, &format!("a good token in {name}"), async || {
            let token = self.token_in(name).await.ok_or("no Secret")?;
            if Some(&*token) == other {
                return Err("the same token".to_owned());
            }
            match self.github.token_state(&token) {
                TokenState::Valid { .. } => Ok(token),
                state => Err(format!("{state:?}")),
            }
        })
        .await
    }

    /// Asks for a new token, as `kubectl annotate` would. Each value asks once.
    pub async fn request(&self, name: &str, value: &str) {
        let ask = serde_json::json!({"metadata": {"annotations": {annotation::REFRESH_REQUESTED: value}}});
        self.tokens()
            .patch(name, &PatchParams::default(), &Patch::Merge(&ask))
            .await
            .expect("the Token takes an annotation");
    }

    /// Deletes a Token.
    pub async fn delete(&self, name: &str) {
        self.tokens()
            .delete(name, &DeleteParams::default())
            .await
            .expect("the Token is deleted");
    }

    /// The reasons of all Events about an object of this name.
    pub async fn events(&self, name: &str) -> Vec<(String, String)> {
        let events: Api<k8s_openapi::api::events::v1::Event> = Api::all(self.client.clone());
        let all = events.list(&Default::default()).await.expect("Events can be listed");
        let about = all
            .into_iter()
            .filter(|e| e.regarding.as_ref().is_some_and(|r| r.name.as_deref() == Some(name)));
        about
            .map(|e| (e.reason.clone().unwrap_or_default(), e.note.clone().unwrap_or_default()))
            .collect()
    }

    /// An annotation of a Secret.
    pub async fn note(&self, secret: &str, name: &str) -> Option<String> {
        self.secrets().get(secret).await.ok()?.annotations().get(name).cloned()
    }
}

/// The value of the label `team` that no Secret may have, after [`World::refuse_team`].
pub const REFUSED: &str = "refused";

/// Writes that the API server refuses.
impl World {
    /// Has the API server refuse Secrets of the test's namespace with the label `team` of [`REFUSED`], as it refuses invalid ones.
    pub async fn refuse_team(&self) {
        let rule = json!({"expression": format!("object.metadata.?labels[?'team'].orValue('') != '{REFUSED}'"),
            "message": "no such team", "reason": "Invalid"});
        let probe = json!({"name": "probe", "labels": {"team": REFUSED}});
        self.refuse_secrets(&["CREATE", "UPDATE"], &rule, probe).await;
    }

    /// Has the API server hold Secrets of the test's namespace to a rule, once it refuses one with this metadata.
    pub async fn refuse_secrets(&self, operations: &[&str], rule: &Value, probe: Value) {
        let here = json!({"matchLabels": {"kubernetes.io/metadata.name": self.namespace}});
        let secrets =
            json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": operations, "resources": ["secrets"]});
        let name = format!("secrets-{}", self.namespace);
        let policy = json!([{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name}, "spec": {"validations": [rule],
            "matchConstraints": {"namespaceSelector": here, "resourceRules": [secrets]}}},
            {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}}]);
        let all = json!({"apiVersion": "v1", "kind": "List", "items": policy}).to_string();
        self.cluster.apply(&all).await.expect("the policy is applied");
        let probe: Secret = serde_json::from_value(json!({"metadata": probe})).expect("a Secret");
        let rehearsal = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        eventually(SOON, "the policy is in force", async || {
            let refusal = self.secrets().create(&rehearsal, &probe).await.err();
            refusal.ok_or("it is not")
        })
        .await;
    }
}

/// What most tests of faults need: many Tokens, a monitor, another replica.
impl World {
    /// A world whose tokens live this long, in seconds.
    pub async fn short(lifetime: u64) -> World {
        let mut settings = Settings::default();
        settings.knobs.token_lifetime = Duration::from_secs(lifetime);
        World::with(cluster(), settings, |operator| operator).await
    }

    /// Watches all Secrets until it is asked for its verdict.
    pub fn monitor(&self) -> Monitor {
        Monitor::start(self.cluster.kubeconfig_path(), &self.github, Rules::default())
    }

    /// Another replica with the same configuration; `make` adds what is special about it.
    pub async fn replica(&self, make: impl FnOnce(Builder) -> Builder) -> Operator {
        let config = self.folder.path().join("gtm.yaml");
        let builder = Operator::builder(env!("CARGO_BIN_EXE_gtm"), self.cluster.kubeconfig_path());
        let builder = builder.config(&config).namespace("default").log_level("debug");
        make(builder).start().await.expect("the replica starts")
    }

    /// Adds lines to the operator's configuration.
    pub fn configure_also(&self, lines: &str) {
        let path = self.folder.path().join("gtm.yaml");
        let config = std::fs::read_to_string(&path).expect("the configuration is there");
        std::fs::write(&path, format!("{config}{lines}\n")).expect("the configuration is written");
    }

    /// Applies this many Tokens, `t-0` and so on, all with this spec.
    pub async fn many(&self, count: usize, spec: serde_json::Value) {
        use futures::StreamExt;
        let all = (0..count).map(|n| (format!("t-{n}"), spec.clone()));
        let apply = async |(name, spec): (String, serde_json::Value)| drop(self.token(&name, spec).await);
        futures::stream::iter(all).for_each_concurrent(16, apply).await;
    }

    /// Waits until this many Tokens are there and all of them are ready.
    pub async fn all_ready(&self, count: usize, within: Duration) {
        eventually(within, &format!("{count} Tokens are ready"), async || {
            let all = self
                .tokens()
                .list(&Default::default())
                .await
                .map_err(|e| e.to_string())?;
            let ready = |status: &TokenStatus| status.condition("Ready").is_some_and(|c| c.status == "True");
            let waiting: Vec<_> = all.iter().filter(|t| !t.status.as_ref().is_some_and(ready)).collect();
            match (all.items.len() == count, waiting.first()) {
                (true, None) => Ok(()),
                (_, first) => Err(format!("{} of {} wait: {first:?}", waiting.len(), all.items.len())),
            }
        })
        .await;
    }

    /// The data of all Secrets of format `token` in the test's namespace: name -> token.
    pub async fn all_tokens(&self) -> BTreeMap<String, String> {
        let all = self
            .secrets()
            .list(&Default::default())
            .await
            .expect("the API server answers");
        let token = |secret: Secret| {
            let name = secret.name_any();
            let token = secret.data?.remove("token")?;
            Some((name, String::from_utf8(token.0).expect("a text")))
        };
        all.into_iter().filter_map(token).collect()
    }

    /// Waits until GitHub has issued so many tokens.
    pub async fn mints(&self, count: usize, within: Duration) {
        eventually(within, &format!("{count} tokens are issued"), async || {
            let now = self.github.mint_count();
            (now >= count).then_some(()).ok_or(format!("{now}"))
        })
        .await;
    }

    /// Waits until a Token's status is about the token that is in its Secret, and that works.
    pub async fn settled(&self, name: &str) -> String {
        eventually(SOON, &format!("{name} is settled"), async || {
            let token = self.token_in(name).await.ok_or("no Secret")?;
            let status = self.status(name).await;
            let ready = status.condition("Ready").is_some_and(|c| c.status == "True");
            let known = status.hashed_token.as_deref() == Some(&*lab::github::hashed(&token));
            let state = self.github.token_state(&token);
            match (ready && known, state) {
                (true, TokenState::Valid { .. }) => Ok(token),
                _ => Err(format!("{state:?} {status:?}")),
            }
        })
        .await
    }
}

/// The verdict of a monitor.
pub async fn nothing_expired(monitor: Monitor) {
    match monitor.finish().await {
        Ok(summary) => assert!(summary.samples > 0 && summary.tokens > 0, "{summary:?}"),
        Err(violations) => {
            let all: Vec<_> = violations.iter().map(ToString::to_string).collect();
            panic!("{} violations:\n{}", all.len(), all.join("\n"));
        }
    }
}

/// Writes key and configuration for this stand-in into the folder.
pub fn configure(folder: &Folder, github: &GitHub) -> PathBuf {
    let pem = github.key().expect("the App has a key").pkcs1_pem();
    let key = folder.write("key.pem", pem.as_bytes()).expect("the key is written");
    let config = github.gtm_yaml("file", key.display());
    folder
        .write("gtm.yaml", config.as_bytes())
        .expect("the configuration is written")
}
