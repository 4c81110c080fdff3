//! What can go wrong while the lab starts or steers its parts.

use std::{io, process::ExitStatus, time::Duration};

/// An error of the lab. Its text names what failed and, where there is one, the cure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a process could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// Why the system refused.
        source: io::Error,
    },
    /// A program that the lab needs is missing or cannot be built.
    #[error("{0}")]
    Tool(String),
    /// A process ended while it was still needed.
    #[error("{name} ended ({status}); its log ends with:\n{log}")]
    Exited {
        /// The process's name.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// A condition did not come true in time.
    #[error("not within {within:?}: {what}; last seen: {last}")]
    Timeout {
        /// What was awaited.
        what: String,
        /// How long it was awaited.
        within: Duration,
        /// What the last try saw.
        last: String,
    },
    /// kubectl ended with an error.
    #[error("kubectl {args}: {stderr}")]
    Kubectl {
        /// Its arguments.
        args: String,
        /// What it said.
        stderr: String,
    },
    /// The API server refused a request, or could not be reached.
    #[error(transparent)]
    Kube(#[from] Box<kube::Error>),
    /// A kubeconfig that the lab wrote cannot be read.
    #[error(transparent)]
    Kubeconfig(#[from] Box<kube::config::KubeconfigError>),
    /// A plain HTTP request failed. The library's own text leaves out why.
    #[error("{0}{causes}", causes = causes(.0))]
    Http(#[from] reqwest::Error),
    /// Something was asked of the lab that it was not started for.
    #[error("{0}")]
    Usage(String),
}

fn causes(error: &reqwest::Error) -> String {
    let first = std::error::Error::source(error);
    let causes = std::iter::successors(first, |cause| cause.source());
    causes.map(|cause| format!(": {cause}")).collect()
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Kube(Box::new(error))
    }
}

impl From<kube::config::KubeconfigError> for Error {
    fn from(error: kube::config::KubeconfigError) -> Self {
        Self::Kubeconfig(Box::new(error))
    }
}

/// Turns an `io::Error` into one that says what was tried.
pub(crate) trait During<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io { what: what(), source })
    }
}
