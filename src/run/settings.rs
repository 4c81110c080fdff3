//! The startup configuration, and the certificates that it names: App objects, too, go by what it says beside its own App.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::api::Reason;
use crate::config::{CaBundle, Config};
use crate::domain::Problem;
use crate::domain::intent::invalid;
use crate::domain::schedule::Retry;
use crate::github::HttpClients;

use super::apps::{Fields, read};

/// Certificates to trust beside the system's.
#[derive(Clone, PartialEq)]
pub struct Authorities {
    pem: Vec<u8>,
    /// The file that they were read from.
    file: Option<PathBuf>,
}

impl Authorities {
    /// Those of a text.
    pub fn of_text(pem: &str) -> Self {
        Authorities {
            pem: pem.as_bytes().to_vec(),
            file: None,
        }
    }

    /// Those that the configuration names.
    ///
    /// # Errors
    /// A [`Problem`] that names the file.
    pub async fn of(config: &Config) -> Result<Option<Self>, Problem> {
        Ok(match &config.ca_bundle {
            None => None,
            Some(CaBundle::Pem(pem)) => Some(Authorities::of_text(pem)),
            Some(CaBundle::File(path)) => Some(Authorities {
                pem: read("ca_bundle", path).await?,
                file: Some(path.clone()),
            }),
        })
    }
}

/// A client that trusts them.
///
/// # Errors
/// A [`Problem`] that names the field, or the file that they were read from.
pub fn https(
    clients: &HttpClients,
    authorities: Option<&Authorities>,
    fields: Fields,
) -> Result<Arc<reqwest::Client>, Problem> {
    let http = clients.trusting(authorities.map(|authorities| authorities.pem.as_slice()));
    http.map_err(|error| {
        let file = authorities.and_then(|authorities| authorities.file.as_ref());
        let message = match (fields.ca_bundle, file) {
            (Some(field), _) => return invalid(error.in_field(field)),
            (None, Some(file)) => format!("{}: {error}", file.display()),
            (None, None) => error.to_string(),
        };
        Problem::new(Reason::AppNotReady, Retry::Every(Duration::from_secs(600)), message)
    })
}

/// A configuration with what its certificate file holds, so that what is in use stays so when the file changes.
#[derive(Clone, PartialEq)]
pub struct Settings {
    /// What file, environment and flags say.
    pub config: Config,
    /// The certificates that it names.
    pub authorities: Result<Option<Authorities>, Problem>,
}

impl Settings {
    /// Reads the certificates.
    pub async fn gather(config: Config) -> Self {
        let authorities = Authorities::of(&config).await;
        Settings { config, authorities }
    }

    /// What speaks against using them instead of the `former` ones, whatever App they name.
    ///
    /// # Errors
    /// A [`Problem`] of the file, or of the certificates.
    pub fn may_replace(&self, former: &Settings, http: &HttpClients) -> Result<(), Problem> {
        if self.config.file_is_empty && !former.config.file_is_empty {
            return Err(emptied());
        }
        match (self.trusted(http), former.trusted(http)) {
            (Err(problem), Ok(())) => Err(problem),
            _ => Ok(()),
        }
    }

    fn trusted(&self, http: &HttpClients) -> Result<(), Problem> {
        let authorities = self.authorities.as_ref().map_err(Problem::clone)?;
        https(http, authorities.as_ref(), Fields::CONFIGURATION).map(drop)
    }
}

/// A file that was emptied, or has gone, is a slip more often than a wish.
fn emptied() -> Problem {
    Problem::new(
        Reason::NoStartupConfig,
        Retry::Backoff,
        "the file says nothing, and what it said before stays in use; write into gtm.yaml what is to hold, or restart the operator to have it work without",
    )
}
