//! What a node does for a pod's first container, without a node: its mounts are filled from the real Secrets, and programs run with its
//! environment. A folder stands for its file system.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use k8s_openapi::api::core::v1::{Pod, Secret, SecretProjection, VolumeMount};
use kube::Api;
use tokio::process::Command;

use crate::{
    error::{During, Error},
    process::Folder,
};

/// The variables of a pod's first container, in their order; of two of one name the later one counts, as on a node. Those with
/// `valueFrom` are left out.
pub fn environment(pod: &Pod) -> Vec<(String, String)> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let env = containers.take(1).flat_map(|container| container.env.iter().flatten());
    // One without a value is an empty one, as on a node.
    env.filter(|variable| variable.value_from.is_none())
        .map(|variable| (variable.name.clone(), variable.value.clone().unwrap_or_default()))
        .collect()
}

/// The first container of a pod that was admitted.
#[derive(Debug)]
pub struct Container {
    root: Folder,
    env: Vec<(String, String)>,
    command: Vec<String>,
    mounts: Vec<Mount>,
}

/// A mount of a projected volume.
#[derive(Debug)]
struct Mount {
    path: String,
    sources: Vec<SecretProjection>,
}

impl Container {
    /// The container, with nothing in its mounts yet.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn new(pod: &Pod) -> Result<Self, Error> {
        let root = Folder::new()?;
        let first = pod.spec.iter().flat_map(|spec| &spec.containers).next();
        let mounted = first.and_then(|container| container.volume_mounts.as_ref());
        let mounts: Vec<Mount> = mounted
            .into_iter()
            .flatten()
            .filter_map(|mount| Mount::of(pod, mount))
            .collect();
        // The paths of the container's mounts, where they are here.
        let here = |value: String| {
            let at = |value: String, mount: &Mount| value.replace(&mount.path, &below(root.path(), &mount.path));
            mounts.iter().fold(value, at)
        };
        let env = environment(pod);
        Ok(Self {
            env: env.into_iter().map(|(name, value)| (name, here(value))).collect(),
            command: first
                .and_then(|container| container.command.clone())
                .unwrap_or_default(),
            mounts,
            root,
        })
    }

    /// The folder that stands for its file system.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The pod's own `command`, word by word.
    pub fn command(&self) -> &[String] {
        &self.command
    }

    /// One of its variables.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let mut found = self.env.iter().rev();
        found.find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Where a path of its file system is on this machine.
    pub fn path(&self, path: &str) -> PathBuf {
        below(self.root(), path).into()
    }

    /// Fills its mounts with what the Secrets hold now, each file replaced at once, as the kubelet does now and then.
    ///
    /// # Errors
    /// When a Secret or a key is missing, for which a kubelet would hold the pod, or a file cannot be written.
    pub async fn mount(&self, secrets: &Api<Secret>) -> Result<(), Error> {
        for mount in &self.mounts {
            let folder = self.path(&mount.path);
            fs::create_dir_all(&folder).during(|| format!("make the folder {}", folder.display()))?;
            for source in &mount.sources {
                let data = secrets.get(&source.name).await?.data.unwrap_or_default();
                for item in source.items.iter().flatten() {
                    let content = data
                        .get(&item.key)
                        .ok_or_else(|| Error::Usage(format!("the Secret {} has no key {}", source.name, item.key)))?;
                    let (file, new) = (folder.join(&item.path), folder.join(".new"));
                    fs::write(&new, &content.0).during(|| format!("write {}", new.display()))?;
                    fs::rename(&new, &file).during(|| format!("rename to {}", file.display()))?;
                }
            }
        }
        Ok(())
    }

    /// A program in its environment, in its file system's root. Beyond the container's own variables it has `PATH` and `HOME`; nothing
    /// of the caller's leaks in.
    pub fn program(&self, name: &str) -> Command {
        let mut program = Command::new(name);
        program
            .current_dir(self.root())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.root())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        program
    }
}

impl Mount {
    /// `None` for a mount of another kind of volume.
    fn of(pod: &Pod, mount: &VolumeMount) -> Option<Self> {
        let volumes = pod.spec.as_ref()?.volumes.as_ref()?;
        let volume = volumes.iter().find(|volume| volume.name == mount.name)?;
        let sources = volume.projected.as_ref()?.sources.as_ref()?;
        Some(Self {
            path: mount.mount_path.clone(),
            sources: sources.iter().filter_map(|source| source.secret.clone()).collect(),
        })
    }
}

fn below(root: &Path, path: &str) -> String {
    format!("{}/{}", root.display(), path.trim_start_matches('/'))
}
