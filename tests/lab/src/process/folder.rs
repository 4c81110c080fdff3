//! Temporary folders that vanish with their owner, even one that is killed.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio, id},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::error::{During, Error};

/// Free space that a folder in memory needs: etcd reserves 64 MB for its log at once, and grows.
const ROOM: u64 = 1 << 30;

/// Waits for the end of its input, which comes when the owner closes it or dies, then removes the folder.
/// Processes that are being killed may still write, hence the tries.
const GUARD: &str = r#"trap '' INT TERM HUP; cat >/dev/null
for try in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$1" 2>/dev/null && exit; sleep 0.1; done"#;

/// A folder of its own, readable by its owner only, in memory when there is room.
/// It is removed when this value is dropped, and also when the program ends without that.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    guard: Child,
}

impl Folder {
    /// Makes a folder under `/dev/shm` (memory), or in the temporary folder when that has less than 1 GiB free.
    ///
    /// # Errors
    /// When the folder cannot be made or `sh` cannot be started.
    pub fn new() -> Result<Self, Error> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let memory = PathBuf::from("/dev/shm");
        let base = if free_space(&memory) >= ROOM {
            memory
        } else {
            env::temp_dir()
        };
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("gtm-lab-{}-{count}", id()));
        create_private(&path)?;
        let guard = Command::new("sh")
            .args(["-c", GUARD, "sh"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
            .during(|| format!("start sh to guard {}", path.display()))?;
        Ok(Self { path, guard })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file into it and returns where.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        fs::write(&path, content).during(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // The guard ends by itself; that it cannot be waited for leaves nothing to do.
        let _ = self.guard.wait();
    }
}

fn create_private(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .during(|| format!("make the folder {}", path.display()))
}

/// In bytes; 0 when it cannot be used.
fn free_space(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |room| room.f_bavail * room.f_frsize)
}
