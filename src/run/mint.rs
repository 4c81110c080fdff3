//! One token, without a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;

use crate::api::Reason;
use crate::config::{AppConfig, Config};
use crate::domain::Problem;
use crate::domain::intent::Scope;
use crate::domain::schedule::Retry;
use crate::github::{HttpClients, Observe};

use super::apps::Ingredients;
use super::discovery;

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

/// Issues a token of this App, with what is configured beside it.
///
/// # Errors
/// A [`Problem`] of the key or of GitHub.
pub async fn mint(config: &Config, app: &AppConfig, scope: &Scope) -> Result<MintAnswer, Problem> {
    let config = Config {
        app: Some(app.clone()),
        ..config.clone()
    };
    let Some(ingredients) = Ingredients::gather(&config, None).await? else {
        return Err(Problem::new(
            Reason::NoStartupConfig,
            Retry::Every(Duration::from_secs(600)),
            "no App is configured",
        ));
    };
    let observe: Arc<dyn Observe> = Arc::new(());
    let mut app = Arc::new(ingredients.build(&HttpClients::default(), observe).await?);
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
