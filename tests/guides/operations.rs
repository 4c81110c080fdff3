//! `docs/operations.md`: its commands, on a cluster on which that happens.

use std::time::Duration;

use lab::cluster::Cluster;
use lab::github::{GitHub, Installation, TokenState};
use lab::wait::eventually;

use crate::guide::{Block, Guide};
use crate::world::{INSTALLATION, SOON, World, crds};

struct Operations {
    guide: Guide,
    world: World,
}

impl Operations {
    /// An operator, and the Token `team-a/ci` with its Secret.
    async fn start() -> (Operations, lab::gtm::Operator) {
        // Something has to collect the Secrets of deleted Tokens.
        let cluster = Cluster::builder().with_crds(crds()).with_controller_manager();
        let world = World::with(cluster, |settings| settings).await;
        let operator = world.installed("team-a").await;
        let guide = Guide::read("../operations.md");
        let operations = Operations { guide, world };
        operations.apply(
            "Token",
            "metadata: {name: ci, namespace: team-a}\nspec: {retryInterval: 1s}\n",
        );
        operations.world.ready("-n team-a token ci");
        (operations, operator)
    }

    fn apply(&self, kind: &str, rest: &str) {
        let manifest = format!("apiVersion: github.as-code.io/v1\nkind: {kind}\n{rest}");
        self.world.file("applied.yaml", &manifest);
        self.world.sh("kubectl apply -f applied.yaml");
    }

    fn follow(&self, part: &str) -> String {
        let block: &Block = self.guide.block(part);
        self.world.follow(block)
    }

    fn token(&self) -> String {
        self.world.secret("team-a", "ci", "token")
    }

    /// Waits for another token than this one that GitHub takes.
    async fn another(&self, old: &str) -> String {
        eventually(SOON, "another token", async || {
            let output = self
                .world
                .try_sh("kubectl -n team-a get secret ci -o jsonpath='{.data.token}' | base64 -d");
            let now = String::from_utf8_lossy(&output.stdout).into_owned();
            (now != old && good(&self.world.github, &now))
                .then_some(now)
                .ok_or("the same, or none")
        })
        .await
    }

    /// Waits until the Token gives this reason for not being ready.
    async fn says(&self, reason: &str) {
        eventually(SOON, reason, async || {
            let path = "jsonpath='{.status.conditions[?(@.type==\"Ready\")].reason}'";
            let found = self.world.sh(&format!("kubectl -n team-a get token ci -o {path}"));
            if found == reason { Ok(()) } else { Err(found) }
        })
        .await;
    }

    /// What the kubelet does a while after the Secret has changed.
    fn mount(&self) {
        self.world.mount_configuration();
    }
}

fn good(github: &GitHub, token: &str) -> bool {
    matches!(github.token_state(token), TokenState::Valid { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_token_is_revoked_and_replaced() {
    let (operations, _operator) = Operations::start().await;
    let leaked = operations.token();
    operations.follow("get token ci -o yaml");
    assert_eq!(operations.world.github.token_state(&leaked), TokenState::Revoked);
    operations.another(&leaked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_put_in_place_without_a_restart_after_the_old_one_was_deleted() {
    let (operations, _operator) = Operations::start().await;
    let world = &operations.world;
    let before = operations.token();
    world.github.remove_keys();
    world.sh("kubectl -n team-a annotate token ci --overwrite github.as-code.io/refresh-requested-at=leaked");
    operations.says("AppAuthenticationFailed").await;
    assert_eq!(operations.token(), before);
    assert!(good(&world.github, &before), "tokens that were issued go on working");

    let key = world.github.rotate_key().expect("a key");
    world.file("private-key.pem", &key.pkcs1_pem());
    operations.follow("> gtm.yaml");
    operations.mount();
    operations.another(&before).await;
    world.ready("-n team-a token ci");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_was_deleted_is_followed_by_another() {
    let (operations, _operator) = Operations::start().await;
    let world = &operations.world;
    let before = operations.token();
    let installation = world.github.installation(INSTALLATION).expect("it is installed");
    world.github.uninstall(INSTALLATION);
    world.github.remove_keys();
    assert!(
        !good(&world.github, &before),
        "GitHub ends the tokens of an App that is deleted"
    );
    world.sh("kubectl -n team-a annotate token ci --overwrite github.as-code.io/refresh-requested-at=deleted");
    operations.says("AppAuthenticationFailed").await;

    let manifest = r#"{"name": "acme-next", "url": "https://acme.example", "redirect_url": "http://127.0.0.1/", "default_permissions": {}}"#;
    world.sh(&format!(
        "curl -fsS --data-urlencode manifest='{manifest}' {}/organizations/acme/settings/apps/new",
        world.github.url()
    ));
    let next = world.github.registrations().pop().expect("an App").app;
    next.install(Installation {
        id: INSTALLATION + 1,
        ..installation
    });
    let config = world.secret("github-token-manager", "gtm-config", "gtm.yaml");
    let (old, new) = (world.github.app_id(), next.app_id());
    let config = config.replace(&format!("app_id: {old}"), &format!("app_id: {new}"));
    assert!(config.contains(&format!("app_id: {new}")), "{config}");
    world.file("gtm.yaml", &config);
    world.file("private-key.pem", &next.key().expect("a key").pkcs1_pem());
    // The guide's second command of this block: `gtm.yaml` is edited here.
    let block = operations.guide.block("> gtm.yaml");
    let (_, apply) = block.text.split_once('\n').expect("two commands");
    world.sh(apply);
    operations.mount();
    eventually(SOON, "a token of the other App", async || {
        let now = operations.token();
        good(&next, &now).then_some(()).ok_or(now == before)
    })
    .await;
    world.ready("-n team-a token ci");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_was_installed_anew_serves_every_token_after_its_number_was_changed() {
    let (operations, _operator) = Operations::start().await;
    let world = &operations.world;
    let before = operations.token();
    let new = world.github.reinstall(INSTALLATION).expect("it was installed");
    assert!(
        !good(&world.github, &before),
        "GitHub ends the tokens of an installation"
    );
    let get = "kubectl -n github-token-manager get secret gtm-config -o jsonpath='{.data.gtm\\.yaml}' | base64 -d";
    let config = world.sh(get);
    assert!(config.contains("owner: acme"), "{config}");
    let config = config.replace("owner: acme", &format!("installation_id: {new}"));
    world.file("gtm.yaml", &config);
    world.sh(
        "kubectl -n github-token-manager create secret generic gtm-config --from-file=gtm.yaml --from-file=private-key.pem \
         --dry-run=client -o yaml | kubectl apply -f -",
    );
    operations.mount();
    operations.another(&before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_brings_everything_back_in_an_empty_cluster() {
    let (operations, operator) = Operations::start().await;
    let world = &operations.world;
    operations.apply(
        "ClusterToken",
        "metadata: {name: shared}\nspec: {secret: {namespace: team-a}}\n",
    );
    operations.apply("TokenPolicy", "metadata: {name: all}\nspec: {}\n");
    world.ready("clustertoken shared");
    operations.follow("> github-tokens.yaml");
    drop(operator);

    let other = World::with(Cluster::builder(), |settings| settings).await;
    other.helm();
    for file in ["github-tokens.yaml", "gtm-config.yaml"] {
        let text = std::fs::read_to_string(world.folder.path().join(file)).expect("the backup");
        other.file(file, &text);
    }
    other.follow(operations.guide.block("kubectl apply -f gtm-config.yaml"));
    let installed = other.sh("helm -n github-token-manager list --deployed --short");
    assert_eq!(installed, "github-token-manager\n");
    let _operator = other.operator().await;
    other.ready("-n team-a token ci");
    other.ready("clustertoken shared");
    assert_eq!(
        other.sh("kubectl get tokenpolicies -o name"),
        "tokenpolicy.github.as-code.io/all\n"
    );
    assert!(good(&other.github, &other.secret("team-a", "ci", "token")));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_old_backup_of_etcd_everyone_gets_a_new_token() {
    let (operations, operator) = Operations::start().await;
    let world = &operations.world;
    let old = operations.token();
    let secret = world.sh("kubectl -n team-a get secret ci -o json");
    let status = world.sh("kubectl -n team-a get token ci -o json");
    world.sh("kubectl -n team-a annotate token ci --overwrite github.as-code.io/refresh-requested-at=1");
    operations.another(&old).await;
    world.sh("kubectl -n team-a annotate token ci github.as-code.io/refresh-requested-at-");
    // Back in time: the Secret and the Token as they were. The token in it has been revoked since, and the operator starts again.
    drop(operator);
    for (name, text) in [("secret.json", &secret), ("status.json", &status)] {
        let mut object: serde_json::Value = serde_json::from_str(text).expect("JSON");
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        world.file(name, &object.to_string());
    }
    world.sh("kubectl replace -f secret.json && kubectl replace --subresource=status -f status.json");
    world.sh(&format!(
        "curl -fsS -X DELETE -H 'Authorization: Bearer {old}' -H 'User-Agent: test' {}/installation/token",
        world.github.url()
    ));
    let _operator = world.operator().await;
    world.ready("-n team-a token ci");
    // What the guide starts again; its pod is this process.
    let deployment = lab::helm::template("", &["--show-only", "templates/deployment.yaml"]).expect("the chart");
    world.cluster.apply(&deployment).await.expect("a Deployment");
    operations.follow("now=\"$(date -Is)\"");
    operations.another(&old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstalling_leaves_no_secret_and_no_token_behind() {
    let (operations, operator) = Operations::start().await;
    let world = &operations.world;
    let token = operations.token();
    operations.follow("kubectl delete tokens.github.as-code.io --all");
    gone(world).await;
    assert_eq!(world.github.token_state(&token), TokenState::Revoked);

    // And where the operator was removed too early.
    operations.apply("Token", "metadata: {name: ci, namespace: team-a}\nspec: {}\n");
    world.ready("-n team-a token ci");
    drop(operator);
    operations.follow("kubectl delete tokens.github.as-code.io --all");
    operations.follow("gtm release");
    gone(world).await;
}

async fn gone(world: &World) {
    eventually(Duration::from_secs(60), "the Secret is gone", async || {
        let left = world.sh("kubectl -n team-a get secrets -o name --ignore-not-found");
        if left.contains("secret/ci") { Err(left) } else { Ok(()) }
    })
    .await;
}
