//! What happens in the cluster, as one stream.

use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::runtime::watcher;

use crate::api::names::{MANAGER, label};
use crate::domain::intent::Kind;

use super::{ClusterError, Metadata, RawToken, Scope, TokenRecord, Tokens};

/// Objects in one page of a list: bounds the memory that a list takes.
const PAGE: u32 = 250;
/// The first pause before a watch that failed is taken up again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// A change of what is watched.
#[derive(Debug)]
pub enum Change {
    /// A Token or ClusterToken was added or changed.
    Token(TokenRecord),
    /// A Token or ClusterToken is gone.
    TokenGone(TokenRecord),
    /// The objects of this kind are about to be listed anew.
    TokensRestart(Kind),
    /// All objects of this kind have been listed.
    TokensListed(Kind),
    /// A managed Secret was added or changed.
    Secret(Box<Metadata>),
    /// A managed Secret is gone, or has lost our label.
    SecretGone(Box<Metadata>),
    /// The managed Secrets are about to be listed anew.
    SecretsRestart,
    /// All managed Secrets have been listed.
    SecretsListed,
    /// A watch failed; it is taken up again by itself, after a pause.
    Failed(ClusterError),
}

/// The labels of managed Secrets. Where ClusterTokens are not served, their Secrets are somebody else's business.
pub(super) fn managed(scope: &Scope) -> String {
    let kind = if scope.is_everything() {
        String::new()
    } else {
        format!(",{}={}", label::NAME, Kind::Token.as_str())
    };
    format!("{}={MANAGER}{kind}", label::CREATED_BY)
}

/// Watches both kinds, and the metadata of the Secrets with our label. Secrets of others are never listed.
pub fn watch(client: &Client, scope: &Scope) -> impl Stream<Item = Change> + Send + use<> {
    let managed = watcher::Config::default().labels(&managed(scope)).page_size(PAGE);
    let api = |namespace: Option<&str>| match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let secrets = scope.watch(api, &managed, Metadata::from);
    let secrets = secrets.flat_map(|event| stream::iter(secret_change(event)));
    stream::select(watch_both(client, scope), secrets)
}

/// Watches the Tokens and ClusterTokens alone.
pub fn watch_both(client: &Client, scope: &Scope) -> impl Stream<Item = Change> + Send + use<> {
    let tokens = Tokens::new(client.clone(), scope.clone());
    let both = [Kind::Token, Kind::ClusterToken].map(|kind| watch_tokens(&tokens, scope, kind));
    stream::select_all(both)
}

fn watch_tokens(tokens: &Tokens, scope: &Scope, kind: Kind) -> BoxStream<'static, Change> {
    if kind == Kind::ClusterToken && !scope.is_everything() {
        return stream::iter([Change::TokensRestart(kind), Change::TokensListed(kind)]).boxed();
    }
    let config = watcher::Config::default().page_size(PAGE);
    let events = scope.watch(|namespace| tokens.of(kind, namespace), &config, RawToken::from);
    events
        .flat_map(move |event| stream::iter(token_change(kind, event)))
        .boxed()
}

/// An object of metadata alone.
pub(super) fn bare(metadata: ObjectMeta) -> DynamicObject {
    DynamicObject {
        types: None,
        metadata,
        data: serde_json::json!({}),
    }
}

/// Between two attempts to take up a watch: short, since while nothing is seen nothing is mended, and one request costs little.
#[derive(Debug, Default)]
pub(super) struct Pause(u32);

impl Iterator for Pause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = SHORTEST_PAUSE.saturating_mul(1 << self.0.min(8)).min(LONGEST_PAUSE);
        self.0 = self.0.saturating_add(1);
        Some(pause)
    }
}

impl kube::runtime::utils::Backoff for Pause {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

fn token_change(kind: Kind, event: watcher::Result<watcher::Event<RawToken>>) -> Option<Change> {
    Some(match event {
        Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
            Change::Token(TokenRecord::new(kind, object)?)
        }
        Ok(watcher::Event::Delete(object)) => Change::TokenGone(TokenRecord::new(kind, object)?),
        Ok(watcher::Event::Init) => Change::TokensRestart(kind),
        Ok(watcher::Event::InitDone) => Change::TokensListed(kind),
        Err(error) => Change::Failed(match error.into() {
            ClusterError::Missing => ClusterError::Unavailable(format!(
                "the API server does not know the kind {}: install the CustomResourceDefinitions, which `gtm crds` prints",
                kind.as_str()
            )),
            error => error,
        }),
    })
}

fn secret_change(event: watcher::Result<watcher::Event<Metadata>>) -> Option<Change> {
    Some(match event {
        Ok(watcher::Event::Apply(meta) | watcher::Event::InitApply(meta)) => Change::Secret(Box::new(meta)),
        Ok(watcher::Event::Delete(meta)) => Change::SecretGone(Box::new(meta)),
        Ok(watcher::Event::Init) => Change::SecretsRestart,
        Ok(watcher::Event::InitDone) => Change::SecretsListed,
        Err(error) => Change::Failed(error.into()),
    })
}
