//! One token, without a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use secrecy::SecretString;

use crate::api::Reason;
use crate::config::{AppConfig, Config};
use crate::domain::Problem;
use crate::domain::intent::Scope;
use crate::github::{HttpClients, Observe};

use super::apps::Ingredients;
use super::discovery;
use super::settings::Settings;

/// What GitHub answered. There is no `Debug`: `gtm mint` is the one place that prints a token.
pub struct MintAnswer {
    /// The token.
    pub token: SecretString,
    /// When it expires.
    pub expires_at: Timestamp,
    /// What GitHub's audit log knows it by.
    pub hashed_token: String,
    /// What it may do.
    pub permissions: BTreeMap<String, String>,
    /// `all` or `selected`, as GitHub says.
    pub repository_selection: Option<String>,
    /// The names of the repositories that it is confined to.
    pub repositories: Vec<String>,
}

/// Why there is no token.
pub enum MintError {
    /// What is configured cannot be used, whatever GitHub and a key service say.
    Configuration(Problem),
    /// The key's service or GitHub does not give one.
    Refused(Problem),
}

impl From<Problem> for MintError {
    fn from(problem: Problem) -> Self {
        MintError::Refused(problem)
    }
}

/// Issues a token of this App, with what is configured beside it.
///
/// # Errors
/// [`MintError`]
pub async fn mint(config: &Config, app: &AppConfig, scope: &Scope) -> Result<MintAnswer, MintError> {
    let config = Config {
        app: Some(app.clone()),
        ..config.clone()
    };
    let gathered = Ingredients::gather(&Settings::gather(config).await, None).await;
    let ingredients = gathered.and_then(|found| found.ok_or_else(crate::controller::no_startup_app));
    let ingredients = ingredients.map_err(MintError::Configuration)?;
    let observe: Arc<dyn Observe> = Arc::new(());
    let built = ingredients.build(&HttpClients::default(), observe).await;
    let mut app = Arc::new(built.map_err(|problem| match problem.reason {
        // The CA bundle, and a key that is none.
        Reason::AppNotReady | Reason::InvalidKey | Reason::ProviderNotBuilt => MintError::Configuration(problem),
        _ => MintError::Refused(problem),
    })?);
    if app.facts.installation.is_none() {
        let found = discovery::installations(&app).await?;
        app = discovery::with_installations(&app, &found).unwrap_or(app);
    }
    let installation = app.facts.default_installation()?;
    let turn = app.client.mint_turn().await;
    let minted = app.client.mint(installation, &scope.into(), turn).await;
    let minted = minted.map_err(|error| Problem::new(error.reason(), error.retry(), error.to_string()))?;
    Ok(MintAnswer {
        token: minted.token,
        expires_at: minted.expires_at,
        hashed_token: minted.hashed_token,
        permissions: minted.permissions,
        repository_selection: minted
            .repository_selection
            .map(|selection| selection.as_str().to_owned()),
        repositories: minted.repositories,
    })
}
