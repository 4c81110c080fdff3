//! The floor of the issue rate: a bare loop that makes the two API writes of an issue, and nothing else.

use tokio::time::Instant;

use futures::{StreamExt, TryStreamExt, stream};
use github_token_manager::api::Token;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::Failed;
use crate::world::{AT_ONCE, World, server_cpu};

/// What the operator wrote for one Token: the floor writes the same, so that both move as many bytes.
pub struct Sample {
    secret: Secret,
    status: serde_json::Value,
}

impl Sample {
    /// What was written for the Token of this name.
    pub async fn of(world: &World, name: &str) -> Result<Self, Failed> {
        let token = world.tokens().get(name).await?;
        let mut secret = world.secrets().get(name).await?;
        // The operator must never take the floor's Secrets for its own; a label of the same length costs the same.
        for label in secret
            .labels_mut()
            .values_mut()
            .filter(|value| *value == "github-token-manager")
        {
            "github-token-measure".clone_into(label);
        }
        let status = json!(token.status);
        Ok(Sample { secret, status })
    }

    /// Writes a Secret and a status for each of `count` Tokens; returns how many of those pairs were written in a second, and
    /// the API server's processor time in seconds.
    pub async fn measure(&self, world: &World, prefix: &str, count: usize) -> Result<(f64, f64), Failed> {
        let created = world.create_tokens(prefix, count).await?;
        let (tokens, secrets) = (world.tokens(), world.secrets());
        let (server, start) = (server_cpu(&world.cluster)?, Instant::now());
        let writes = stream::iter(&created).map(|token| self.write(&tokens, &secrets, token));
        writes.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let rate = count as f64 / start.elapsed().as_secs_f64();
        let server = server_cpu(&world.cluster)? - server;
        // Gone before the operator looks: to it they would be Tokens like any other.
        let name = |token: &Token| token.name_any();
        let delete = |name: String| {
            let tokens = tokens.clone();
            async move {
                tokens.delete(&name, &DeleteParams::default()).await?;
                Ok::<_, Failed>(())
            }
        };
        let gone = stream::iter(created.iter().map(name))
            .map(delete)
            .buffer_unordered(AT_ONCE);
        gone.try_collect::<()>().await?;
        Ok((rate, server))
    }

    async fn write(&self, tokens: &Api<Token>, secrets: &Api<Secret>, token: &Token) -> Result<(), Failed> {
        let name = token.name_any();
        let mut owner = self
            .secret
            .owner_references()
            .first()
            .cloned()
            .ok_or("the Secret has no owner")?;
        owner.name.clone_from(&name);
        owner.uid = token.uid().unwrap_or_default();
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(self.secret.labels().clone()),
                annotations: Some(self.secret.annotations().clone()),
                owner_references: Some(vec![owner]),
                finalizers: Some(self.secret.finalizers().to_vec()),
                ..ObjectMeta::default()
            },
            ..self.secret.clone()
        };
        secrets.create(&PostParams::default(), &secret).await?;
        let patch = json!({"metadata": {"uid": token.uid()}, "status": self.status});
        tokens
            .patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        Ok(())
    }
}
