//! A mounted Secret, as the kubelet keeps its files.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::error::{During, Error};

/// Puts files in place as the kubelet does: a new folder, a symlink that is swapped, and the former folder removed.
///
/// # Errors
/// When a file cannot be written.
pub fn swap(folder: &Path, files: &[(&str, &[u8])]) -> Result<(), Error> {
    let swapped = || -> io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("..{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let target = folder.join(&name);
        fs::create_dir(&target)?;
        for (file, content) in files {
            fs::write(target.join(file), content)?;
        }
        let (data, temporary) = (folder.join("..data"), folder.join("..data_tmp"));
        let former = fs::read_link(&data).ok();
        symlink(&name, &temporary)?;
        fs::rename(&temporary, &data)?;
        for (file, _) in files {
            let link = folder.join(file);
            if !link.is_symlink() {
                symlink(Path::new("..data").join(file), link)?;
            }
        }
        former.map_or(Ok(()), |former| fs::remove_dir_all(folder.join(former)))
    };
    swapped().during(|| format!("put files into {}", folder.display()))
}
