//! Where a new App's private key goes: a file, a Secret, or both. Each place is made sure of before GitHub is asked for the key.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use crate::cluster::{AppObjects, ClusterError};
use crate::domain::intent::SecretKey;

use super::super::connection::connect;

/// So much room is taken for a key before there is one, in bytes: twice that of one of 2048 bits.
const ROOM: usize = 4096;

/// The places that were asked for.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// A file that does not exist yet.
    pub file: Option<PathBuf>,
    /// A Secret that does not exist yet.
    pub secret: Option<SecretKey>,
}

/// The places, as far as they can be held without a key.
pub struct Store {
    file: Option<Claim>,
    secret: Option<Place>,
}

impl Store {
    /// Makes the file, with room for a key, and asks the API server whether it would make the Secret.
    ///
    /// # Errors
    /// What stands in the way, and the cure. Nothing is left behind.
    pub async fn claim(places: &Places) -> Result<Self, String> {
        let secret = match &places.secret {
            None => None,
            Some(key) => Some(Place {
                objects: AppObjects::new(connect().await?),
                key: key.clone(),
                kept: false,
            }),
        };
        let file = places.file.as_deref().map(Claim::take).transpose()?;
        let store = Store { file, secret };
        store.check().await?;
        Ok(store)
    }

    /// Whether the file is where it was made, and the Secret can still be made.
    ///
    /// # Errors
    /// What stands in the way, and the cure.
    pub async fn check(&self) -> Result<(), String> {
        self.file.as_ref().map_or(Ok(()), Claim::check)?;
        match &self.secret {
            None => Ok(()),
            Some(place) => place.write(&SecretString::from("no key yet"), true).await,
        }
    }

    /// Writes the key to each place; what went wrong.
    pub async fn keep(&mut self, pem: &SecretString) -> Vec<String> {
        let mut failures = Vec::new();
        if let Some(file) = &mut self.file
            && let Err(problem) = file.keep(pem)
        {
            failures.push(problem);
        }
        if let Some(place) = &mut self.secret {
            match place.write(pem, false).await {
                Ok(()) => place.kept = true,
                Err(problem) => failures.push(problem),
            }
        }
        failures
    }

    /// The places that have the key.
    pub fn kept(&self) -> Vec<String> {
        let file = self.file.as_ref().filter(|file| file.kept);
        let secret = self.secret.as_ref().filter(|place| place.kept);
        let file = file.map(|file| file.path.display().to_string());
        file.into_iter()
            .chain(secret.map(|place| format!("the Secret {}", place.key)))
            .collect()
    }
}

/// A Secret to be.
struct Place {
    objects: AppObjects,
    key: SecretKey,
    kept: bool,
}

impl Place {
    async fn write(&self, pem: &SecretString, dry_run: bool) -> Result<(), String> {
        let written = self.objects.create_key(&self.key, pem, dry_run).await;
        written.map_err(|error| problem(&self.key, &error))
    }
}

fn problem(key: &SecretKey, error: &ClusterError) -> String {
    let SecretKey { namespace, name } = key;
    let told = match error {
        ClusterError::Exists | ClusterError::Conflict => {
            "it exists already, and is not overwritten; give another name, or delete it if nobody reads it".to_owned()
        }
        ClusterError::NamespaceUnavailable(said) => {
            format!("{said}; make the namespace: kubectl create namespace {namespace}")
        }
        ClusterError::Missing => {
            format!("there is no namespace {namespace}; make it: kubectl create namespace {namespace}")
        }
        ClusterError::Invalid(said) => format!("{said}; give a name of small letters, digits and hyphens"),
        ClusterError::Forbidden(said) => format!("{said}; let someone with the right to create Secrets there do this"),
        ClusterError::Unauthorized | ClusterError::Refused(_) | ClusterError::Altered(_) => error.to_string(),
        ClusterError::Unavailable(_) | ClusterError::Unserved => {
            format!("{error}; check KUBECONFIG and the API server")
        }
    };
    format!("--secret {namespace}/{name}: {told}")
}

/// A file that is ours, and empty until the key is there: without it, it goes again.
struct Claim {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl Claim {
    fn take(path: &Path) -> Result<Self, String> {
        let told = |error: io::Error| {
            let cure = match error.kind() {
                io::ErrorKind::AlreadyExists => "it is not overwritten: give another path, or move it away",
                io::ErrorKind::NotFound => "make its folder first, or give another path",
                _ => "give a path in a folder that you may write to, with room for a file",
            };
            format!("--key-file {}: {error}; {cure}", path.display())
        };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut claim = Claim {
            path: path.to_owned(),
            file: file.map_err(told)?,
            kept: false,
        };
        // A disk without room says so now.
        let room = claim
            .file
            .write_all(&[b'\n'; ROOM])
            .and_then(|()| claim.file.sync_all());
        room.map_err(told)?;
        Ok(claim)
    }

    /// Whether the path still leads to the file: a folder that is moved or removed takes it along.
    fn check(&self) -> Result<(), String> {
        let place = |found: &Metadata| (found.dev(), found.ino());
        let ours = self.file.metadata().map(|found| place(&found));
        let there = std::fs::symlink_metadata(&self.path).map(|found| place(&found));
        if ours.is_ok_and(|ours| there.is_ok_and(|there| ours == there)) {
            return Ok(());
        }
        Err(format!(
            "--key-file {}: the file that was made there has gone; make its folder again",
            self.path.display()
        ))
    }

    fn keep(&mut self, pem: &SecretString) -> Result<(), String> {
        let written = self.write(pem.expose_secret().as_bytes());
        written.map_err(|error| {
            format!(
                "--key-file {}: its key could not be written: {error}",
                self.path.display()
            )
        })?;
        self.check()?;
        self.kept = true;
        Ok(())
    }

    fn write(&mut self, pem: &[u8]) -> io::Result<()> {
        self.file.rewind()?;
        self.file.write_all(pem)?;
        self.file.set_len(pem.len().try_into().unwrap_or(u64::MAX))?;
        self.file.sync_all()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // What stands there by now may be someone else's.
        if !self.kept && self.check().is_ok() {
            // It is empty: nobody misses what cannot be removed.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests;
