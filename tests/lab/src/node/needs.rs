//! What a node needs of its machine.

use std::{env, path::Path};

use crate::error::Error;

/// Programs, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 9] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("dpkg-deb", "dpkg"),
    ("cc", "gcc libc6-dev"),
];

/// The folder of the CNI plugins, as Debian's containernetworking-plugins has it.
pub(super) const CNI: &str = "/usr/lib/cni";

/// Names everything that is missing, with its cure.
pub(super) fn check() -> Result<(), Error> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("root: a node mounts file systems and makes namespaces".to_owned());
    }
    for (program, package) in PROGRAMS {
        if find(program).is_none() {
            missing.push(format!("{program}: apt-get install {package}"));
        }
    }
    if !Path::new(CNI).join("ptp").is_file() {
        missing.push(format!("{CNI}/ptp: apt-get install containernetworking-plugins"));
    }
    if !Path::new("/sys/fs/cgroup").join("memory").is_dir() && !Path::new("/sys/fs/cgroup/cgroup.controllers").is_file()
    {
        missing.push("control groups at /sys/fs/cgroup: in a container, run it with --privileged".to_owned());
    }
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !filesystems
        .lines()
        .any(|line| line.trim_start_matches("nodev").trim() == "overlay")
    {
        missing.push("overlayfs in the kernel: modprobe overlay".to_owned());
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Tool(format!("a node needs\n  {}", missing.join("\n  "))))
}

/// Where the program is, by `PATH`, and in the folders of the system's administrator.
pub(super) fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}
