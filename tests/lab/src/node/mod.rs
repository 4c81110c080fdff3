//! A real node of Kubernetes: etcd, the API server, its controllers, the scheduler, kubelet, kube-proxy, containerd and runc, with the
//! GitHub stand-in beside them, all in namespaces of their own.
//!
//! Everything descends from one process, the first of a pid namespace, which also owns the mount and the network namespace: to kill it
//! takes every process, mount and interface along. What the node writes is in memory, in mounts of its own. What is left then, a folder
//! and control groups, [`down`] removes.

mod certificates;
mod cgroups;
mod find;
pub mod image;
pub mod init;
mod needs;
mod operator;
mod settings;

use std::collections::BTreeSet;
use std::{
    fs::{self, File},
    os::{
        fd::AsFd,
        unix::{fs::DirBuilderExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{
    cluster::Kubectl,
    error::{During, Error},
    process::Signal,
    tools::Tool,
    wait::wait_for,
};

pub use find::program;
pub use operator::OPERATOR;
pub use settings::SYNC;

/// The node's name in its cluster.
pub const NODE: &str = "node";
/// The node's address, and the stand-in's. 198.18.0.0/15 is for tests of networks (RFC 2544), and no network's own.
pub const ADDRESS: &str = "198.18.0.1";
const NODE_RANGE: &str = "198.18.0.1/24";
const POD_RANGE: &str = "198.18.64.0/24";
const SERVICE_RANGE: &str = "198.18.128.0/22";
/// The Service `kubernetes` has the first address of the range.
const API_SERVICE: &str = "198.18.128.1";
/// What changes while the node runs, in a mount of its own that nobody else sees.
const STATE: &str = "/run/gtm";
/// containerd's socket, as the node sees it.
const CONTAINERD: &str = "/run/gtm/containerd.sock";

/// Time for a start; on an idle machine of two cores it takes 15 s.
const START: Duration = Duration::from_secs(180);
/// Time for what takes a moment.
const SOON: Duration = Duration::from_secs(30);

/// A running node. It goes on running when this value is dropped, unless it was made by [`Node::for_this_process`].
#[derive(Debug)]
pub struct Node {
    name: String,
    folder: PathBuf,
    pid: u32,
    kubectl: Kubectl,
    _guard: Option<Child>,
}

impl Node {
    /// Starts a node that goes down with this program, however that ends.
    ///
    /// # Errors
    /// As [`Node::up`].
    pub async fn for_this_process(name: &str) -> Result<Self, Error> {
        let guard = Command::new(program("lab-node")?)
            .args(["guard", name])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .during(|| "start the guard of the node".into())?;
        let mut node = Self::up(name).await?;
        node._guard = Some(guard);
        Ok(node)
    }

    /// Starts a node of that name, after the former one of the name has been taken down, and waits until it is ready.
    ///
    /// # Errors
    /// When this machine lacks something, named with its cure, or when a part does not become ready: then the logs stay, in [`folder`].
    pub async fn up(name: &str) -> Result<Self, Error> {
        needs::check()?;
        down(name).await?;
        let folder = folder(name);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .during(|| format!("make the folder {}", folder.display()))?;
        tokio::task::spawn_blocking({
            let (name, folder) = (name.to_owned(), folder.clone());
            move || prepare(&name, &folder)
        })
        .await
        .map_err(|error| Error::Usage(format!("the node's files: {error}")))??;
        let log = folder.join("log/init.log");
        let log = File::create(&log).during(|| format!("open {}", log.display()))?;
        let errors = log.try_clone().during(|| "open the node's log".into())?;
        // A group of its own: Ctrl-C is for the program that asked.
        let unshare = ["--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"];
        let mut first = Command::new("unshare")
            .args(unshare)
            .args(["--propagation", "private"])
            .arg(program("lab-node")?)
            .args(["init", name])
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .during(|| "start unshare".into())?;
        let pid = wait_for(SOON, "the node's first process", async || {
            if let Some(status) = first.try_wait().ok().flatten() {
                let log = fs::read_to_string(folder.join("log/init.log")).unwrap_or_default();
                return Ok(Err(Error::Usage(format!("the node ended at once ({status}): {log}"))));
            }
            find::first_process(name).ok_or("none yet").map(Ok)
        })
        .await??;
        let node = Self::found(name, pid)?;
        node.ready().await?;
        Ok(node)
    }

    /// The node of that name, which runs already.
    ///
    /// # Errors
    /// When there is none.
    pub fn running(name: &str) -> Result<Self, Error> {
        let none = || Error::Usage(format!("there is no node {name}: start it with `make cluster`"));
        Self::found(name, find::first_process(name).ok_or_else(none)?)
    }

    fn found(name: &str, pid: u32) -> Result<Self, Error> {
        let folder = folder(name);
        let kubeconfig = settings::kubeconfig_path(&folder, "admin");
        let kubectl = Kubectl::new(Tool::Kubectl.find()?, kubeconfig, folder.join("kubectl-cache")).inside(pid);
        Ok(Self {
            name: name.to_owned(),
            folder,
            pid,
            kubectl,
            _guard: None,
        })
    }

    async fn ready(&self) -> Result<(), Error> {
        for image in [image::pause()?, image::git()?] {
            self.load_image(&image).await?;
        }
        let condition = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
        wait_for(START, "the node Ready", async || {
            let said = self.kubectl.run(&["get", "node", NODE, "-o", condition]).await;
            let said = said.map_err(|error| error.to_string())?;
            (said == "True").then_some(()).ok_or(format!("Ready is {said:?}"))
        })
        .await?;
        wait_for(START, "the service account of pods", async || {
            let objects = ["serviceaccount/default", "configmap/kube-root-ca.crt"];
            self.kubectl.run(&[&["get"][..], &objects].concat()).await
        })
        .await?;
        Ok(())
    }

    /// kubectl as an administrator, in the node's network.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// The folder with its kubeconfigs, settings and logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The process that everything of the node descends from, by the number that we see.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Moves the calling thread into the node's network, for good: what it connects to from now on, it finds there.
    ///
    /// # Errors
    /// When the node has ended.
    pub fn enter(&self) -> Result<(), Error> {
        let path = format!("/proc/{}/ns/net", self.pid);
        let network = File::open(&path).during(|| format!("open {path}"))?;
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(Into::into)
            .during(|| "enter the node's network".into())
    }

    /// Loads an image (an archive of Docker's or OCI's form) into containerd.
    ///
    /// # Errors
    /// When containerd does not take it within 30 s.
    pub async fn load_image(&self, archive: &Path) -> Result<(), Error> {
        let archive = archive.to_string_lossy();
        wait_for(SOON, "an image in containerd", async || {
            self.images(&["import", &archive]).await
        })
        .await
    }

    /// Gives an image that containerd has a second name.
    ///
    /// # Errors
    /// When it has no such image.
    pub async fn tag_image(&self, image: &str, name: &str) -> Result<(), Error> {
        let tagged = self.images(&["tag", "--force", image, name]).await;
        tagged.map_err(|said| Error::Usage(format!("tag the image {image}: {said}")))
    }

    /// `ctr images`, for the kubelet's images; `Err` is what it said.
    async fn images(&self, args: &[&str]) -> Result<(), String> {
        let socket = format!("/proc/{}/root{CONTAINERD}", self.pid);
        let done = tokio::process::Command::new("ctr")
            .args(["--address", &socket, "--namespace", "k8s.io", "images"])
            .args(args)
            .kill_on_drop(true)
            .output()
            .await;
        let done = done.map_err(|error| format!("ctr: {error}"))?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        done.status.success().then_some(()).ok_or(said)
    }

    /// Kills a part of the node (SIGKILL), such as `kubelet`, and keeps it down until [`Node::release`].
    ///
    /// # Errors
    /// When it does not run, or does not go.
    pub async fn hold(&self, part: &str) -> Result<(), Error> {
        let hold = init::hold_file(&self.folder, part);
        fs::write(&hold, "").during(|| format!("write {}", hold.display()))?;
        let pid = find::child_named(self.pid, part);
        let pid = pid.ok_or_else(|| Error::Usage(format!("{part} does not run on the node")))?;
        find::kill(pid, Signal::KILL);
        wait_for(SOON, &format!("the end of {part}"), async || {
            match find::child_named(self.pid, part) {
                None => Ok(()),
                Some(pid) => Err(format!("process {pid}")),
            }
        })
        .await
    }

    /// Lets a part run again that [`Node::hold`] keeps down.
    ///
    /// # Errors
    /// When it was not held.
    pub fn release(&self, part: &str) -> Result<(), Error> {
        let hold = init::hold_file(&self.folder, part);
        fs::remove_file(&hold).during(|| format!("remove {}", hold.display()))
    }

    /// Restarts the kubelet with another `syncFrequency`, such as `1m`.
    ///
    /// # Errors
    /// When it does not go, or its settings cannot be written.
    pub async fn set_kubelet_period(&self, sync: &str) -> Result<(), Error> {
        self.hold("kubelet").await?;
        settings::write_kubelet(&self.name, &self.folder, sync)?;
        self.release("kubelet")
    }

    /// What a part has logged so far.
    ///
    /// # Errors
    /// When there is no such log.
    pub fn log(&self, part: &str) -> Result<String, Error> {
        let path = self.folder.join(format!("log/{part}.log"));
        fs::read_to_string(&path).during(|| format!("read {}", path.display()))
    }

    /// Takes it down, see [`down`].
    ///
    /// # Errors
    /// As [`down`].
    pub async fn down(self) -> Result<(), Error> {
        down(&self.name).await
    }
}

/// Kills the node of that name, if it runs, and removes every trace of it.
///
/// # Errors
/// When something does not go within 30 s.
pub async fn down(name: &str) -> Result<(), Error> {
    let mut killed = BTreeSet::new();
    wait_for(SOON, "the end of the node's processes", async || {
        let found = find::processes(name);
        found.iter().for_each(|&pid| find::kill(pid, Signal::KILL));
        killed.extend(found);
        killed.retain(|pid| !find::ended(*pid));
        let none = killed.is_empty();
        none.then_some(()).ok_or_else(|| format!("processes {killed:?}"))
    })
    .await?;
    let root = cgroups::name(name);
    wait_for(SOON, "the end of the node's control groups", async || {
        cgroups::remove(&root)
    })
    .await?;
    let folder = folder(name);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).during(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// The folder of the node of that name, in the temporary folder.
pub fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("gtm-node-{name}"))
}

/// Writes what the node starts with.
fn prepare(name: &str, folder: &Path) -> Result<(), Error> {
    for sub in ["pki", "settings/cni", "settings/sysctl", "log", "hold"] {
        let sub = folder.join(sub);
        fs::create_dir_all(&sub).during(|| format!("make the folder {}", sub.display()))?;
    }
    certificates::write(&folder.join("pki"))?;
    settings::write(name, folder)?;
    for tool in Tool::CLUSTER.into_iter().chain(Tool::NODE) {
        tool.find()?;
    }
    cgroups::make(&cgroups::name(name))
}
