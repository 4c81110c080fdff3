//! Each value takes effect: what it becomes, and where.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::helm::{objects, one, read, template};

const POD: &str = "/spec/template/spec";

/// A value, the kind of object that it is about, the place there, and what (JSON) it puts there and the defaults do not. A place that
/// begins with `:` is below the pod's specification, one with `.` below its container.
const PLACED: &str = r#"
deployment: {replicas: 3} | Deployment | /spec/replicas | 3
deployment: {annotations: {a: b}} | Deployment | /metadata/annotations/a | "b"
deployment: {extraLabels: {a: b}} | Deployment | /metadata/labels/a | "b"
deployment: {podAnnotations: {a: b}} | Deployment | /spec/template/metadata/annotations/a | "b"
deployment: {podLabels: {a: b}} | Deployment | /spec/template/metadata/labels/a | "b"
deployment: {priorityClassName: high} | Deployment | :/priorityClassName | "high"
deployment: {hostNetwork: true} | Deployment | :/hostNetwork | true
deployment: {hostNetwork: true} | Deployment | :/dnsPolicy | "ClusterFirstWithHostNet"
deployment: {hostNetwork: true} | Deployment | /spec/strategy/rollingUpdate | {"maxUnavailable": 1, "maxSurge": 0}
deployment: {podLabels: {a: b}} | Job | /spec/template/metadata/labels/a | "b"
deployment: {terminationGracePeriodSeconds: 60} | Deployment | :/terminationGracePeriodSeconds | 60
deployment: {imagePullSecrets: [{name: pull}]} | Deployment | :/imagePullSecrets | [{"name": "pull"}]
deployment: {imagePullSecrets: [{name: pull}]} | Job | :/imagePullSecrets | [{"name": "pull"}]
deployment: {tolerations: [{key: gtm}]} | Deployment | :/tolerations | [{"key": "gtm"}]
deployment: {tolerations: [{key: gtm}]} | Job | :/tolerations | [{"key": "gtm"}]
deployment: {nodeSelector: {disk: ssd}} | Deployment | :/nodeSelector/disk | "ssd"
deployment: {affinity: {podAffinity: {}}} | Deployment | :/affinity | {"podAffinity": {}}
deployment: {topologySpreadConstraints: [{topologyKey: rack}]} | Deployment | :/topologySpreadConstraints | [{"topologyKey": "rack"}]
deployment: {containers: {githubTokenManager: {image: {repository: r, tag: t}}}} | Deployment | ./image | "r:t"
deployment: {containers: {githubTokenManager: {image: {repository: r, tag: t}}}} | Job | ./image | "r:t"
deployment: {containers: {githubTokenManager: {image: {pullPolicy: Always}}}} | Deployment | ./imagePullPolicy | "Always"
deployment: {containers: {githubTokenManager: {image: {pullPolicy: Always}}}} | Job | ./imagePullPolicy | "Always"
deployment: {containers: {githubTokenManager: {resources: {limits: {memory: 1Gi}}}}} | Deployment | ./resources/limits/memory | "1Gi"
deployment: {containers: {githubTokenManager: {resources: {limits: {memory: 1Gi}}}}} | Job | ./resources/limits/memory | "1Gi"
podDisruptionBudget: {maxUnavailable: 0} | PodDisruptionBudget | /spec/maxUnavailable | 0
podDisruptionBudget: {maxUnavailable: 50%} | PodDisruptionBudget | /spec/maxUnavailable | "50%"
rbac: {serviceAccount: {name: other}} | ServiceAccount | /metadata/name | "other"
rbac: {serviceAccount: {name: other}} | Deployment | :/serviceAccountName | "other"
rbac: {serviceAccount: {name: other}} | Job | :/serviceAccountName | "other"
rbac: {serviceAccount: {annotations: {a: b}}} | ServiceAccount | /metadata/annotations | {"a": "b"}
rbac: {serviceAccount: {annotations: {a: '{{ .Release.Namespace }}'}}} | ServiceAccount | /metadata/annotations/a | "github-token-manager"
serviceAccount: {annotations: {a: b}} | ServiceAccount | /metadata/annotations | {"a": "b"}
{serviceAccount: {annotations: {a: b}}, rbac: {serviceAccount: {annotations: {a: c}}}} | ServiceAccount | /metadata/annotations/a | "c"
proxy: {httpProxy: 'http://p'} | Deployment | ./env/1 | {"name": "HTTP_PROXY", "value": "http://p"}
proxy: {httpsProxy: 'http://p'} | Deployment | ./env/1 | {"name": "HTTPS_PROXY", "value": "http://p"}
proxy: {noProxy: .internal} | Deployment | ./env/1 | {"name": "NO_PROXY", "value": ".internal"}
extraEnv: [{name: A, value: b}] | Deployment | ./env/1 | {"name": "A", "value": "b"}
{proxy: {httpsProxy: 'http://p', noProxy: a}, extraEnv: [{name: HTTPS_PROXY, value: 'http://q'}]} | Deployment | ./env/1 | {"name": "NO_PROXY", "value": "a"}
{proxy: {httpsProxy: 'http://p', noProxy: a}, extraEnv: [{name: HTTPS_PROXY, value: 'http://q'}]} | Deployment | ./env/2 | {"name": "HTTPS_PROXY", "value": "http://q"}
extraEnvFrom: [{secretRef: {name: a}}] | Deployment | ./envFrom | [{"secretRef": {"name": "a"}}]
extraVolumes: [{name: a, emptyDir: {}}] | Deployment | :/volumes/1 | {"name": "a", "emptyDir": {}}
extraVolumeMounts: [{name: a, mountPath: /a}] | Deployment | ./volumeMounts/1 | {"name": "a", "mountPath": "/a"}
extraArgs: [--leader-elect=false] | Deployment | ./args/4 | "--leader-elect=false"
watchNamespaces: [a, b] | Deployment | ./args/4 | "--watch-namespaces=a,b"
watchNamespaces: [a, b] | Job | ./args/1 | "--watch-namespaces=a,b"
defaultPolicy: deny | Deployment | ./args/1 | "--default-policy=deny"
logFormat: text | Deployment | ./args/2 | "--log-format=text"
logLevel: debug | Deployment | ./args/3 | "--log-level=debug"
metrics: {enabled: false} | Deployment | ./args/4 | "--metrics-bind-address=0"
webhook: {enabled: false} | Deployment | ./args/4 | "--webhook-bind-address=0"
webhook: {certSecret: tls} | Deployment | :/volumes/1/secret/secretName | "tls"
webhook: {timeoutSeconds: 9} | MutatingWebhookConfiguration | /webhooks/0/timeoutSeconds | 9
webhook: {timeoutSeconds: 9} | ValidatingWebhookConfiguration | /webhooks/0/timeoutSeconds | 9
webhook: {exemptNamespaces: []} | MutatingWebhookConfiguration | /webhooks/0/namespaceSelector/matchExpressions/0/values | ["github-token-manager"]
configSecret: mine | Deployment | :/volumes/0/secret/secretName | "mine"
caBundle: -----BEGIN CERTIFICATE----- | ConfigMap | /data/ca.crt | "-----BEGIN CERTIFICATE-----\n"
caBundle: -----BEGIN CERTIFICATE----- | Deployment | ./env/1 | {"name": "GTM_CA_BUNDLE", "value": "/ca/ca.crt"}
{webhook: {enabled: false}, metrics: {service: {type: NodePort}}} | Service | /spec/type | "NodePort"
{webhook: {enabled: false}, service: {type: NodePort}} | Service | /spec/type | "NodePort"
{webhook: {enabled: false}, service: {ports: [{name: https, port: 8443, targetPort: https}]}} | Service | /spec/ports | [{"name": "https", "port": 8443, "targetPort": "metrics"}]
metrics: {serviceMonitor: {enabled: true, interval: 5s, labels: {a: b}}} | ServiceMonitor | /spec/endpoints/0/interval | "5s"
metrics: {podMonitor: {enabled: true, interval: 5s, labels: {a: b}}} | PodMonitor | /spec/podMetricsEndpoints/0/interval | "5s"
"#;

#[test]
fn each_value_takes_effect() {
    let default = objects(&template("", &[]).unwrap());
    let mut known = BTreeMap::new();
    for row in PLACED.trim().lines() {
        let [values, kind, place, expected] = row.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        let place = match place.split_at(1) {
            (":", rest) => format!("{POD}{rest}"),
            (".", rest) => format!("{POD}/containers/0{rest}"),
            _ => place.to_owned(),
        };
        let expected: Value = serde_json::from_str(expected).unwrap();
        let rendered = known.entry(values).or_insert_with(|| {
            let rendered = template(values, &[]).unwrap_or_else(|error| panic!("{values}: {error}"));
            objects(&rendered)
        });
        let object = one(rendered, kind);
        assert_eq!(object.pointer(&place), Some(&expected), "{values}: {kind} {place}");
        let mut before = default.iter().filter(|object| object["kind"] == kind);
        assert!(
            before.all(|object| object.pointer(&place) != Some(&expected)),
            "{values}: {kind} {place} is that by default"
        );
    }
}

#[test]
fn common_labels_and_annotations_are_on_every_object() {
    let values = "{commonLabels: {team: platform}, commonAnnotations: {owner: me}, watchNamespaces: [a],
        metrics: {serviceMonitor: {enabled: true}, podMonitor: {enabled: true}, prometheusRule: {enabled: true}, dashboard: {enabled: true}},
        networkPolicy: {enabled: true}, caBundle: -----BEGIN CERTIFICATE-----, config: {app_id: 1}, webhook: {certManager: {enabled: true}}}";
    let all = objects(&template(values, &[]).unwrap());
    assert!(all.len() > 20, "{}", all.len());
    for object in all {
        let meta = &object["metadata"];
        let found = (&meta["labels"]["team"], &meta["annotations"]["owner"]);
        assert!(found.0 == "platform" && found.1 == "me", "{meta}");
    }
}

#[test]
fn alerts_and_dashboard_are_those_of_the_files() {
    let values = "metrics: {prometheusRule: {enabled: true}, dashboard: {enabled: true}}";
    let rendered = objects(&template(values, &[]).unwrap());
    let file = |name: &str| read(&format!("charts/github-token-manager/files/{name}"));
    let alerts: Value = serde_saphyr::from_str(&file("alerts.yaml")).unwrap();
    assert_eq!(one(&rendered, "PrometheusRule")["spec"], alerts);
    let dashboard = one(&rendered, "ConfigMap")["data"]["github-token-manager.json"].clone();
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(parsed(dashboard.as_str().unwrap()), parsed(&file("dashboard.json")));
}
