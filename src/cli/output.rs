//! Standard output.

use std::io::{self, StdoutLock, Write};

use super::Failure;

/// For whom a result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Writes a result to standard output. Whoever stops reading it, as `head` does, has what was wanted.
///
/// # Errors
/// When it cannot be written.
pub(super) fn print(write: impl FnOnce(&mut StdoutLock<'_>) -> io::Result<()>) -> Result<(), Failure> {
    let mut to = io::stdout().lock();
    outcome(write(&mut to).and_then(|()| to.flush()))
}

fn outcome(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_no_further_has_what_was_wanted_and_a_full_disk_is_told() {
        assert_eq!(outcome(Err(io::ErrorKind::BrokenPipe.into())), Ok(()));
        let full = outcome(Err(io::ErrorKind::StorageFull.into()));
        assert!(matches!(full, Err(Failure::Failed(text)) if text.contains("no storage space")));
    }
}
