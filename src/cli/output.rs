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

/// Writes a result to standard output.
///
/// # Errors
/// When it cannot be written.
pub(super) fn print(write: impl FnOnce(&mut StdoutLock<'_>) -> io::Result<()>) -> Result<(), Failure> {
    let mut to = io::stdout().lock();
    write(&mut to)
        .and_then(|()| to.flush())
        .map_err(|error| Failure::Failed(format!("standard output cannot be written: {error}")))
}
