//! Control groups for the pods, below a root of the node's own, in version 1, version 2, or both (cgroups(7)).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::error::{During, Error};

const MOUNT: &str = "/sys/fs/cgroup";

/// The root of the node of that name, in each hierarchy.
pub(super) fn name(node: &str) -> String {
    format!("gtm-node-{node}")
}

/// Makes the root in each hierarchy.
pub(super) fn make(root: &str) -> Result<(), Error> {
    // Where there are both versions, that of version 2 controls nothing.
    let controls =
        |hierarchy: &PathBuf| hierarchy.join("cgroup.clone_children").exists() || hierarchy == Path::new(MOUNT);
    for hierarchy in hierarchies().into_iter().filter(controls) {
        let own = hierarchy.join(root);
        fs::create_dir_all(&own).during(|| format!("make the control group {}", own.display()))?;
        // A new group of version 1 has no processors and no memory, and nothing can run in it.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let inherited = hierarchy.join(file);
            if hierarchy.join("cgroup.clone_children").exists() && inherited.exists() {
                fs::copy(&inherited, own.join(file)).during(|| format!("copy {}", inherited.display()))?;
            }
        }
    }
    Ok(())
}

/// Removes the root with all below it; `Err` names what is still there.
pub(super) fn remove(root: &str) -> Result<(), String> {
    for hierarchy in hierarchies() {
        let own = hierarchy.join(root);
        remove_below(&own).map_err(|error| format!("{}: {error}", own.display()))?;
    }
    Ok(())
}

fn remove_below(group: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_below(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

/// Version 2 alone, or the hierarchies of version 1 and what there is of version 2 beside them.
fn hierarchies() -> Vec<PathBuf> {
    let mount = PathBuf::from(MOUNT);
    if mount.join("cgroup.controllers").exists() {
        return vec![mount];
    }
    let entries = fs::read_dir(&mount).into_iter().flatten().flatten();
    // `cpu` may be a link to `cpu,cpuacct`.
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}
