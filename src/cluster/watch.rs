//! What happens in the cluster, as one stream.

use std::fmt::Debug;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DynamicObject};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use crate::api::names::{MANAGER, label};
use crate::domain::intent::Kind;

use super::follow::follow;
use super::{ClusterError, Metadata, RawToken, Scope, TokenRecord, Tokens};

/// Objects in one page of a list: bounds the memory that a list takes.
const PAGE: u32 = 250;
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
    /// This namespace is being deleted; told only where the operator looks into some namespaces.
    NamespaceEnds(String),
    /// A watch was interrupted; it is taken up again by itself, after a pause.
    Failed(ClusterError),
    /// A list of this kind failed, so nothing of it is watched; it is tried again by itself, after a pause.
    Unlisted(&'static str, ClusterError),
    /// The API server does not know this kind when it is asked for a list; it is tried again by itself, after a pause.
    Unserved(Kind),
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
    stream::select(stream::select(watch_both(client, scope), secrets), ends(client, scope))
}

/// Tells of each of these namespaces that it is being deleted, as soon as that is known.
fn ends(client: &Client, scope: &Scope) -> BoxStream<'static, Change> {
    if scope.is_everything() {
        return stream::pending().boxed();
    }
    let scope = scope.clone();
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let told = follow(namespaces, watcher::Config::default()).filter_map(move |event| {
        let ends = match event {
            Ok(Event::Apply(meta) | Event::InitApply(meta)) if meta.metadata.deletion_timestamp.is_some() => {
                meta.metadata.name.filter(|name| scope.has(Some(name)))
            }
            // That namespaces cannot be watched is told where policies ask for their labels.
            _ => None,
        };
        std::future::ready(ends.map(Change::NamespaceEnds))
    });
    told.boxed()
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

/// Something is said at each change of what is watched, and whenever it has been listed.
pub(super) fn heard<K>(api: Api<K>, config: watcher::Config) -> BoxStream<'static, ()>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let news = follow(api, config).filter(|event| std::future::ready(!matches!(event, Err(_) | Ok(Event::Init))));
    news.map(drop).boxed()
}

/// A list that fails was no watch.
fn failed(what: &'static str, error: watcher::Error) -> Change {
    match error {
        watcher::Error::InitialListFailed(_) => Change::Unlisted(what, error.into()),
        _ => Change::Failed(error.into()),
    }
}

fn token_change(kind: Kind, event: watcher::Result<Event<RawToken>>) -> Option<Change> {
    Some(match event {
        Ok(Event::Apply(object) | Event::InitApply(object)) => Change::Token(TokenRecord::new(kind, object)?),
        Ok(Event::Delete(object)) => Change::TokenGone(TokenRecord::new(kind, object)?),
        Ok(Event::Init) => Change::TokensRestart(kind),
        Ok(Event::InitDone) => Change::TokensListed(kind),
        Err(error) => match failed(kind.as_str(), error) {
            Change::Unlisted(_, ClusterError::Unserved) => Change::Unserved(kind),
            change => change,
        },
    })
}

fn secret_change(event: watcher::Result<Event<Metadata>>) -> Option<Change> {
    Some(match event {
        Ok(Event::Apply(meta) | Event::InitApply(meta)) => Change::Secret(Box::new(meta)),
        Ok(Event::Delete(meta)) => Change::SecretGone(Box::new(meta)),
        Ok(Event::Init) => Change::SecretsRestart,
        Ok(Event::InitDone) => Change::SecretsListed,
        Err(error) => failed("Secret", error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_failed_interrupts_nothing() {
        let refusal = || {
            let status = kube::core::Status::failure("no role", "Forbidden").with_code(403);
            kube::Error::Api(Box::new(status))
        };
        let told = [
            watcher::Error::InitialListFailed(refusal()),
            watcher::Error::WatchStartFailed(refusal()),
        ]
        .map(|error| token_change(Kind::Token, Err(error)));
        assert!(matches!(
            told,
            [
                Some(Change::Unlisted("Token", ClusterError::Forbidden(_))),
                Some(Change::Failed(_))
            ]
        ));
    }
}
