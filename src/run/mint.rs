//! One token, without a cluster.

use std::sync::Arc;

use crate::cli::{MintAnswer, MintRequest};
use crate::controller::no_installation;
use crate::domain::Problem;
use crate::github::{MintScope, Observe};

use super::apps::Ingredients;

/// Issues the token that was asked for.
///
/// # Errors
/// A [`Problem`] of the key or of GitHub.
pub async fn mint(request: &MintRequest) -> Result<MintAnswer, Problem> {
    let config = crate::config::Config {
        app: Some(request.app.clone()),
        ..request.config.clone()
    };
    let Some(ingredients) = Ingredients::gather(&config, None).await? else {
        return Err(no_installation());
    };
    let observe: Arc<dyn Observe> = Arc::new(());
    let app = ingredients.build(observe)?;
    let installation = app.facts.installation.ok_or_else(no_installation)?;
    let scope = MintScope {
        permissions: request.scope.permissions.clone(),
        repositories: request.scope.repositories.clone(),
        repository_ids: request.scope.repository_ids.clone(),
    };
    let turn = app.client.mint_turn().await;
    let minted = app.client.mint(installation, &scope, turn).await;
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
