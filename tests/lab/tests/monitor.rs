//! The monitor itself: it must find what it is there for, and excuse nothing else.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use lab::{
    cluster::Cluster,
    github::{Fault, GitHub, Route, Settings, TokenState},
    monitor::{Monitor, Rules},
    wait::eventually,
};
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);

struct Stage {
    cluster: Cluster,
    github: GitHub,
    secrets: Api<Secret>,
    owners: Api<ConfigMap>,
}

impl Stage {
    async fn new(lifetime: u64) -> Self {
        let cluster = Cluster::start().await.unwrap();
        let github = GitHub::start(Settings::default()).await.unwrap();
        github.set_token_lifetime(Duration::from_secs(lifetime));
        let client = cluster.client().await.unwrap();
        let namespace = cluster.namespace("monitor").await.unwrap();
        let (secrets, owners) = (
            Api::namespaced(client.clone(), &namespace),
            Api::namespaced(client, &namespace),
        );
        Self {
            cluster,
            github,
            secrets,
            owners,
        }
    }

    fn monitor(&self) -> Monitor {
        Monitor::start(self.cluster.kubeconfig_path(), &self.github, Rules::default())
    }

    async fn mint(&self) -> String {
        let url = format!("{}/app/installations/67890/access_tokens", self.github.url());
        let client = reqwest::Client::builder().no_proxy().user_agent("lab").build().unwrap();
        let asked = client.post(url).bearer_auth(self.github.jwt().unwrap()).send().await;
        assert_eq!(asked.unwrap().status().as_u16(), 201);
        self.github.mints().last().unwrap().token.to_string()
    }

    /// A managed Secret with this token somewhere in its text, and its owner.
    async fn put(&self, name: &str, token: &str) {
        let params = PatchParams::apply("test").force();
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        let owner = self.owners.patch(name, &params, &Patch::Apply(&owner)).await.unwrap();
        let secret = json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "labels": {"app.kubernetes.io/created-by": "github-token-manager"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": name, "controller": true,
                    "uid": owner.metadata.uid.unwrap()}]},
            "stringData": {"file": format!("https://x-access-token:{token}@github.com\n")}});
        self.secrets.patch(name, &params, &Patch::Apply(&secret)).await.unwrap();
    }

    async fn is(&self, token: &str, wanted: TokenState) {
        eventually(SOON, "the end of the token", async || {
            let state = self.github.token_state(token);
            (state == wanted).then_some(()).ok_or(format!("{state:?}"))
        })
        .await;
    }

    /// Waits as long as a violation would take to be found, and some more.
    async fn a_while(&self) {
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
}

#[tokio::test]
async fn a_secret_that_holds_an_expired_token_while_github_would_issue_another_is_found() {
    let stage = Stage::new(2).await;
    let monitor = stage.monitor();
    let token = stage.mint().await;
    stage.put("late", &token).await;
    stage.is(&token, TokenState::Expired).await;
    stage.a_while().await;
    let violations = monitor.finish().await.unwrap_err();
    assert_eq!(violations.len(), 1, "{violations:?}");
    let violation = &violations[0];
    assert!(violation.secret.ends_with("/late"), "{violation}");
    assert_eq!(violation.hashed_token.as_deref(), Some(&*lab::github::hashed(&token)));
    assert_eq!(violation.state, TokenState::Expired);
    assert!(violation.found_at >= violation.expired_at.unwrap(), "{violation}");
}

#[tokio::test]
async fn a_token_that_expires_during_an_outage_is_excused_until_the_time_for_recovery_is_over() {
    let stage = Stage::new(2).await;
    let monitor = stage.monitor();
    let first = stage.mint().await;
    stage.put("demo", &first).await;
    stage.github.fail_while(Some(Route::Mint), Fault::Unavailable(503));
    stage.is(&first, TokenState::Expired).await;
    stage.a_while().await;
    stage.github.clear_faults();
    stage.github.set_token_lifetime(Duration::from_secs(3_600));
    let second = stage.mint().await;
    stage.put("demo", &second).await;
    stage.cluster.restart_api_server().await.unwrap();
    stage.put("demo", &second).await;
    let summary = monitor.finish().await.unwrap();
    assert!(
        summary.samples > 5 && summary.secrets == 1 && summary.tokens == 2,
        "{summary:?}"
    );
}

#[tokio::test]
async fn a_restart_of_the_api_server_does_not_blind_it_and_a_secret_whose_owner_is_gone_is_nobodys() {
    let stage = Stage::new(8).await;
    let monitor = stage.monitor();
    let token = stage.mint().await;
    stage.put("kept", &token).await;
    stage.put("left", &token).await;
    stage.owners.delete("left", &DeleteParams::default()).await.unwrap();
    stage.cluster.restart_api_server().await.unwrap();
    stage.is(&token, TokenState::Expired).await;
    tokio::time::sleep(Rules::default().recovery + Duration::from_secs(1)).await;
    let violations = monitor.finish().await.unwrap_err();
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert!(violations[0].secret.ends_with("/kept"), "{}", violations[0]);
}
