//! How making a release fails.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

/// Why a part of the release could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program failed, or something does not look as it must; the text has the cure.
    #[error("{0}")]
    Wrong(String),
}

impl Error {
    /// A text with its cure.
    pub fn wrong(text: impl Display) -> Self {
        Error::Wrong(text.to_string())
    }

    /// For `map_err`: says which file.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Error::File { path, source }
    }
}
