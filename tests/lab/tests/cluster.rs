//! The lab's own cluster, for real: what the tests of the operator rely on.

use std::{path::Path, time::Duration};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, PostParams},
};
use lab::{
    cluster::{self, Cluster},
    error::Error,
    wait::eventually,
};

const SOON: Duration = Duration::from_secs(60);

fn config_map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.into()),
            ..ObjectMeta::default()
        },
        data: Some([("key".into(), "value".into())].into()),
        ..ConfigMap::default()
    }
}

fn alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn what_was_written_survives_a_restart_of_the_api_server_and_nothing_survives_the_drop() {
    let cluster = Cluster::start().await.unwrap();
    let namespace = cluster.namespace("kept").await.unwrap();
    let client = cluster.client().await.unwrap();
    let objects = Api::<ConfigMap>::namespaced(client, &namespace);
    objects
        .create(&PostParams::default(), &config_map("one"))
        .await
        .unwrap();

    let before = cluster.apiserver_pid().unwrap();
    cluster.stop_api_server();
    assert!(!alive(before));
    assert_eq!(cluster.apiserver_pid(), None);
    objects.get("one").await.unwrap_err();

    cluster.start_api_server().await.unwrap();
    assert_ne!(cluster.apiserver_pid().unwrap(), before);
    let found = objects.get("one").await.unwrap();
    assert_eq!(found.data.unwrap()["key"], "value");

    let (pids, folder) = (cluster.pids(), cluster.folder().to_owned());
    assert!(pids.len() == 2 && pids.iter().copied().all(alive));
    drop(cluster);
    assert!(!pids.into_iter().any(alive) && !folder.exists());
}

#[tokio::test]
async fn an_api_server_that_cannot_start_is_reported_with_its_log() {
    let start = Cluster::builder().with_api_server_arg("--no-such-flag").start();
    let error = start.await.unwrap_err();
    assert!(matches!(error, Error::Exited { .. }), "{error}");
    assert!(error.to_string().contains("unknown flag: --no-such-flag"), "{error}");
}

#[tokio::test]
async fn a_deleted_namespace_goes_with_all_that_is_in_it() {
    let cluster = Cluster::shared().await.unwrap();
    let name = cluster.namespace("gone").await.unwrap();
    let client = cluster.client().await.unwrap();
    Api::<ConfigMap>::namespaced(client.clone(), &name)
        .create(&PostParams::default(), &config_map("inside"))
        .await
        .unwrap();
    let namespaces = Api::<Namespace>::all(client);
    namespaces.delete(&name, &DeleteParams::default()).await.unwrap();
    eventually(SOON, "the namespace is gone", async || {
        match namespaces.get_opt(&name).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

const CRD: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boxes.lab.example}
spec:
  group: lab.example
  scope: Namespaced
  names: {kind: Box, plural: boxes, singular: box}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"#;

#[tokio::test]
async fn an_object_is_collected_with_its_owner_of_a_custom_kind() {
    let builder = Cluster::builder().with_crds(CRD).with_controller_manager();
    let cluster = builder.start().await.unwrap();
    let namespace = cluster.namespace("owned").await.unwrap();
    let owner = format!("{{apiVersion: lab.example/v1, kind: Box, metadata: {{name: owner, namespace: {namespace}}}}}");
    cluster.apply(&owner).await.unwrap();
    let args = [
        "get",
        "box",
        "owner",
        "-n",
        &namespace,
        "-o",
        "jsonpath={.metadata.uid}",
    ];
    let uid = cluster.kubectl(&args).await.unwrap();
    let owned = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: owned\n  namespace: {namespace}\n  ownerReferences:\n  \
         - {{apiVersion: lab.example/v1, kind: Box, name: owner, uid: {uid}}}"
    );
    cluster.apply(&owned).await.unwrap();
    cluster
        .kubectl(&["delete", "box", "owner", "-n", &namespace])
        .await
        .unwrap();

    let objects = Api::<ConfigMap>::namespaced(cluster.client().await.unwrap(), &namespace);
    eventually(SOON, "the owned object is gone", async || {
        match objects.get_opt("owned").await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn the_audit_log_counts_the_writes_of_each_user() {
    let cluster = Cluster::shared().await.unwrap();
    let namespace = cluster.namespace("counted").await.unwrap();
    let account = cluster.service_account(&namespace, "writer").await.unwrap();
    let user = format!("system:serviceaccount:{namespace}:writer");
    let bind = [
        "create",
        "rolebinding",
        "writer",
        "--clusterrole=edit",
        "-n",
        &namespace,
    ];
    let who = format!("--serviceaccount={namespace}:writer");
    cluster.kubectl(&[&bind[..], &[&who]].concat()).await.unwrap();
    let writer = cluster::client(&account).await.unwrap();
    let objects = Api::<ConfigMap>::namespaced(writer, &namespace);
    // A role binding takes effect when the API server's own watch has seen it.
    eventually(SOON, "the role binding", async || objects.get_opt("one").await).await;

    let log = cluster.audit_log().unwrap();
    let params = PostParams::default();
    objects.create(&params, &config_map("one")).await.unwrap();
    objects.create(&params, &config_map("two")).await.unwrap();
    objects.delete("one", &DeleteParams::default()).await.unwrap();
    objects.get("two").await.unwrap();
    let admin = cluster.client().await.unwrap();
    log.settle(&admin).await.unwrap();

    let writes = log.writes(|event| event.user == user).unwrap();
    let counts: Vec<_> = writes
        .iter()
        .map(|(write, count)| (write.resource.as_str(), write.verb.as_str(), *count))
        .collect();
    assert_eq!(counts, [("configmaps", "create", 2), ("configmaps", "delete", 1)]);
}

#[tokio::test]
async fn a_user_without_rights_is_refused() {
    let cluster = Cluster::shared().await.unwrap();
    let kubeconfig = cluster.kubeconfig_for("somebody", &["lab:readers"]).unwrap();
    let nobody = cluster::client(&kubeconfig).await.unwrap();
    let error = Api::<ConfigMap>::namespaced(nobody, "default")
        .get("one")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("\"somebody\" cannot get resource"),
        "{error}"
    );
}

#[tokio::test]
async fn what_kubectl_says_is_in_the_error() {
    let cluster = Cluster::shared().await.unwrap();
    let error = cluster.kubectl(&["get", "namespace", "nowhere"]).await.unwrap_err();
    assert!(
        error.to_string().contains("namespaces \"nowhere\" not found"),
        "{error}"
    );
}

/// A cluster that no other test asks for.
fn pooled() -> cluster::Builder {
    Cluster::builder()
        .with_crds(CRD)
        .with_api_server_arg("--max-mutating-requests-inflight=201")
}

#[tokio::test]
async fn a_cluster_that_is_given_back_is_the_next_ones_and_holds_nothing_of_the_last() {
    let first = pooled().lease().await.unwrap();
    let pid = first.apiserver_pid();
    let boxed = "{apiVersion: lab.example/v1, kind: Box, metadata: {name: left, namespace: default}}";
    first.apply(boxed).await.unwrap();
    first.namespace("left").await.unwrap();
    first
        .kubectl(&["label", "namespace", "default", "left=here"])
        .await
        .unwrap();
    first.kubectl(&["delete", "clusterrole", "view"]).await.unwrap();
    drop(first);

    let second = pooled().lease().await.unwrap();
    assert_eq!(second.apiserver_pid(), pid, "the same API server");
    eventually(SOON, "nothing of the last test is there", async || {
        let get = async |args: &[&str]| second.kubectl(args).await.map_err(|error| error.to_string());
        let boxes = get(&["get", "boxes", "-A", "-o", "name"]).await?;
        let labelled = get(&["get", "namespace", "-l", "left", "-o", "name"]).await?;
        let namespaces = get(&["get", "namespace", "-o", "name"]).await?;
        get(&["get", "clusterrole", "view"]).await?;
        let left = namespaces.contains("/left");
        if boxes.is_empty() && labelled.is_empty() && !left {
            Ok(())
        } else {
            Err(format!("{boxes}{labelled}{namespaces}"))
        }
    })
    .await;
    second.apply(boxed).await.unwrap();

    second.stop_api_server();
    drop(second);
    let third = pooled().lease().await.unwrap();
    assert_ne!(third.apiserver_pid(), pid, "one whose API server is down is nobody's");
    third.kubectl(&["delete", "crd", "boxes.lab.example"]).await.unwrap();
    let pid = third.apiserver_pid();
    drop(third);
    let fourth = pooled().lease().await.unwrap();
    assert_ne!(fourth.apiserver_pid(), pid, "nor one whose kinds were changed");
}
