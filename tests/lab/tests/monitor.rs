//! The monitor of managed Secrets: it finds what it is there for, and excuses what it should.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ObjectMeta, PostParams},
};
use lab::{
    cluster::{Cluster, Leased},
    github::{Fault, GitHub, Route, Settings, TokenState, hashed},
    monitor::{Monitor, Rules},
    wait::eventually,
};

const SOON: Duration = Duration::from_secs(20);

struct World {
    cluster: Leased,
    client: Client,
    github: GitHub,
    namespace: String,
}

impl World {
    async fn new() -> Self {
        let cluster = Cluster::builder().lease().await.unwrap();
        let (client, namespace) = (
            cluster.client().await.unwrap(),
            cluster.namespace("watched").await.unwrap(),
        );
        let github = GitHub::start(Settings::default()).await.unwrap();
        github.set_token_lifetime(Duration::from_secs(2));
        Self {
            cluster,
            client,
            github,
            namespace,
        }
    }

    fn monitor(&self) -> Monitor {
        let rules = Rules {
            recovery: Duration::from_secs(2),
            ..Rules::default()
        };
        Monitor::start(self.cluster.kubeconfig_path(), &self.github, rules)
    }

    async fn mint(&self) -> String {
        let url = format!("{}/app/installations/67890/access_tokens", self.github.url());
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .build()
            .unwrap();
        let request = http.post(url).bearer_auth(self.github.jwt().unwrap());
        let answer = request.header("user-agent", "lab").send().await.unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        answer["token"].as_str().unwrap().to_owned()
    }

    /// A managed Secret with a token, and something that owns it.
    async fn secret(&self, name: &str, token: &str) -> ConfigMap {
        let metadata = |more: ObjectMeta| ObjectMeta {
            name: Some(name.to_owned()),
            ..more
        };
        let owners: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let owner = ConfigMap {
            metadata: metadata(ObjectMeta::default()),
            ..ConfigMap::default()
        };
        let owner = owners.create(&PostParams::default(), &owner).await.unwrap();
        let reference = OwnerReference {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            name: name.to_owned(),
            uid: owner.uid().unwrap(),
            controller: Some(true),
            ..OwnerReference::default()
        };
        let label = ("app.kubernetes.io/created-by", "github-token-manager");
        let secret = Secret {
            metadata: metadata(ObjectMeta {
                labels: Some(BTreeMap::from([(label.0.to_owned(), label.1.to_owned())])),
                owner_references: Some(vec![reference]),
                ..ObjectMeta::default()
            }),
            data: Some(BTreeMap::from([(
                "token".to_owned(),
                ByteString(token.as_bytes().to_vec()),
            )])),
            ..Secret::default()
        };
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        secrets.create(&PostParams::default(), &secret).await.unwrap();
        owner
    }

    async fn expired(&self, token: &str) {
        eventually(SOON, "the token has expired", async || {
            match self.github.token_state(token) {
                TokenState::Expired => Ok(()),
                state => Err(format!("{state:?}")),
            }
        })
        .await;
        // Several samples more.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn a_token_that_expires_in_its_secret_fails_the_run_also_after_a_restart_of_the_api_server() {
    let world = World::new().await;
    let monitor = world.monitor();
    world.cluster.restart_api_server().await.unwrap();
    // So that the restart excuses nothing any more.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let token = world.mint().await;
    world.secret("left-alone", &token).await;
    world.expired(&token).await;
    let violations = monitor.finish().await.unwrap_err();
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert_eq!(violations[0].secret, format!("{}/left-alone", world.namespace));
    assert_eq!(violations[0].hashed_token, Some(hashed(&token)));
    assert_eq!(violations[0].state, TokenState::Expired);
    assert!(violations[0].found_at >= violations[0].expired_at.unwrap());
}

#[tokio::test]
async fn an_outage_a_good_token_and_an_owner_that_is_gone_are_excused_but_an_outage_only_until_it_ends() {
    let world = World::new().await;
    let monitor = world.monitor();
    let token = world.mint().await;
    world.secret("down", &token).await;
    let owner = world.secret("gone", &world.mint().await).await;
    world.github.set_token_lifetime(Duration::from_secs(600));
    world.secret("good", &world.mint().await).await;
    world.github.fail_while(Some(Route::Mint), Fault::Unavailable(503));
    let owners: Api<ConfigMap> = Api::namespaced(world.client.clone(), &world.namespace);
    owners.delete(&owner.name_any(), &Default::default()).await.unwrap();
    world.expired(&token).await;
    let summary = monitor.finish().await.unwrap();
    assert!(
        summary.secrets == 3 && summary.tokens == 3 && summary.samples > 10,
        "{summary:?}"
    );

    let monitor = world.monitor();
    world.github.clear_faults();
    // The recovery's two seconds, and some samples.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let violations = monitor.finish().await.unwrap_err();
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert_eq!(violations[0].secret, format!("{}/down", world.namespace));
}
