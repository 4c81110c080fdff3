//! Child processes that never outlive the program that started them, and what they need: folders, ports, signals.

mod folder;
mod port;
mod spawner;
mod usage;

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Mutex,
    time::Duration,
};

use rustix::process::{Pid, kill_process};

pub use folder::Folder;
pub use port::Port;
pub use rustix::process::Signal;
pub use usage::Usage;

use crate::{
    error::{During, Error},
    wait::wait_for,
};

/// How many bytes of a log an error quotes.
const TAIL: usize = 4000;

/// A running program with a log file of its own; dropping it kills it.
///
/// It is also killed when the whole program that started it dies, however that happens, and it is in a process group of
/// its own, so that Ctrl-C reaches only the program that owns it.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    pid: Pid,
    child: Mutex<Child>,
}

impl Process {
    /// Starts `command`; what it prints is appended to the file `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self, Error> {
        let open = || format!("open the log {}", log.display());
        let out = OpenOptions::new().create(true).append(true).open(log).during(open)?;
        let err = out.try_clone().during(open)?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let program = command.get_program().to_owned();
        let child = spawner::spawn(command).during(|| format!("start {name} ({})", program.display()))?;
        Ok(Self {
            name: name.into(),
            log: log.into(),
            pid: Pid::from_child(&child),
            child: Mutex::new(child),
        })
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Everything that it has printed so far; what is not UTF-8 is replaced.
    pub fn log(&self) -> String {
        self.log_from(|_| 0)
    }

    /// How it ended, if it has.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.child().try_wait().ok().flatten()
    }

    /// Checks that it still runs.
    ///
    /// # Errors
    /// [`Error::Exited`] with the end of its log, when it does not.
    pub fn check_running(&self) -> Result<(), Error> {
        match self.exit_status() {
            None => Ok(()),
            Some(status) => Err(self.exited(status)),
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`Error::Exited`] when it is no longer running.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        let mut child = self.child();
        // Held locked: a process that nobody has waited for keeps its id, so the signal cannot reach another one.
        if let Some(status) = child.try_wait().ok().flatten() {
            return Err(self.exited(status));
        }
        kill_process(self.pid, signal)
            .map_err(Into::into)
            .during(|| format!("signal {} ({})", self.name, self.pid()))
    }

    /// Stops it where it is (SIGSTOP), until [`Process::resume`].
    ///
    /// # Errors
    /// When it is no longer running.
    pub fn pause(&self) -> Result<(), Error> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// When it is no longer running.
    pub fn resume(&self) -> Result<(), Error> {
        self.signal(Signal::CONT)
    }

    /// Kills it (SIGKILL) and waits for its end; one that has ended already is fine.
    pub fn kill(&self) {
        let mut child = self.child();
        // Both fail only for a process that is gone, which is what is wanted.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    /// When it was no longer running, or still runs after `within`.
    pub async fn terminate(&self, within: Duration) -> Result<ExitStatus, Error> {
        self.signal(Signal::TERM)?;
        self.wait(within).await
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `within`.
    pub async fn wait(&self, within: Duration) -> Result<ExitStatus, Error> {
        let what = format!("the end of {}", self.name);
        wait_for(within, &what, async || {
            self.exit_status()
                .ok_or_else(|| format!("still running; its log ends with:\n{}", self.log_tail()))
        })
        .await
    }

    /// The memory and processor time that it uses.
    ///
    /// # Errors
    /// When it is no longer running.
    pub fn usage(&self) -> Result<Usage, Error> {
        self.check_running()?;
        Usage::of(self.pid())
    }

    /// The end of [`Process::log`].
    pub(crate) fn log_tail(&self) -> String {
        self.log_from(|length| length.saturating_sub(TAIL))
            .trim_end()
            .to_owned()
    }

    /// From the byte `start(length)` on.
    fn log_from(&self, start: impl Fn(usize) -> usize) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[start(log.len())..]).into_owned()
    }

    fn exited(&self, status: ExitStatus) -> Error {
        Error::Exited {
            name: self.name.clone(),
            status,
            log: self.log_tail(),
        }
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        // A panic elsewhere must not keep a process alive: the state behind the lock is always whole.
        self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(folder: &Folder, script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("sh", command, &folder.path().join("sh.log")).unwrap()
    }

    /// A zombie, which only waits for somebody to ask how it ended, is dead.
    fn alive(pid: u32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        state.is_some_and(|state| !state.starts_with(['Z', 'X']))
    }

    #[tokio::test]
    async fn what_a_process_prints_is_in_its_log_and_in_the_error_of_its_end() {
        let folder = Folder::new().unwrap();
        let process = shell(&folder, "echo out; echo err >&2; exit 3");
        assert_eq!(process.wait(SOON).await.unwrap().code(), Some(3));
        assert_eq!(process.log(), "out\nerr\n");
        let error = process.check_running().unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("err"), "{error}");
        assert!(matches!(process.pause(), Err(Error::Exited { .. })));
    }

    #[tokio::test]
    async fn a_paused_process_ends_only_after_it_goes_on() {
        let folder = Folder::new().unwrap();
        let process = shell(&folder, "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done");
        wait_for(SOON, "the trap", async || {
            (process.log() == "up\n").then_some(()).ok_or("no output")
        })
        .await
        .unwrap();
        process.pause().unwrap();
        let error = process.terminate(Duration::from_millis(200)).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        process.resume().unwrap();
        assert_eq!(process.wait(SOON).await.unwrap().code(), Some(7));
    }

    #[test]
    fn dropping_a_process_kills_it_and_dropping_a_folder_removes_it() {
        let folder = Folder::new().unwrap();
        let process = shell(&folder, "exec sleep 600");
        let pid = process.pid();
        process.pause().unwrap();
        assert!(alive(pid));
        drop(process);
        assert!(!alive(pid));
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    #[ignore = "is run, and killed, by the next test"]
    fn owner_of_a_process_and_a_folder() {
        let folder = Folder::new().unwrap();
        let process = shell(&folder, "exec sleep 600");
        println!("\nowns {} {}", process.pid(), folder.path().display());
        process.child().wait().unwrap();
    }

    #[tokio::test]
    async fn nothing_survives_an_owner_that_is_killed() {
        let folder = Folder::new().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        let test = "process::tests::owner_of_a_process_and_a_folder";
        command.args(["--exact", test, "--ignored", "--nocapture"]);
        let owner = Process::start("owner", command, &folder.path().join("log")).unwrap();
        let (pid, path) = wait_for(SOON, "what it owns", async || {
            let log = owner.log();
            let line = log.lines().find_map(|line| line.strip_prefix("owns "));
            let (pid, path) = line.and_then(|line| line.split_once(' ')).ok_or(log.clone())?;
            Ok::<_, String>((pid.parse::<u32>().unwrap(), PathBuf::from(path)))
        })
        .await
        .unwrap();
        assert!(alive(pid) && path.exists());
        owner.kill();
        wait_for(SOON, "the end of all", async || match (alive(pid), path.exists()) {
            (false, false) => Ok(()),
            state => Err(format!("process, folder there: {state:?}")),
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn a_process_outlives_the_thread_that_started_it() {
        let folder = Folder::new().unwrap();
        let script = "trap 'echo still here' USR1; echo up; while :; do sleep 0.01; done";
        let start = || {
            let thread = fs::read_link("/proc/thread-self").unwrap();
            (Path::new("/proc").join(thread), shell(&folder, script))
        };
        let (thread, process) = std::thread::scope(|threads| threads.spawn(start).join().unwrap());
        wait_for(SOON, "the thread's end and the trap", async || {
            let state = (thread.exists(), process.log());
            (state == (false, "up\n".into()))
                .then_some(())
                .ok_or(format!("{state:?}"))
        })
        .await
        .unwrap();
        // A signal sent because of the thread's end would have been sent by now, and would come before this one.
        process.signal(Signal::USR1).unwrap();
        wait_for(SOON, "a sign of life", async || {
            process.log().contains("still here").then_some(()).ok_or(process.log())
        })
        .await
        .unwrap();
    }

    #[test]
    fn usage_counts_the_processor_time_and_the_memory() {
        let own = Usage::of(std::process::id()).unwrap();
        assert!(own.resident > 1 << 20 && own.peak >= own.resident, "{own:?}");
        let start = std::time::Instant::now();
        while Usage::of(std::process::id()).unwrap().cpu < own.cpu + Duration::from_millis(20) {
            assert!(start.elapsed() < SOON, "no processor time was counted");
        }
    }
}
