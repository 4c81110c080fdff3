//! How a command fails.

use std::fmt;
use std::process::ExitCode;

/// Why a command failed; the text may have several lines, one for each problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The arguments or the configuration are wrong: exit code 2.
    Usage(String),
    /// It could not be done: exit code 1.
    Failed(String),
}

impl Failure {
    /// 2 for wrong arguments or configuration, 1 for anything else.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Usage(_) => ExitCode::from(2),
            Failure::Failed(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    /// Each line begins with `error: `.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Usage(text) | Failure::Failed(text)) = self;
        for (index, line) in text.lines().enumerate() {
            let start = if index > 0 { "\n" } else { "" };
            write!(f, "{start}error: {line}")?;
        }
        Ok(())
    }
}
