//! What the node's parts are told: their configuration files and kubeconfigs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{ADDRESS, CONTAINERD, NODE, POD_RANGE, STATE, cgroups, image, needs};
use crate::{
    error::{During, Error},
    github::Settings,
};

/// How often the kubelet looks at its pods' volumes; 1m where nobody says otherwise.
pub const SYNC: &str = "1s";

/// The users with a kubeconfig, each with the certificate of its name.
const USERS: [&str; 5] = ["admin", "controllers", "scheduler", "proxy", "kubelet"];

/// The kernel's settings that the kubelet wants, and would otherwise set for the whole machine: it is shown files that hold them
/// already (`setupKernelTunables` of kubelet's pkg/kubelet/cm).
pub(super) const SYSCTLS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

pub(super) fn kubeconfig_path(folder: &Path, user: &str) -> PathBuf {
    folder.join(format!("pki/{user}.kubeconfig"))
}

/// The file that stands for a kernel setting.
pub(super) fn sysctl_path(folder: &Path, name: &str) -> PathBuf {
    folder.join("settings/sysctl").join(name.replace('/', "-"))
}

/// Writes all of them.
pub(super) fn write(node: &str, folder: &Path) -> Result<(), Error> {
    let save = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).during(|| format!("write {}", path.display()))
    };
    for user in USERS {
        save(&format!("pki/{user}.kubeconfig"), kubeconfig(folder, user).to_string())?;
    }
    for (name, value) in SYSCTLS {
        let path = sysctl_path(folder, name);
        fs::write(&path, value).during(|| format!("write {}", path.display()))?;
    }
    save("settings/containerd.toml", containerd(folder))?;
    save("settings/cni/10-node.conflist", network().to_string())?;
    write_kubelet(node, folder, SYNC)?;
    save("settings/proxy.json", proxy(folder).to_string())?;
    save("settings/resolv.conf", format!("nameserver {ADDRESS}\n"))?;
    let github = serde_json::to_string(&github()).map_err(|error| Error::Usage(error.to_string()))?;
    save("settings/github.json", github)
}

/// Writes the kubelet's alone. `sync`: how often it looks at its pods' volumes.
pub(super) fn write_kubelet(node: &str, folder: &Path, sync: &str) -> Result<(), Error> {
    let path = folder.join("settings/kubelet.json");
    let text = kubelet(node, folder, sync).to_string();
    fs::write(&path, text).during(|| format!("write {}", path.display()))
}

/// The stand-in, where pods find it as github.com.
fn github() -> Settings {
    Settings {
        listen: ([198, 18, 0, 1], 443).into(),
        tls: true,
        ..Settings::default()
    }
}

fn kubeconfig(folder: &Path, user: &str) -> Value {
    let pki = folder.join("pki");
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "node", "cluster": {
            "server": format!("https://{ADDRESS}:6443"),
            "certificate-authority": pki.join("ca.crt"),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate": pki.join(format!("{user}.crt")),
            "client-key": pki.join(format!("{user}.key")),
        }}],
        "contexts": [{"name": "node", "context": {"cluster": "node", "user": user}}],
        "current-context": "node",
    })
}

/// Without CAP_SYS_RESOURCE runc cannot lower a score, and ends in the middle of a start: `restrict_oom_score_adj`.
fn containerd(folder: &Path) -> String {
    let (pause, cni, settings) = (image::PAUSE, needs::CNI, folder.join("settings/cni"));
    let settings = settings.display();
    let runc = needs::find("runc").unwrap_or_default();
    let runc = runc.display();
    format!(
        r#"version = 2
root = "{STATE}/containerd"
state = "{STATE}/containerd-state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{CONTAINERD}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{STATE}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{runc}"
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni}"
    conf_dir = "{settings}"
"#
    )
}

/// A link and a route for each pod: all that goes from pod to pod is routed, and so are the answers to a Service, with no help from
/// the kernel's bridge.
fn network() -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "node",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": format!("{STATE}/addresses"),
                "ranges": [[{"subnet": POD_RANGE}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}

/// JSON is YAML.
fn kubelet(node: &str, folder: &Path, sync: &str) -> Value {
    let pki = folder.join("pki");
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": pki.join("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": pki.join("kubelet.crt"),
        "tlsPrivateKeyFile": pki.join("kubelet.key"),
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD}"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", cgroups::name(node)),
        "failSwapOn": false,
        // Version 1 of control groups is on its way out, and still what many machines have.
        "failCgroupV1": false,
        "makeIPTablesUtilChains": false,
        "resolvConf": folder.join("settings/resolv.conf"),
        "clusterDomain": "cluster.local",
        "syncFrequency": sync,
        "nodeStatusUpdateFrequency": "5s",
        "maxPods": 200,
        "serializeImagePulls": false,
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "podLogsDir": format!("{STATE}/logs"),
        "volumePluginDir": format!("{STATE}/plugins"),
    })
}

/// With the default of a second for `minSyncPeriod`, a Service refuses connections for as long after its pods are ready.
fn proxy(folder: &Path) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": kubeconfig_path(folder, "proxy")},
        "clusterCIDR": POD_RANGE,
        "hostnameOverride": NODE,
        "bindAddress": ADDRESS,
        "nftables": {"minSyncPeriod": "50ms"},
        // The kernel's limits are the machine's, not ours.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    })
}
