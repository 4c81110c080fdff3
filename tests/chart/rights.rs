//! The operator with exactly the rights that the chart gives: nothing that it asks for is refused.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use lab::cluster::{AuditEvent, AuditLog, Cluster};
use lab::github::{GitHub, Settings};
use lab::gtm::Operator;
use lab::process::{Folder, Port};
use lab::wait::eventually;
use serde_json::{Value, json};

use crate::helm::{NAME, template};

const SOON: Duration = Duration::from_secs(40);
const TEAM: &str = "team-a";
const ELSEWHERE: &str = "team-b";

/// A cluster with what the chart installs but the operator itself, which runs here.
struct World {
    cluster: Cluster,
    github: GitHub,
    audit: AuditLog,
    operator: Operator,
    _folder: Folder,
}

impl World {
    async fn start(values: &str) -> World {
        let crds = github_token_manager::cli::crds::yaml().unwrap();
        let builder = Cluster::builder()
            .with_crds(crds)
            .with_audit_log()
            .with_controller_manager();
        let cluster = builder.start().await.unwrap();
        for name in [NAME, TEAM, ELSEWHERE] {
            cluster.kubectl(&["create", "namespace", name]).await.unwrap();
        }
        let port = Port::take().unwrap();
        let shown = [
            "--show-only",
            "templates/rbac.yaml",
            "--show-only",
            "templates/webhook.yaml",
        ];
        let rendered = template(values, &shown).unwrap();
        cluster.apply(&calling(&rendered, port.number())).await.unwrap();
        let audit = cluster.audit_log().unwrap();
        let github = GitHub::start(Settings::default()).await.unwrap();
        let folder = Folder::new().unwrap();
        let key = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "gh-app", "namespace": NAME},
            "stringData": {"private-key.pem": pem(&github)}});
        cluster.apply(&key.to_string()).await.unwrap();
        let config = github.gtm_yaml("secret", "gh-app");
        let config = folder.write("gtm.yaml", config.as_bytes()).unwrap();
        let kubeconfig = cluster.service_account(NAME, NAME).await.unwrap();
        let builder = Operator::builder(env!("CARGO_BIN_EXE_gtm"), &kubeconfig);
        let builder = builder.config(&config).namespace(NAME).log_level("debug");
        let builder = builder.arg(format!("--webhook-bind-address=127.0.0.1:{}", port.number()));
        let builder = flags(values).into_iter().fold(builder, lab::gtm::Builder::arg);
        let operator = builder.start().await.unwrap();
        World {
            cluster,
            github,
            audit,
            operator,
            _folder: folder,
        }
    }

    async fn put(&self, kind: &str, namespace: Option<&str>, name: &str, spec: Value) {
        let object = json!({"apiVersion": "github.as-code.io/v1", "kind": kind,
            "metadata": {"name": name, "namespace": namespace}, "spec": spec});
        self.cluster.apply(&object.to_string()).await.unwrap();
    }

    async fn status(&self, kind: &str, namespace: Option<&str>, name: &str) -> Value {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("github.as-code.io", "v1", kind));
        let client = self.cluster.client().await.unwrap();
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &kind),
            None => Api::all_with(client, &kind),
        };
        api.get(name).await.unwrap().data["status"].clone()
    }

    async fn ready(&self, kind: &str, namespace: Option<&str>, name: &str) {
        eventually(SOON, &format!("{kind} {name} is ready"), async || {
            let status = self.status(kind, namespace, name).await;
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
            if ready {
                Ok(())
            } else {
                Err(format!("{status}\n{}", self.operator.logs()))
            }
        })
        .await;
    }

    async fn gone(&self, namespace: &str, secret: &str) {
        eventually(SOON, &format!("the Secret {secret} is gone"), async || {
            let found = self.cluster.kubectl(&["-n", namespace, "get", "secret", secret]).await;
            if found.is_err() {
                Ok(())
            } else {
                Err(self.operator.logs())
            }
        })
        .await;
    }

    /// An App of the team's, with a key of its own Secret; a Token of it, one of the operator's App, a renamed one; a pod; deletions.
    async fn drive_a_team(&self) {
        let key = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "own-app", "namespace": TEAM},
            "stringData": {"private-key.pem": pem(&self.github)}});
        self.cluster.apply(&key.to_string()).await.unwrap();
        let app = json!({"appID": self.github.app_id(), "installationID": 67890, "baseURL": self.github.url(),
            "provider": "secret", "keyRef": {"name": "own-app"}});
        self.put("App", Some(TEAM), "own", app).await;
        self.ready("App", Some(TEAM), "own").await;
        self.put(
            "Token",
            Some(TEAM),
            "of-own",
            json!({"appRef": {"name": "own"}, "permissions": {"contents": "read"}}),
        )
        .await;
        self.put("Token", Some(TEAM), "ci", json!({"permissions": {"contents": "read"}}))
            .await;
        self.ready("Token", Some(TEAM), "of-own").await;
        self.ready("Token", Some(TEAM), "ci").await;
        let now = "github.as-code.io/refresh-requested-at=now";
        self.cluster
            .kubectl(&["-n", TEAM, "annotate", "token", "ci", now])
            .await
            .unwrap();
        self.put(
            "Token",
            Some(TEAM),
            "of-own",
            json!({"appRef": {"name": "own"}, "permissions": {"contents": "read"}, "secret": {"name": "renamed"}}),
        )
        .await;
        self.gone(TEAM, "of-own").await;
        self.pod_gets_a_token().await;
        self.cluster
            .kubectl(&["-n", TEAM, "delete", "token", "ci", "of-own"])
            .await
            .unwrap();
        self.gone(TEAM, "ci").await;
        self.gone(TEAM, "renamed").await;
    }

    async fn pod_gets_a_token(&self) {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "job", "namespace": TEAM,
            "annotations": {"github.as-code.io/token": "ci"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
        let check = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
        eventually(SOON, "a pod is given the token", async || {
            let made = self.cluster.kubectl_with_input(&check, &pod.to_string()).await;
            let made = made.map_err(|error| error.to_string())?;
            if made.contains("github.as-code.io/status") {
                Ok(())
            } else {
                Err(made)
            }
        })
        .await;
    }

    /// Secrets that nobody gave to the operator are in no list or watch of its.
    fn lists_managed_secrets_alone(&self) {
        let account = format!("system:serviceaccount:{NAME}:{NAME}");
        let own = self.audit.events().unwrap().into_iter();
        let listed: Vec<String> = own
            .filter(|event| event.user == account && event.resource == "secrets" && event.group.is_empty())
            .filter(|event| ["list", "watch"].contains(&&*event.verb))
            .map(|event| event.uri)
            .collect();
        assert!(listed.iter().any(|uri| uri.contains("watch=true")), "{listed:?}");
        let managed = "labelSelector=app.kubernetes.io%2Fcreated-by%3Dgithub-token-manager";
        let narrow = |uri: &&String| uri.contains(managed) || uri.contains("fieldSelector=metadata.name%3D");
        let wide: Vec<_> = listed.iter().filter(|uri| !narrow(uri)).collect();
        assert!(wide.is_empty(), "{wide:?}");
    }

    /// Every refusal that the API server told the operator.
    async fn refusals(&self) -> Vec<String> {
        self.audit.settle(&self.cluster.client().await.unwrap()).await.unwrap();
        let account = format!("system:serviceaccount:{NAME}:{NAME}");
        let events = self.audit.events().unwrap();
        let own: Vec<_> = events.into_iter().filter(|event| event.user == account).collect();
        assert!(own.len() > 20, "the operator was hardly there: {own:?}");
        let refused = own.iter().filter(|event| event.code == 403);
        refused.map(|event| format!("{} {}", event.verb, event.uri)).collect()
    }
}

/// Group, resource and verb.
pub type Right = (String, String, String);

impl World {
    /// What the operator asked for.
    fn used(&self) -> BTreeSet<Right> {
        let account = format!("system:serviceaccount:{NAME}:{NAME}");
        let own = self
            .audit
            .events()
            .unwrap()
            .into_iter()
            .filter(|event| event.user == account);
        let right = |event: AuditEvent| {
            let resource = [event.resource, event.subresource]
                .join("/")
                .trim_end_matches('/')
                .to_owned();
            (event.group, resource, event.verb)
        };
        own.map(right).collect()
    }
}

/// What the chart grants, in any namespace.
pub fn granted(values: &str) -> BTreeSet<Right> {
    let rendered = template(values, &["--show-only", "templates/rbac.yaml"]).unwrap();
    let words = |rule: &Value, field: &str| -> Vec<String> {
        let all = rule[field].as_array().unwrap().iter();
        all.map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    let rules = crate::helm::objects(&rendered)
        .into_iter()
        .filter_map(|role| role["rules"].as_array().cloned());
    for rule in rules.flatten() {
        for group in words(&rule, "apiGroups") {
            for resource in words(&rule, "resources") {
                for verb in words(&rule, "verbs") {
                    rights.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    rights
}

fn pem(github: &GitHub) -> String {
    github.key().unwrap().pkcs1_pem().to_string()
}

/// The flags of the operator that the chart's Deployment has for these values, but for those that name files of the pod.
fn flags(values: &str) -> Vec<String> {
    let rendered = template(values, &["--show-only", "templates/deployment.yaml"]).unwrap();
    let rendered = crate::helm::objects(&rendered);
    let deployment = crate::helm::one(&rendered, "Deployment");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let flags = container["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|flag| flag.as_str().unwrap().to_owned());
    flags
        .filter(|flag| flag.starts_with("--") && !flag.contains("--log-"))
        .collect()
}

/// The webhook's manifests, calling this port of loopback: the lab's API server reaches no Services.
fn calling(manifests: &str, port: u16) -> String {
    let mut text = manifests.to_owned();
    for path in ["/inject", "/validate"] {
        let service = format!(
            "      service:\n        name: {NAME}-webhook\n        namespace: {NAME}\n        path: {path}\n        port: 443\n"
        );
        assert!(text.contains(&service), "{text}");
        text = text.replace(&service, &format!("      url: https://127.0.0.1:{port}{path}\n"));
    }
    text
}

#[tokio::test]
async fn the_charts_rights_are_all_that_the_operator_uses() {
    let values = "config: {app_id: 1, provider: secret, key: gh-app}";
    let world = World::start(values).await;
    world
        .put("TokenPolicy", None, "all", json!({"permissions": {"*": "write"}}))
        .await;
    world.drive_a_team().await;
    world
        .put(
            "ClusterToken",
            None,
            "shared",
            json!({"secret": {"namespace": ELSEWHERE}, "permissions": {"contents": "read"}}),
        )
        .await;
    world.ready("ClusterToken", None, "shared").await;
    world
        .cluster
        .kubectl(&["delete", "clustertoken", "shared"])
        .await
        .unwrap();
    world.gone(ELSEWHERE, "shared").await;
    eventually(SOON, "the policy has a status", async || {
        let status = world.status("TokenPolicy", None, "all").await;
        if status["selectedTokens"].is_number() {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
    assert_eq!(
        world.refusals().await,
        Vec::<String>::new(),
        "{}",
        world.operator.logs()
    );
    world.lists_managed_secrets_alone();
    let used = world.used();
    let idle: Vec<Right> = granted(values)
        .into_iter()
        .filter(|right| !used.contains(right))
        .collect();
    let seldom = [
        // An Event that is told again; and what clusters ask for that guard owner references.
        ("events.k8s.io", "events", "patch"),
        ("github.as-code.io", "clustertokens/finalizers", "update"),
        ("github.as-code.io", "tokens/finalizers", "update"),
    ];
    let seldom = seldom.map(|(group, resource, verb)| (group.into(), resource.into(), verb.into()));
    assert_eq!(idle, seldom, "rights that nothing needs");
}

#[tokio::test]
async fn kept_to_some_namespaces_it_works_there_and_has_no_rights_elsewhere() {
    let values =
        format!("config: {{app_id: 1, provider: secret, key: gh-app}}\nwatchNamespaces: [{TEAM}, kube-public]");
    let world = World::start(&values).await;
    world.put("Token", Some(ELSEWHERE), "unseen", json!({})).await;
    world
        .put(
            "ClusterToken",
            None,
            "unseen",
            json!({"secret": {"namespace": TEAM}, "permissions": {"contents": "read"}}),
        )
        .await;
    world
        .put("TokenPolicy", None, "all", json!({"permissions": {"*": "write"}}))
        .await;
    world.drive_a_team().await;
    assert!(world.status("Token", Some(ELSEWHERE), "unseen").await.is_null());
    assert!(world.status("ClusterToken", None, "unseen").await.is_null());
    assert_eq!(
        world.refusals().await,
        Vec::<String>::new(),
        "{}",
        world.operator.logs()
    );
    world.lists_managed_secrets_alone();
    let account = format!("--as=system:serviceaccount:{NAME}:{NAME}");
    for (verb, namespace) in [
        ("list", "--all-namespaces"),
        ("get", "--namespace=team-b"),
        ("create", "--namespace=team-b"),
    ] {
        let asked = world
            .cluster
            .kubectl(&["auth", "can-i", verb, "secrets", namespace, &account])
            .await;
        // kubectl ends with 1 where the answer is no.
        assert!(asked.is_err(), "{verb} {namespace}: {asked:?}");
    }
    let allowed = world
        .cluster
        .kubectl(&["auth", "can-i", "list", "secrets", "--namespace=team-a", &account])
        .await;
    assert_eq!(allowed.unwrap().trim(), "yes");
}
