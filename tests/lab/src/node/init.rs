//! The first process of the node: makes its mounts and its network, starts each part, starts it again when it ends, and reaps what
//! containers leave behind. It never ends by itself.

use std::{
    fs::{self, OpenOptions},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change},
    process::{Pid, WaitOptions, wait},
};

use super::{
    ADDRESS, NODE, NODE_RANGE, SERVICE_RANGE, STATE, find,
    settings::{SYSCTLS, kubeconfig_path, sysctl_path},
};
use crate::{
    cluster::etcd_args,
    error::{During, Error},
    tools::Tool,
};

/// Where etcd listens for the API server, and for its peers, which it has none of.
const ETCD: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2379);
const ETCD_PEERS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2380);

/// Between two looks at the parts.
const PAUSE: Duration = Duration::from_millis(100);

/// While this file is there, the part is not started again.
pub(super) fn hold_file(folder: &Path, part: &str) -> PathBuf {
    folder.join("hold").join(part)
}

/// Runs the node of that name in the namespaces that the caller has made, until it is killed.
///
/// # Errors
/// When the mounts or the network cannot be made, or a program is missing.
pub fn run(name: &str) -> Result<std::convert::Infallible, Error> {
    let folder = super::folder(name);
    mounts(&folder)?;
    network()?;
    let mut parts = parts(&folder)?;
    loop {
        for part in &mut parts {
            if part.pid.is_none() && !hold_file(&folder, part.name).exists() {
                // Also for one that ends at once: it needs something that is not there yet.
                part.start(&folder)?;
            }
        }
        thread::sleep(PAUSE);
        while let Ok(Some((pid, _))) = wait(WaitOptions::NOHANG) {
            let ended = parts.iter_mut().find(|part| part.pid == Some(pid));
            ended.into_iter().for_each(|part| part.pid = None);
        }
    }
}

/// What the parts write to goes to memory, and is seen by nobody else.
fn mounts(folder: &Path) -> Result<(), Error> {
    let during = |result: rustix::io::Result<()>, what: String| result.map_err(io::Error::from).during(|| what);
    // The kubelet makes volumes that containerd has to see.
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    during(mount_change("/", shared), "share the mounts below /".into())?;
    for path in ["/run", "/var/lib", "/var/log", "/dev/shm"] {
        let mounted = mount("tmpfs", path, "tmpfs", MountFlags::empty(), c"mode=0755");
        during(mounted, format!("mount memory at {path}"))?;
    }
    for path in [STATE, "/run/lock", "/var/lib/kubelet", "/var/lib/cni"] {
        fs::create_dir_all(path).during(|| format!("make the folder {path}"))?;
    }
    for (name, _) in SYSCTLS {
        let target = format!("/proc/sys/{name}");
        if Path::new(&target).exists() {
            let bound = mount_bind(sysctl_path(folder, name), target.as_str());
            during(bound, format!("cover {target}"))?;
        }
    }
    Ok(())
}

/// The node's address is on a link to nowhere: not every kernel has dummy interfaces.
fn network() -> Result<(), Error> {
    let commands: [&[&str]; 7] = [
        &["link", "set", "lo", "up"],
        &["link", "add", "node0", "type", "veth", "peer", "name", "node1"],
        &["address", "add", NODE_RANGE, "dev", "node0"],
        &["link", "set", "node0", "up"],
        &["link", "set", "node1", "up"],
        // A packet to a Service needs a route before it can be rewritten.
        &["route", "add", SERVICE_RANGE, "dev", "node0"],
        // All else fails at once, instead of in a timeout.
        &["route", "add", "unreachable", "default"],
    ];
    for args in commands {
        let output = Command::new("ip").args(args).output();
        let output = output.during(|| "start ip".into())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Error::Usage(format!("ip {}: {said}", args.join(" "))));
        }
    }
    let forward = "/proc/sys/net/ipv4/ip_forward";
    fs::write(forward, "1").during(|| format!("write {forward}"))
}

struct Part {
    name: &'static str,
    program: PathBuf,
    args: Vec<String>,
    pid: Option<Pid>,
}

impl Part {
    fn new(name: &'static str, program: impl Into<PathBuf>, args: Vec<String>) -> Self {
        Self {
            name,
            program: program.into(),
            args,
            pid: None,
        }
    }

    fn start(&mut self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(format!("log/{}.log", self.name));
        let open = || OpenOptions::new().create(true).append(true).open(&path);
        let log = || open().during(|| format!("open {}", path.display()));
        let child = Command::new(&self.program)
            .args(&self.args)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", STATE)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log()?)
            .stderr(log()?)
            .spawn()
            .during(|| format!("start {}", self.program.display()))?;
        self.pid = Some(Pid::from_child(&child));
        Ok(())
    }
}

fn parts(folder: &Path) -> Result<Vec<Part>, Error> {
    let path = |name: &str| folder.join(name).display().to_string();
    let standin = vec![
        path("settings/github.json"),
        "--key-file".into(),
        path("pki/app-key.pem"),
        "--ca-file".into(),
        path("pki/github-ca.crt"),
    ];
    let kubelet = vec![
        format!("--config={}", path("settings/kubelet.json")),
        format!("--kubeconfig={}", kubeconfig_path(folder, "kubelet").display()),
        format!("--hostname-override={NODE}"),
        format!("--node-ip={ADDRESS}"),
        format!("--root-dir={STATE}/kubelet"),
        format!("--cert-dir={STATE}/kubelet-certificates"),
    ];
    let kubeconfig = |user| format!("--kubeconfig={}", kubeconfig_path(folder, user).display());
    let scheduler = vec![
        kubeconfig("scheduler"),
        "--leader-elect=false".into(),
        "--bind-address=127.0.0.1".into(),
    ];
    Ok(vec![
        Part::new(
            "etcd",
            Tool::Etcd.find()?,
            etcd_args(&Path::new(STATE).join("etcd"), ETCD, ETCD_PEERS),
        ),
        Part::new(
            "containerd",
            "containerd",
            vec!["--config".into(), path("settings/containerd.toml")],
        ),
        Part::new("github-standin", find::program("github-standin")?, standin),
        Part::new("kube-apiserver", Tool::KubeApiServer.find()?, api_server(path)),
        Part::new(
            "kube-controller-manager",
            Tool::KubeControllerManager.find()?,
            controllers(path, kubeconfig("controllers")),
        ),
        Part::new("kube-scheduler", Tool::KubeScheduler.find()?, scheduler),
        Part::new("kubelet", Tool::Kubelet.find()?, kubelet),
        Part::new(
            "kube-proxy",
            Tool::KubeProxy.find()?,
            vec![format!("--config={}", path("settings/proxy.json"))],
        ),
    ])
}

fn api_server(path: impl Fn(&str) -> String) -> Vec<String> {
    vec![
        format!("--etcd-servers=http://{ETCD}"),
        format!("--bind-address={ADDRESS}"),
        format!("--advertise-address={ADDRESS}"),
        "--secure-port=6443".into(),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement".into(),
        "--allow-privileged=true".into(),
        format!("--client-ca-file={}", path("pki/ca.crt")),
        format!("--tls-cert-file={}", path("pki/apiserver.crt")),
        format!("--tls-private-key-file={}", path("pki/apiserver.key")),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", path("pki/accounts.pub")),
        format!("--service-account-signing-key-file={}", path("pki/accounts.key")),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        format!("--kubelet-client-certificate={}", path("pki/apiserver-kubelet.crt")),
        format!("--kubelet-client-key={}", path("pki/apiserver-kubelet.key")),
        format!("--kubelet-certificate-authority={}", path("pki/ca.crt")),
        "--kubelet-preferred-address-types=InternalIP".into(),
        "--profiling=false".into(),
    ]
}

fn controllers(path: impl Fn(&str) -> String, kubeconfig: String) -> Vec<String> {
    vec![
        kubeconfig,
        "--leader-elect=false".into(),
        "--use-service-account-credentials=true".into(),
        format!("--service-account-private-key-file={}", path("pki/accounts.key")),
        format!("--root-ca-file={}", path("pki/ca.crt")),
        format!("--cluster-signing-cert-file={}", path("pki/ca.crt")),
        format!("--cluster-signing-key-file={}", path("pki/ca.key")),
        "--bind-address=127.0.0.1".into(),
        format!("--flex-volume-plugin-dir={STATE}/plugins"),
        // The default (20 a second) delays the first pods by seconds.
        "--kube-api-qps=300".into(),
        "--kube-api-burst=600".into(),
    ]
}
