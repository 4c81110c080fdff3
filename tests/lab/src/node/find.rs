//! The node's processes, as /proc shows them (proc(5)).

use std::{env, fs, path::PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::Error;

/// A program of the lab itself: beside the one that asks, or, for a test, in the folder above.
///
/// # Errors
/// When it was not built.
pub fn program(name: &str) -> Result<PathBuf, Error> {
    let own = env::current_exe().map_err(|error| Error::Tool(format!("where this program is: {error}")))?;
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    found.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        Error::Tool(format!(
            "{name} is not beside {}: build it with `cargo build -p gtm-lab --bins`",
            own.display()
        ))
    })
}

/// The first process of the node of that name.
pub(super) fn first_process(name: &str) -> Option<u32> {
    let all = processes(name).into_iter();
    all.into_iter()
        .find(|&pid| command(pid).first().is_some_and(|own| own.ends_with("/lab-node")))
}

/// It, and the one that waits for it.
pub(super) fn processes(name: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| match &command(pid)[..] {
        [.., program, verb, of] => program.ends_with("/lab-node") && verb == "init" && of == name,
        _ => false,
    })
    .collect()
}

/// A child of a process, by its program's file name.
pub(super) fn child_named(parent: u32, program: &str) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    let mut children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    children.find(|&pid| {
        command(pid)
            .first()
            .is_some_and(|own| own.rsplit('/').next() == Some(program))
    })
}

/// Whether nothing of a process is left but its number: the first of a pid namespace ends after all others of it, and has no command
/// line any more while it waits for them.
pub(super) fn ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_none_or(|(_, state)| state.starts_with(['Z', 'X']))
}

/// Ends one process; one that has ended already is fine.
pub(super) fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Empty for one that has ended.
fn command(pid: u32) -> Vec<String> {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.split_terminator('\0').map(str::to_owned).collect()
}
