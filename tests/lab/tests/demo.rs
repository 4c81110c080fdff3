//! The demo's end, however it comes; that its steps succeed is shown by `make demo`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use lab::process::Folder;
use lab::wait::eventually;
use tokio::process::{Child, Command};

const SOON: Duration = Duration::from_secs(20);

fn demo(gtm: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_demo"))
        .arg(gtm)
        .arg("docs")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn end(demo: Child) -> Output {
    tokio::time::timeout(SOON, demo.wait_with_output())
        .await
        .expect("it ends")
        .unwrap()
}

#[tokio::test]
async fn a_missing_operator_ends_the_demo_with_1_and_the_way_to_build_it() {
    let output = end(demo(Path::new("/nonexistent/gtm"))).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("demo: /nonexistent/gtm: No such file"), "{said}");
    assert!(said.contains("cargo build --bin gtm"), "{said}");
}

#[tokio::test]
async fn an_operator_that_fails_ends_the_demo_with_1() {
    let output = end(demo(Path::new("/bin/false"))).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/bin/false crds failed (exit status: 1)"), "{said}");
}

/// A "gtm" that says its process id, and then hangs.
fn hanging(folder: &Folder) -> (PathBuf, PathBuf) {
    let pid = folder.path().join("pid");
    let script = format!(
        "#!/bin/sh\necho $$ > {0}.new && mv {0}.new {0}\nexec sleep 600\n",
        pid.display()
    );
    let gtm = folder.write("gtm", script).unwrap();
    std::fs::set_permissions(&gtm, std::fs::Permissions::from_mode(0o700)).unwrap();
    (gtm, pid)
}

async fn interrupted(signal: &str) -> ExitStatus {
    let folder = Folder::new().unwrap();
    let (gtm, pid) = hanging(&folder);
    let demo = demo(&gtm);
    let read = async || std::fs::read_to_string(&pid).map_err(|error| error.to_string());
    let child = eventually(SOON, "the operator's process", read).await;
    let child = PathBuf::from("/proc").join(child.trim());
    assert!(child.exists());
    let id = demo.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args([signal, &id])
            .status()
            .await
            .unwrap()
            .success()
    );
    let output = end(demo).await;
    eventually(SOON, "the end of its child", async || {
        let stat = std::fs::read_to_string(child.join("stat")).unwrap_or_default();
        // A zombie waits for its reaper alone.
        (stat.is_empty() || stat.contains(") Z ")).then_some(()).ok_or(stat)
    })
    .await;
    output.status
}

#[tokio::test]
async fn ctrl_c_ends_the_demo_and_what_it_started() {
    assert_eq!(interrupted("-INT").await.code(), Some(130));
}

#[tokio::test]
async fn a_request_to_end_ends_the_demo_and_what_it_started() {
    assert_eq!(interrupted("-TERM").await.code(), Some(143));
}
