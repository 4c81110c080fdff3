//! What Helm renders is what a real API server takes, and a pod of it keeps the strictest Pod Security level.

use serde_json::{Value, json};

use lab::cluster::Cluster;

use crate::helm::{CHART, NAME, helm, objects, one, template};

/// Values that people have, the former chart's among them.
const SETS: [(&str, &str); 7] = [
    ("the defaults", ""),
    (
        "the former chart's",
        "config: {app_id: 123456789, installation_id: 98765432, provider: aws, key: alias/github-token-manager}\n\
         commonLabels: {team: platform}\ncommonAnnotations: {owner: platform}\nnameOverride: ~\nfullnameOverride: ~\nnamespace: ~\n\
         crds: {install: true}\nrbac: {install: true, serviceAccount: {annotations: {eks.amazonaws.com/role-arn: 'arn:aws:iam::1:role/gtm'}}}\n\
         metrics: {enabled: true, service: {type: ClusterIP, ports: [{name: https, port: 8443, protocol: TCP, targetPort: https}]}}\n\
         deployment:\n  annotations: {a: b}\n  extraLabels: {c: d}\n  replicas: 1\n  tolerations: ~\n  nodeSelector: ~\n  hostNetwork: false\n\
         \x20 containers:\n    githubTokenManager: {image: {repository: example/gtm, tag: latest}, resources: {limits: {cpu: 500m, memory: 128Mi}}}\n\
         \x20   kubeRbacProxy: {image: {repository: example/proxy, tag: v1}}\n",
    ),
    (
        "the former chart's README's, and its first versions'",
        "config: {app_id: 12345, installation_id: 67890, provider: aws, key: alias/github-token-manager}\n\
         serviceAccount: {annotations: {eks.amazonaws.com/role-arn: 'arn:aws:iam::1:role/gtm'}}\n\
         service: {type: ClusterIP, ports: [{name: https, port: 8443, protocol: TCP, targetPort: https}]}\ndeployment: {hostNetwork: false}\n",
    ),
    (
        "a key in the values",
        "config:\n  app_id: 1\n  installation_id: 2\n  provider: file\n  key: |\n    -----BEGIN RSA PRIVATE KEY-----\n    none\n    -----END RSA PRIVATE KEY-----\n\
         caBundle: |\n  -----BEGIN CERTIFICATE-----\n  none\n  -----END CERTIFICATE-----\n\
         proxy: {httpsProxy: 'http://proxy:3128', noProxy: '.internal'}\n",
    ),
    (
        "some namespaces",
        "watchNamespaces: [default, kube-public]\nconfig: {app_id: 1, installation_id: 2, provider: secret, key: gh-app}\n",
    ),
    (
        "everything by hand",
        "configSecret: mine\nwebhook: {certSecret: tls, caBundle: \"-----BEGIN CERTIFICATE-----\", exemptNamespaces: [kube-system, vault]}\n\
         networkPolicy: {enabled: true, metricsFrom: [{namespaceSelector: {}}], extraEgress: [{ports: [{port: 8200}]}]}\n\
         metrics: {dashboard: {enabled: true}}\ndefaultPolicy: deny\nlogLevel: debug\nlogFormat: text\n\
         extraArgs: [--leader-elect=true]\nextraEnv: [{name: VAULT_ADDR, value: 'https://vault:8200'}]\nextraEnvFrom: [{secretRef: {name: v}}]\n\
         extraVolumes: [{name: tmp, emptyDir: {}}]\nextraVolumeMounts: [{name: tmp, mountPath: /tmp}]\n\
         deployment:\n  replicas: 3\n  priorityClassName: system-cluster-critical\n  imagePullSecrets: [{name: pull}]\n\
         \x20 podLabels: {azure.workload.identity/use: 'true', app.kubernetes.io/name: other}\n  podAnnotations: {e: f}\n  affinity: {podAntiAffinity: {}}\n\
         \x20 topologySpreadConstraints: [{topologyKey: zone, maxSkew: 1, whenUnsatisfiable: DoNotSchedule}]\n",
    ),
    (
        "as little as possible",
        "webhook: {enabled: false}\nmetrics: {enabled: false}\npodDisruptionBudget: {enabled: false}\ncrds: {install: false}\ndeployment: {replicas: 1}\n",
    ),
];

#[tokio::test]
async fn the_api_server_takes_whatever_is_rendered_and_the_pod_is_restricted() {
    let cluster = Cluster::builder().lease().await.unwrap();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME,
        "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    cluster.apply(&namespace.to_string()).await.unwrap();
    let check = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
    for (name, values) in SETS {
        let rendered = template(values, &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
        let answer = cluster.kubectl_with_input(&check, &rendered).await;
        answer.unwrap_or_else(|error| panic!("{name}: {error}\n{rendered}"));
        let pod = pod(&objects(&rendered));
        let answer = cluster.kubectl_with_input(&check, &pod.to_string()).await;
        answer.unwrap_or_else(|error| panic!("{name}: {error}\n{pod:#}"));
    }
}

/// The pod that the Deployment makes. Its priority class and account are there in a cluster of one's own.
fn pod(objects: &[Value]) -> Value {
    let mut pod = one(objects, "Deployment")["spec"]["template"].clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("operator");
    pod["metadata"]["namespace"] = json!(NAME);
    pod
}

#[test]
fn kinds_of_others_are_rendered_when_they_are_asked_for() {
    let values = "metrics: {serviceMonitor: {enabled: true, labels: {release: prometheus}}, podMonitor: {enabled: true}, prometheusRule: {enabled: true}}\n";
    let rendered = objects(&template(values, &[]).unwrap());
    let monitor = one(&rendered, "ServiceMonitor");
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    let services = rendered.iter().filter(|object| object["kind"] == "Service");
    let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
    let found = services.filter(|service| {
        wanted
            .iter()
            .all(|(label, value)| service["metadata"]["labels"][label] == *value)
    });
    let found: Vec<_> = found.collect();
    assert_eq!(found.len(), 1, "the monitor finds the one Service with metrics");
    assert_eq!(
        found[0]["spec"]["ports"][0]["name"],
        monitor["spec"]["endpoints"][0]["port"]
    );
    let container = &one(&rendered, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    let ports = container["ports"].as_array().unwrap();
    let pod_monitor = one(&rendered, "PodMonitor");
    let endpoint = &pod_monitor["spec"]["podMetricsEndpoints"][0];
    assert!(ports.iter().any(|known| known["name"] == endpoint["port"]));
    for endpoint in [endpoint, &monitor["spec"]["endpoints"][0]] {
        assert_eq!(endpoint["honorLabels"], true, "namespace is the Token's");
    }
    assert!(one(&rendered, "PrometheusRule")["spec"]["groups"].is_array());
}

#[test]
fn a_release_of_another_name_is_consistent_in_itself() {
    let values = "fullnameOverride: tokens\nnamespace: elsewhere\n";
    let rendered = objects(&template(values, &[]).unwrap());
    let hook = &one(&rendered, "MutatingWebhookConfiguration")["webhooks"][0]["clientConfig"]["service"];
    assert_eq!(
        (&hook["name"], &hook["namespace"]),
        (&json!("tokens-webhook"), &json!("elsewhere"))
    );
    let rights = one(&rendered, "ClusterRole");
    let patched = rights["rules"].as_array().unwrap().last().unwrap();
    assert_eq!(
        patched["resourceNames"],
        json!(["tokens"]),
        "it may write into its own configurations alone"
    );
    let account = one(&rendered, "ServiceAccount");
    for kind in ["ClusterRoleBinding", "RoleBinding"] {
        let subject = &one(&rendered, kind)["subjects"][0];
        assert_eq!(
            (&subject["name"], &subject["namespace"]),
            (&account["metadata"]["name"], &json!("elsewhere"))
        );
    }
}

#[test]
fn lists_and_maps_that_are_not_wanted_may_be_null() {
    let values =
        "config: null\nwebhook: {exemptNamespaces: null}\nwatchNamespaces: null\ndeployment: {podLabels: null}\n";
    let rendered = objects(&template(values, &[]).unwrap());
    let selector = &one(&rendered, "MutatingWebhookConfiguration")["webhooks"][0]["namespaceSelector"];
    assert_eq!(selector["matchExpressions"][0]["values"], json!([NAME]));
    assert!(rendered.iter().all(|object| object["kind"] != "Secret"), "{rendered:?}");
}

#[test]
fn the_job_before_an_uninstallation_runs_where_the_operator_may() {
    let node = "{requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: gtm, operator: Exists}]}]}}";
    let values = format!(
        "deployment: {{nodeSelector: {{kubernetes.io/arch: amd64}}, affinity: {{nodeAffinity: {node}, podAntiAffinity: {{}}}}}}"
    );
    let rendered = objects(&template(&values, &[]).unwrap());
    let pod = |kind| one(&rendered, kind)["spec"]["template"]["spec"].clone();
    let (operator, job) = (pod("Deployment"), pod("Job"));
    assert_eq!(
        job["nodeSelector"],
        json!({"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"})
    );
    assert_eq!(job["nodeSelector"], operator["nodeSelector"]);
    assert_eq!(job["affinity"]["nodeAffinity"], operator["affinity"]["nodeAffinity"]);
    assert!(job["affinity"]["podAntiAffinity"].is_null(), "{job}");
}

#[test]
fn the_configuration_is_what_the_operator_reads() {
    let large = "config: {app_id: 12345678901, installation_id: 98765432109, provider: vault, key: transit/gtm, allowed_keys: {team-a: ['transit/a-*']}}";
    let rendered = objects(&template(large, &["--show-only", "templates/config.yaml"]).unwrap());
    let text = one(&rendered, "Secret")["stringData"]["gtm.yaml"]
        .as_str()
        .unwrap()
        .to_owned();
    let read: Value = serde_saphyr::from_str(&text).unwrap();
    let wanted = json!({"app_id": 12_345_678_901_u64, "installation_id": 98_765_432_109_u64, "provider": "vault",
        "key": "transit/gtm", "allowed_keys": {"team-a": ["transit/a-*"]}});
    assert_eq!(read, wanted);
    let none = template("", &["--show-only", "templates/config.yaml"]).unwrap_err();
    assert!(
        none.contains("could not find template"),
        "without an App there is no Secret: {none}"
    );
}

#[tokio::test]
async fn any_name_of_a_release_gives_names_and_labels_that_kubernetes_takes() {
    let cluster = Cluster::builder().lease().await.unwrap();
    for namespace in ["12345", "123"] {
        cluster.kubectl(&["create", "namespace", namespace]).await.unwrap();
    }
    let numbers = ["--namespace", "12345", "--set-string", "watchNamespaces={123}"];
    let dashes = format!("{}--------x", "x".repeat(44));
    let whole = "fullnameOverride=123,configSecret=1e3,rbac.serviceAccount.name=1e3,webhook.certSecret=123";
    for (release, more) in [
        (&*"x".repeat(53), ""),
        (&*dashes, ""),
        ("github-token-manager.a.long-name.of.its.own.a.b", ""),
        ("123", ""),
        ("1e5", ""),
        ("on", ""),
        ("7up", ""),
        ("a.b.c", ""),
        ("x", whole),
    ] {
        let arguments = ["template", release, CHART, "--set-string", more];
        let rendered = helm(&[&arguments[..], &numbers].concat()).unwrap();
        let check = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
        let answer = cluster.kubectl_with_input(&check, &rendered).await;
        answer.unwrap_or_else(|error| panic!("{release} {more}: {error}"));
        for object in objects(&rendered) {
            let name = object["metadata"]["name"].as_str().unwrap();
            assert!(name.len() <= 63 || object["kind"] != "Service", "{name}");
            for labels in [
                "/metadata/labels",
                "/spec/selector",
                "/spec/selector/matchLabels",
                "/spec/template/metadata/labels",
            ] {
                let labels = object.pointer(labels).and_then(Value::as_object);
                let instance = labels.and_then(|labels| labels.get("app.kubernetes.io/instance"));
                assert!(
                    instance.is_none_or(|instance| instance == release),
                    "{name}: {instance:?}"
                );
            }
        }
    }
}

#[test]
fn no_limit_is_no_limit_however_yaml_reads_it() {
    for off in ["off", "'off'", "0", "false"] {
        let values =
            format!("config: {{app_id: 1, installation_id: 2, provider: secret, key: gh-app, rate_limit: {off}}}");
        let rendered = template(&values, &["--show-only", "templates/config.yaml"]).unwrap();
        assert!(rendered.contains("    rate_limit: \"off\"\n"), "{off}: {rendered}");
    }
}
