//! What a node needs of its machine.

use std::{env, fs, path::Path};

use rustix::fs::{Access, access};

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

/// Where control groups are.
const CGROUPS: &str = "/sys/fs/cgroup";

/// The controllers of version 2 that the kubelet asks for (`getSupportedUnifiedControllers` of pkg/kubelet/cm).
const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// A machine, as far as it is asked about.
struct Machine<'a> {
    root: bool,
    /// Whether there is a program of that name.
    program: &'a dyn Fn(&str) -> bool,
    /// Whether there is a CNI plugin of that name.
    plugin: &'a dyn Fn(&str) -> bool,
    cgroups: Cgroups,
    /// As /proc/filesystems has them.
    filesystems: String,
}

/// What is at [`CGROUPS`] (cgroups(7)).
enum Cgroups {
    None,
    One {
        writable: bool,
    },
    Two {
        /// As the file cgroup.controllers has them.
        controllers: String,
        writable: bool,
    },
}

/// Names everything that is missing, with its cure.
pub(super) fn check() -> Result<(), Error> {
    let machine = Machine {
        root: rustix::process::geteuid().is_root(),
        program: &|program| find(program).is_some(),
        plugin: &|plugin| Path::new(CNI).join(plugin).is_file(),
        cgroups: cgroups(),
        filesystems: fs::read_to_string("/proc/filesystems").unwrap_or_default(),
    };
    match &machine.missing()[..] {
        [] => Ok(()),
        missing => Err(Error::Tool(format!("a node needs\n  {}", missing.join("\n  ")))),
    }
}

fn cgroups() -> Cgroups {
    let (mount, memory) = (Path::new(CGROUPS), Path::new(CGROUPS).join("memory"));
    let writable = |path: &Path| access(path, Access::WRITE_OK).is_ok();
    match fs::read_to_string(mount.join("cgroup.controllers")) {
        Ok(controllers) => Cgroups::Two {
            controllers,
            writable: writable(mount),
        },
        Err(_) if memory.is_dir() => Cgroups::One {
            writable: writable(&memory),
        },
        Err(_) => Cgroups::None,
    }
}

impl Machine<'_> {
    /// A line for each thing, with its cure.
    fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if !self.root {
            missing.push("root: a node mounts file systems and makes namespaces".to_owned());
        }
        for (program, package) in PROGRAMS {
            if !(self.program)(program) {
                missing.push(format!("{program}: apt-get install {package}"));
            }
        }
        if !(self.plugin)("ptp") {
            missing.push(format!("{CNI}/ptp: apt-get install containernetworking-plugins"));
        }
        missing.extend(self.cgroups.missing());
        let overlay = |line: &str| line.trim_start_matches("nodev").trim() == "overlay";
        if !self.filesystems.lines().any(overlay) {
            missing.push("overlayfs in the kernel: modprobe overlay".to_owned());
        }
        missing
    }
}

impl Cgroups {
    fn missing(&self) -> Option<String> {
        match self {
            Self::None => Some(format!(
                "control groups at {CGROUPS}: in a container, run it with --privileged"
            )),
            Self::One { writable: false } | Self::Two { writable: false, .. } => Some(format!(
                "control groups that can be written, at {CGROUPS}: in a container, run it with --privileged"
            )),
            Self::One { writable: true } => None,
            Self::Two {
                controllers,
                writable: true,
            } => {
                let there: Vec<&str> = controllers.split_whitespace().collect();
                let lacking = CONTROLLERS.into_iter().filter(|wanted| !there.contains(wanted));
                let lacking = lacking.collect::<Vec<_>>().join(", ");
                (!lacking.is_empty()).then(|| {
                    format!(
                        "the controllers {lacking} in {CGROUPS}/cgroup.controllers: in a container, run it with \
                         --privileged --cgroupns=host"
                    )
                })
            }
        }
    }
}

/// Where the program is, by `PATH`, and in the folders of the system's administrator.
pub(super) fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILESYSTEMS: &str = "nodev\tproc\nnodev\toverlay\n\text4\n";

    fn two(controllers: &str) -> Cgroups {
        Cgroups::Two {
            controllers: controllers.to_owned(),
            writable: true,
        }
    }

    /// What a machine lacks that has all but this.
    fn lacks(change: impl FnOnce(&mut Machine)) -> Vec<String> {
        let mut machine = Machine {
            root: true,
            program: &|_| true,
            plugin: &|_| true,
            cgroups: two("cpuset cpu io memory hugetlb pids rdma\n"),
            filesystems: FILESYSTEMS.to_owned(),
        };
        change(&mut machine);
        machine.missing()
    }

    #[test]
    fn a_machine_with_everything_lacks_nothing_with_either_version_of_control_groups() {
        assert_eq!(lacks(|_| ()), Vec::<String>::new());
        let one = lacks(|machine| machine.cgroups = Cgroups::One { writable: true });
        assert_eq!(one, Vec::<String>::new());
    }

    #[test]
    fn who_is_not_root_is_told() {
        let said = lacks(|machine| machine.root = false);
        assert_eq!(said, ["root: a node mounts file systems and makes namespaces"]);
    }

    #[test]
    fn each_missing_program_is_named_with_its_package() {
        let said = lacks(|machine| machine.program = &|_| false);
        let named: Vec<String> = PROGRAMS
            .iter()
            .map(|(program, package)| format!("{program}: apt-get install {package}"))
            .collect();
        assert_eq!(said, named);
        let said = lacks(|machine| machine.plugin = &|_| false);
        assert_eq!(said, ["/usr/lib/cni/ptp: apt-get install containernetworking-plugins"]);
    }

    #[test]
    fn control_groups_that_are_missing_read_only_or_without_controllers_are_told_with_the_cure() {
        let said = |cgroups| lacks(|machine| machine.cgroups = cgroups).join("\n");
        assert_eq!(
            said(Cgroups::None),
            "control groups at /sys/fs/cgroup: in a container, run it with --privileged"
        );
        let read_only =
            "control groups that can be written, at /sys/fs/cgroup: in a container, run it with --privileged";
        assert_eq!(said(Cgroups::One { writable: false }), read_only);
        let controllers = "cpu cpuset memory pids".to_owned();
        assert_eq!(
            said(Cgroups::Two {
                controllers,
                writable: false
            }),
            read_only
        );
        // A whole name, not a part of one: `cpu` is in `cpuset`.
        assert_eq!(
            said(two("cpuset io pids\n")),
            "the controllers cpu, memory in /sys/fs/cgroup/cgroup.controllers: in a container, run it with --privileged \
             --cgroupns=host"
        );
    }

    #[test]
    fn a_kernel_without_overlayfs_is_told() {
        let said = lacks(|machine| machine.filesystems = "nodev\tproc\n\toverlayfs2\n".to_owned());
        assert_eq!(said, ["overlayfs in the kernel: modprobe overlay"]);
    }

    #[test]
    fn all_that_is_missing_is_told_at_once() {
        let nothing = Machine {
            root: false,
            program: &|_| false,
            plugin: &|_| false,
            cgroups: Cgroups::None,
            filesystems: String::new(),
        };
        assert_eq!(nothing.missing().len(), PROGRAMS.len() + 4);
    }
}
