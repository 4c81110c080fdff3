//! Starts processes that the kernel kills when this program dies.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command},
    sync::{
        OnceLock,
        mpsc::{Sender, SyncSender, channel, sync_channel},
    },
    thread,
};

use rustix::process::{Signal, set_parent_process_death_signal};

type Job = (Command, SyncSender<io::Result<Child>>);

/// Starts `command` in a process group of its own, to be killed when this program ends in any way.
///
/// The kernel sends the signal when the *thread* that forked ends (`PR_SET_PDEATHSIG` in prctl(2)), and each test has
/// a thread of its own: so one thread, which lives as long as the program, starts them all.
pub(super) fn spawn(mut command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    command.process_group(0);
    // SAFETY: the closure runs between fork and exec and makes one system call, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    let (reply, answer) = sync_channel(1);
    let gone = || io::Error::other("the thread that starts processes is gone");
    SPAWNER
        .get_or_init(start_thread)
        .send((command, reply))
        .map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

fn start_thread() -> Sender<Job> {
    let (jobs, inbox) = channel::<Job>();
    thread::spawn(move || {
        for (mut command, reply) in inbox {
            // Who asked may be gone; then the child must not stay.
            if let Err(unwanted) = reply.send(command.spawn())
                && let Ok(mut child) = unwanted.0
            {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    });
    jobs
}
