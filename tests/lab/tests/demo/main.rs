//! The demo's end, however it comes; that its steps succeed is shown by `make demo`.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use lab::process::Folder;
use lab::wait::eventually;
use tokio::process::{Child, Command};

const SOON: Duration = Duration::from_secs(20);

fn demo(gtm: &Path, pid_file: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_demo"))
        .arg(gtm)
        .arg("docs")
        .env("PID_FILE", pid_file)
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
    let output = end(demo(Path::new("/nonexistent/gtm"), Path::new("/dev/null"))).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("demo: /nonexistent/gtm: No such file"), "{said}");
    assert!(said.contains("cargo build --bin gtm"), "{said}");
}

#[tokio::test]
async fn an_operator_that_fails_ends_the_demo_with_1() {
    let output = end(demo(Path::new("/bin/false"), Path::new("/dev/null"))).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/bin/false crds failed (exit status: 1)"), "{said}");
}

/// A file of the sources: one written by a test can be "busy" when another test forks meanwhile.
const HANG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/demo/hang.sh");

/// How a demo ends that gets this signal while it waits for the operator; the operator's process must end, too.
async fn interrupted(signal: &str) -> ExitStatus {
    let folder = Folder::new().unwrap();
    let pid = folder.path().join("pid");
    let demo = demo(Path::new(HANG), &pid);
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
