//! Tar archives that depend on nothing but what is in them.

use std::collections::BTreeMap;
use std::io;

use tar::{Builder, EntryType, Header};

/// Files by their path, with their mode; all belong to root and are as old as `modified` says (seconds since 1970). Folders on the
/// way are made, mode 0755; everything is in the order of its path.
///
/// # Errors
/// When a path is no path for a tar archive.
pub fn tar(files: &BTreeMap<String, (Vec<u8>, u32)>, modified: u64) -> io::Result<Vec<u8>> {
    let mut entries: BTreeMap<String, Option<&(Vec<u8>, u32)>> = BTreeMap::new();
    for (path, file) in files {
        for (end, _) in path.match_indices('/') {
            entries.insert(path.chars().take(end + 1).collect(), None);
        }
        entries.insert(path.clone(), Some(file));
    }
    let mut archive = Builder::new(Vec::new());
    for (path, file) in entries {
        let mut header = Header::new_ustar();
        let (bytes, mode, kind) = match file {
            Some((bytes, mode)) => (bytes.as_slice(), *mode, EntryType::Regular),
            None => ([].as_slice(), 0o755, EntryType::Directory),
        };
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        header.set_mtime(modified);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, path, bytes)?;
    }
    archive.into_inner()
}
