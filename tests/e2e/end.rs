//! What is left at the end.

use std::fs;

use lab::node::{self, Node};

/// Everything on this machine whose name has `name` in it: processes, mounts, control groups, interfaces, files.
fn traces(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if pid != std::process::id() && (command.contains(name) || command.contains("containerd-shim")) {
            found.push(format!("process {command}"));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.lines().filter(|line| line.contains(name)).map(str::to_owned));
    let groups = fs::read_dir("/sys/fs/cgroup")
        .unwrap()
        .flatten()
        .map(|entry| entry.path().join(name));
    let places =
        ["/tmp", "/dev/shm", "/run/netns", "/var/lib/kubelet"].map(|place| std::path::Path::new(place).join(name));
    found.extend(
        groups
            .chain(places)
            .filter(|path| path.exists())
            .map(|path| path.display().to_string()),
    );
    let interfaces = fs::read_to_string("/proc/net/dev").unwrap();
    found.extend(
        interfaces
            .lines()
            .filter(|line| line.contains("node0"))
            .map(str::to_owned),
    );
    found
}

/// The one of all tests that starts a node of its own.
#[tokio::test]
async fn a_node_that_goes_down_leaves_nothing_behind() {
    let name = "gtm-node-short-lived";
    let node = Node::up("short-lived").await.unwrap();
    assert!(traces(name).len() > 3, "{:?}", traces(name));
    let inside = format!("/proc/{}/ns/net", node.pid());
    node.down().await.unwrap();
    assert!(!fs::exists(inside).unwrap());
    let left: Vec<String> = traces(name)
        .into_iter()
        .filter(|trace| !trace.contains("containerd-shim"))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
    assert!(!node::folder("short-lived").exists());
}
