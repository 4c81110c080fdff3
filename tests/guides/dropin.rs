//! `docs/guides/coming-from-isometry.md`: from the published definitions of isometry/github-token-manager, what its chart makes and what
//! it leaves, to ours and back.

use std::collections::BTreeMap;
use std::path::Path;

use lab::cluster::Cluster;
use lab::github::TokenState;
use serde_json::{Value, json};

use crate::guide::Guide;
use crate::world::{INSTALLATION, World};

const CRDS: &str = "tests/fixtures/peer-crds/crds.yaml";
const CHART: &str = "tests/fixtures/peer-chart";
/// Its objects, for `kubectl`.
const MANIFESTS: &str =
    "helm template github-token-manager peer-chart -n github-token-manager -f peer.yaml > peer-manifests.yaml";
const ALL: &str =
    "kubectl get tokens.github.as-code.io,clustertokens.github.as-code.io,apps.github.as-code.io -A -o json";

/// What it leaves of one Token: the object, its Secret with a token that GitHub takes, and its status.
struct Left<'a> {
    kind: &'a str,
    /// `None` for a ClusterToken.
    namespace: Option<&'a str>,
    name: &'a str,
    spec: Value,
    /// Keys beside the token: `extraData`.
    extra: Value,
}

impl Left<'_> {
    fn get(&self) -> String {
        let namespace = self.namespace.map(|name| format!("-n {name} ")).unwrap_or_default();
        format!(
            "{namespace}{}.github.as-code.io {}",
            self.kind.to_lowercase(),
            self.name
        )
    }

    fn apply(&self, world: &World) {
        let mut secret = self.spec["secret"].clone();
        let object = json!({
            "apiVersion": "github.as-code.io/v1", "kind": self.kind,
            "metadata": {"name": self.name, "namespace": self.namespace}, "spec": self.spec});
        world.file("object.json", &object.to_string());
        world.sh("kubectl create -f object.json");
        let (token, expires_at) = mint(world, &self.spec);
        let uid = world.sh(&format!("kubectl get {} -o jsonpath='{{.metadata.uid}}'", self.get()));
        let basic = secret["basicAuth"] == true;
        let mut data = match basic {
            true => json!({"username": "x-access-token", "password": token}),
            false => json!({"token": token}),
        };
        for (key, value) in self.extra.as_object().into_iter().flatten() {
            data[key] = value.clone();
        }
        let namespace = self.namespace.map_or_else(|| secret["namespace"].clone(), Into::into);
        let name = secret["name"].as_str().unwrap_or(self.name).to_owned();
        let mut labels = secret["labels"].take();
        for (label, value) in [
            ("name", self.kind),
            ("instance", self.name),
            ("part-of", "github-token-manager"),
            ("created-by", "github-token-manager"),
        ] {
            labels[format!("app.kubernetes.io/{label}")] = value.into();
        }
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "type": if basic { "github.as-code.io/basic-auth" } else { "github.as-code.io/token" },
            "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": secret["annotations"],
                "ownerReferences": [{"apiVersion": "github.as-code.io/v1", "kind": self.kind, "name": self.name, "uid": uid,
                    "controller": true, "blockOwnerDeletion": true}]},
            "stringData": data});
        world.file("object.json", &object.to_string());
        world.sh("kubectl create --field-manager=manager -f object.json");
        let now = world.github.now().to_string();
        let status = json!({"status": {
            "managedSecret": {"namespace": namespace, "name": name, "basicAuth": basic},
            "installationAccessToken": {"updatedAt": now, "expiresAt": expires_at},
            "conditions": [{"type": "Ready", "status": "True", "reason": "Reconciled", "message": "Reconciled", "lastTransitionTime": now}]}});
        world.sh(&format!(
            "kubectl patch {} --subresource=status --type=merge -p '{status}'",
            self.get()
        ));
    }
}

/// A token of the App with what the spec asks for, and when it expires.
fn mint(world: &World, spec: &Value) -> (String, String) {
    let mut scope = json!({});
    for (field, name) in [("permissions", "permissions"), ("repositories", "repositories")] {
        if !spec[field].is_null() {
            scope[name] = spec[field].clone();
        }
    }
    let jwt = world.github.jwt().expect("a JWT");
    let answer = world.sh(&format!(
        "curl -fsS -H 'Authorization: Bearer {jwt}' -H 'User-Agent: peer' -d '{scope}' {}/app/installations/{INSTALLATION}/access_tokens",
        world.github.url()
    ));
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let text = |name: &str| answer[name].as_str().expect("a text").to_owned();
    (text("token"), text("expires_at"))
}

fn items(world: &World, get: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(&world.sh(get)).expect("JSON");
    list["items"].as_array().expect("items").clone()
}

/// Every managed Secret: place -> what must stay.
fn secrets(world: &World) -> BTreeMap<String, Value> {
    let get = "kubectl get secrets -A -l app.kubernetes.io/created-by=github-token-manager -o json";
    let all = items(world, get).into_iter().map(|secret| {
        let meta = &secret["metadata"];
        let place = format!("{}/{}", meta["namespace"], meta["name"]);
        let kept = json!({"uid": meta["uid"], "owners": meta["ownerReferences"], "type": secret["type"], "data": secret["data"]});
        (place, kept)
    });
    all.collect()
}

/// Every object of the group: kind and name -> what its author wrote.
fn specs(world: &World) -> BTreeMap<String, Value> {
    let all = items(world, ALL).into_iter().map(|object| {
        let meta = &object["metadata"];
        let kept = json!({"spec": object["spec"], "uid": meta["uid"], "generation": meta["generation"], "labels": meta["labels"]});
        (format!("{} {}", object["kind"], meta["name"]), kept)
    });
    all.collect()
}

/// How it was installed, and how it becomes ours and itself again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Its manifests were applied.
    Manifests,
    /// Its chart, which has the definitions among its templates.
    Helm,
}

impl Way {
    fn install(self, world: &World) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        world.helm();
        let mut crds = std::fs::read_to_string(root.join(CRDS)).expect(CRDS);
        if self == Way::Manifests {
            crds = crds
                .lines()
                .filter(|line| !line.contains("meta.helm.sh/"))
                .map(|line| format!("{line}\n"))
                .collect();
        }
        world.file("crds.yaml", &crds);
        let values = json!({
            "config": {"app_id": 1234, "installation_id": INSTALLATION, "provider": "file",
                "key": world.github.key().expect("a key").pkcs1_pem()},
            "deployment": {"replicas": 1, "containers": {"githubTokenManager": {"image": {"tag": "v1.2.3"}}}},
            "serviceAccount": {"annotations": {"example.com/role": "gtm"}},
        });
        world.file("peer.yaml", &values.to_string());
        world.sh(&format!(
            "cp -r {} peer-chart && kubectl create namespace github-token-manager",
            root.join(CHART).display()
        ));
        match self {
            Way::Manifests => {
                world.sh("kubectl create -f crds.yaml");
                world.sh(&format!(
                    "{MANIFESTS} && kubectl -n github-token-manager create -f peer-manifests.yaml"
                ));
            }
            Way::Helm => {
                world.sh("cp crds.yaml peer-chart/templates/");
                world.sh("helm install github-token-manager peer-chart -n github-token-manager -f peer.yaml");
            }
        }
        world.sh("kubectl wait --for=condition=Established --timeout=30s -f crds.yaml");
    }

    fn over(self, world: &World, guide: &Guide) {
        world.follow(match self {
            Way::Manifests => guide.block("helm install"),
            Way::Helm => guide.block("helm upgrade"),
        });
        if self == Way::Helm {
            // A value that was given to its release.
            let account = "kubectl -n github-token-manager get serviceaccount github-token-manager -o jsonpath='{.metadata.annotations}'";
            assert!(world.sh(account).contains(r#""example.com/role":"gtm""#));
        }
        world.sh("kubectl wait crd --all --for=condition=Established --timeout=30s");
        world.sh("kubectl get crd tokens.github.as-code.io -o yaml | grep revokePreviousAfter");
        assert_eq!(
            image(world),
            concat!("REGISTRY/github-token-manager:", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(webhooks(world).len(), 2);
    }

    fn back(self, world: &World, guide: &Guide) {
        world.follow(guide.block("gtm release"));
        match self {
            Way::Manifests => {
                world.follow(guide.block("helm uninstall"));
                world
                    .sh("kubectl replace -f crds.yaml && kubectl -n github-token-manager apply -f peer-manifests.yaml");
            }
            Way::Helm => drop(world.follow(guide.block("helm rollback"))),
        }
        world.sh("kubectl wait --for=condition=Established --timeout=30s -f crds.yaml");
        world.follow(guide.block("delete crd tokenpolicies"));
        assert_eq!(image(world), "ghcr.io/isometry/github-token-manager:v1.2.3");
        // One that stayed would hold up pods for an operator that is not there.
        assert_eq!(webhooks(world), Vec::<String>::new());
    }
}

/// The image of the one operator that there is.
fn image(world: &World) -> String {
    let images = "jsonpath={.items[*].spec.template.spec.containers[*].image}";
    world.sh(&format!(
        "kubectl -n github-token-manager get deployments -o '{images}'"
    ))
}

fn webhooks(world: &World) -> Vec<String> {
    let all = world.sh("kubectl get mutatingwebhookconfigurations,validatingwebhookconfigurations -o name");
    all.lines().map(str::to_owned).collect()
}

/// What it leaves.
fn leave(world: &World) {
    world.sh("kubectl create namespace team-a && kubectl create namespace flux-system");
    world.sh("kubectl -n team-a create secret generic team-app --from-file=private-key.pem");
    world.sh("kubectl -n team-a create secret generic unrelated --from-literal=token=mine");
    let app = json!({"apiVersion": "github.as-code.io/v1", "kind": "App", "metadata": {"name": "team-app", "namespace": "team-a"},
        "spec": {"appID": 1234, "installationID": INSTALLATION, "provider": "secret", "keyRef": {"name": "team-app"}, "validateKey": true}});
    world.file("object.json", &app.to_string());
    world.sh("kubectl create -f object.json");
    let token = |namespace, name, spec, extra| Left {
        kind: "Token",
        namespace,
        name,
        spec,
        extra,
    };
    let all = [
        token(
            Some("team-a"),
            "plain",
            json!({"permissions": {"contents": "read"}}),
            json!({}),
        ),
        token(Some("team-a"), "everything", json!({}), json!({})),
        token(
            Some("flux-system"),
            "github-token",
            json!({"permissions": {"contents": "write", "workflows": "write"}, "repositories": ["fleet", "web"],
                "secret": {"basicAuth": true, "labels": {"team": "a"}, "annotations": {"note": "yes"}}}),
            json!({}),
        ),
        token(
            Some("team-a"),
            "of-the-team",
            json!({"appRef": {"name": "team-app"}, "refreshInterval": "10m", "retryInterval": "1m", "installationID": 0,
                "secret": {"name": "other-name"}}),
            json!({}),
        ),
        token(
            Some("team-a"),
            "extra",
            json!({"secret": {"extraData": [{"inline": {"url": "https://github.com"}}, {"configMap": {"name": "ca", "keys": ["ca.crt"]}}]}}),
            json!({"url": "https://github.com", "ca.crt": "certificate"}),
        ),
        Left {
            kind: "ClusterToken",
            namespace: None,
            name: "shared",
            spec: json!({"permissions": {"statuses": "write"}, "secret": {"namespace": "flux-system", "name": "status"}}),
            extra: json!({}),
        },
    ];
    for left in all {
        left.apply(world);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_leaves_is_taken_over_and_given_back_without_a_mint_or_an_edit() {
    there_and_back(Way::Manifests).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_of_its_chart_is_upgraded_to_ours_and_rolled_back() {
    there_and_back(Way::Helm).await;
}

async fn there_and_back(way: Way) {
    let guide = Guide::read("coming-from-isometry.md");
    let world = World::with(Cluster::builder(), |settings| settings).await;
    way.install(&world);
    leave(&world);
    let (secrets_before, specs_before, mints) = (secrets(&world), specs(&world), world.github.mint_count());
    assert_eq!((secrets_before.len(), specs_before.len(), mints), (6, 7, 6));

    let configuration = world.secret("github-token-manager", "gtm-config", "gtm.yaml");
    way.over(&world, &guide);
    let operator = world.operator().await;
    world.follow(guide.block("kubectl wait tokens.github.as-code.io --all"));
    assert_eq!(secrets(&world), secrets_before);
    assert_eq!(specs(&world), specs_before);
    assert_eq!(world.github.mint_count(), mints, "no token is issued for it");
    the_author_can_edit_every_object(&world);

    // Its time comes: one is replaced, in the same Secret, and what is beside the token stays.
    world.sh("kubectl -n team-a annotate token extra github.as-code.io/refresh-requested-at=now");
    lab::wait::eventually(crate::world::SOON, "a new token", async || {
        let (now, count) = (world.secret("team-a", "extra", "token"), world.github.mint_count());
        let good = matches!(world.github.token_state(&now), TokenState::Valid { .. });
        (good && count == mints + 1).then_some(()).ok_or(count)
    })
    .await;
    world.ready("-n team-a token extra");
    assert_eq!(world.secret("team-a", "extra", "ca.crt"), "certificate");
    assert_eq!(world.secret("team-a", "extra", "url"), "https://github.com");
    assert_eq!(world.secret("team-a", "unrelated", "token"), "mine");

    let given_back = secrets(&world);
    drop(operator);
    way.back(&world, &guide);
    assert_eq!(secrets(&world), given_back);
    assert_eq!(specs(&world), specs_before);
    the_author_can_edit_every_object(&world);
    its_operator_finds_what_it_needs(&world);
    assert_eq!(
        world.secret("github-token-manager", "gtm-config", "gtm.yaml"),
        configuration
    );

    // And over once more: nothing is issued for that either.
    way.over(&world, &guide);
    let _operator = world.operator().await;
    world.follow(guide.block("kubectl wait tokens.github.as-code.io --all"));
    assert_eq!(secrets(&world), given_back);
    assert_eq!(world.github.mint_count(), mints + 1);
}

/// Whatever is stored is valid under the definitions in force, spec and status.
#[track_caller]
fn the_author_can_edit_every_object(world: &World) {
    for object in items(world, ALL) {
        world.file("object.json", &object.to_string());
        world.sh("kubectl replace --dry-run=server -f object.json");
        world.sh("kubectl replace --dry-run=server --subresource=status -f object.json");
    }
}

/// It deletes a Secret that its status names and its spec does not, and one without its owner reference it does not touch.
fn its_operator_finds_what_it_needs(world: &World) {
    for object in items(world, ALL).into_iter().filter(|object| object["kind"] != "App") {
        let (status, spec, meta) = (&object["status"], &object["spec"], &object["metadata"]);
        let name = spec["secret"]["name"].as_str().or(meta["name"].as_str());
        let namespace = spec["secret"]["namespace"].as_str().or(meta["namespace"].as_str());
        let basic = spec["secret"]["basicAuth"].as_bool().unwrap_or(false);
        let managed = json!({"namespace": namespace, "name": name, "basicAuth": basic});
        assert_eq!(status["managedSecret"], managed, "{object}");
        assert!(status["installationAccessToken"]["expiresAt"].is_string(), "{object}");
        let (name, namespace) = (name.expect("a name"), namespace.expect("a namespace"));
        let secret = world.sh(&format!("kubectl -n {namespace} get secret {name} -o json"));
        let secret: Value = serde_json::from_str(&secret).expect("JSON");
        assert!(secret["metadata"]["finalizers"].is_null(), "{namespace}/{name}");
        let owner = &secret["metadata"]["ownerReferences"][0];
        assert_eq!((&owner["uid"], &owner["controller"]), (&meta["uid"], &json!(true)));
    }
}
