//! What is built: which commit, of when.

use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{Metadata, MetadataCommand, Package};

use crate::Error;

/// The package whose program is shipped.
pub const PACKAGE: &str = "github-token-manager";

/// The work tree and what is known of it.
#[derive(Debug)]
pub struct Source {
    /// Its folder.
    pub root: PathBuf,
    /// Rust's name of what it is compiled for.
    pub target: &'static str,
    /// All packages.
    pub metadata: Metadata,
    /// When it was made, in seconds since 1970: of `SOURCE_DATE_EPOCH`
    /// (<https://reproducible-builds.org/docs/source-date-epoch/>), else of the commit, else 0.
    pub epoch: u64,
    /// The commit, if the work tree is one and holds nothing else.
    pub revision: Option<String>,
}

impl Source {
    /// Looks at the work tree around the present folder. `target` is what crates are chosen for.
    ///
    /// # Errors
    /// When Cargo cannot read it, or `SOURCE_DATE_EPOCH` is no number.
    pub fn read(target: &'static str) -> Result<Self, Error> {
        let mut command = MetadataCommand::new();
        command.other_options(vec!["--locked".into(), "--filter-platform".into(), target.into()]);
        let metadata = command
            .exec()
            .map_err(|error| Error::wrong(format!("cargo metadata: {error}")))?;
        let root: PathBuf = metadata.workspace_root.clone().into();
        let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => Some(text),
            Err(_) => git(&root, &["log", "-1", "--format=%ct"]),
        };
        let epoch = epoch.map(|text| {
            let wrong = |_| {
                Error::wrong(format!(
                    "SOURCE_DATE_EPOCH is {text}: it must be a number of seconds since 1970"
                ))
            };
            text.parse().map_err(wrong)
        });
        let clean = git(&root, &["status", "--porcelain"]).is_some_and(|changes| changes.is_empty());
        let revision = git(&root, &["rev-parse", "HEAD"]).filter(|_| clean);
        Ok(Source {
            epoch: epoch.transpose()?.unwrap_or_default(),
            revision,
            target,
            root,
            metadata,
        })
    }

    /// The package that is shipped.
    ///
    /// # Errors
    /// When the workspace has no such package.
    pub fn package(&self) -> Result<&Package, Error> {
        let mut all = self.metadata.packages.iter();
        all.find(|package| package.name.as_str() == PACKAGE)
            .ok_or_else(|| Error::wrong(format!("the workspace has no package {PACKAGE}")))
    }
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
