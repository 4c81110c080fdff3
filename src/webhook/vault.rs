//! The Secret of the certificate authority, as it is read and written. Garbage in it is as good as nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use secrecy::{ExposeSecret, SecretString};

use crate::api::Time;
use crate::api::names::webhook::{AUTHORITY, PUBLISHED_AT, SWITCHED_AT};
use crate::api::names::{MANAGER, label};
use crate::domain::authority::{Authority, Stored};

use super::certificate::{Signer, bundle};

const SIGNER: [&str; 2] = ["ca.crt", "ca.key"];
const NEXT: [&str; 2] = ["next.crt", "next.key"];
const PREVIOUS: &str = "previous.crt";
/// Authorities that are trusted beside the present ones.
const MOST_PREVIOUS: usize = 4;

/// What is in the Secret.
#[derive(Default)]
pub(super) struct Vault {
    /// Signs leaves.
    pub signer: Option<Signer>,
    next: Option<Signer>,
    /// Certificates that stay trusted, PEM.
    pub previous: Vec<(Authority, String)>,
    /// See [`Stored::published_at`].
    pub published_at: Option<Timestamp>,
    switched_at: Option<Timestamp>,
    resource_version: Option<String>,
}

impl Vault {
    /// Reads the Secret; `None`: there is none.
    pub fn read(secret: Option<Secret>) -> Self {
        let Some(secret) = secret else { return Vault::default() };
        let data = secret.data.unwrap_or_default();
        let text = |key: &str| std::str::from_utf8(&data.get(key)?.0).ok();
        let pair = |[certificate, key]: [&str; 2]| {
            let read = Signer::read(text(certificate)?, SecretString::from(text(key)?));
            read.inspect_err(|error| {
                tracing::warn!("{certificate} and {key} of the Secret {AUTHORITY} cannot be used: {error}")
            })
            .ok()
        };
        let annotations = secret.metadata.annotations.unwrap_or_default();
        let time = |name: &str| annotations.get(name)?.parse().ok();
        Vault {
            signer: pair(SIGNER),
            next: pair(NEXT),
            previous: data.get(PREVIOUS).map(|pem| bundle(&pem.0)).unwrap_or_default(),
            published_at: time(PUBLISHED_AT),
            switched_at: time(SWITCHED_AT),
            resource_version: secret.metadata.resource_version,
        }
    }

    /// What is decided about.
    pub fn stored(&self) -> Stored {
        Stored {
            signer: self.signer.as_ref().map(|signer| signer.facts.clone()),
            next: self.next.as_ref().map(|next| next.facts.clone()),
            previous: self.previous.iter().map(|(facts, _)| facts.clone()).collect(),
            published_at: self.published_at,
            switched_at: self.switched_at,
        }
    }

    /// Everyone who is trusted, PEM.
    pub fn bundle(&self) -> String {
        let pairs = self
            .signer
            .iter()
            .chain(&self.next)
            .map(|signer| signer.certificate.as_str());
        pairs.chain(self.previous.iter().map(|(_, pem)| pem.as_str())).collect()
    }

    /// A new signer at once; whom the configurations trust so far stays trusted, since leaves of theirs are served.
    pub fn replace<'a>(&mut self, signer: Signer, trusted: impl Iterator<Item = &'a [u8]>, now: Timestamp) {
        let known = trusted.flat_map(bundle).collect::<Vec<_>>();
        for (facts, pem) in known {
            // One of the future is one by a clock that has jumped: others go on serving leaves of it.
            if facts.life.until > now && self.previous.iter().all(|(other, _)| other.id != facts.id) {
                self.previous.push((facts, pem));
            }
        }
        self.previous.truncate(MOST_PREVIOUS);
        (self.signer, self.next) = (Some(signer), None);
        (self.published_at, self.switched_at) = (None, Some(now));
    }

    /// A next one.
    pub fn prepare(&mut self, next: Signer) {
        (self.next, self.published_at) = (Some(next), None);
    }

    /// The next one becomes the signer.
    pub fn switch(&mut self, now: Timestamp) {
        let former = std::mem::replace(&mut self.signer, self.next.take());
        let former = former.map(|signer| (signer.facts, signer.certificate));
        self.previous.splice(0..0, former);
        self.previous.truncate(MOST_PREVIOUS);
        self.switched_at = Some(now);
    }

    /// The Secret, for the resource version that was read.
    pub fn write(&self, namespace: &str) -> Secret {
        let mut data = BTreeMap::new();
        let mut put = |key: &str, text: &str| drop(data.insert(key.to_owned(), ByteString(text.as_bytes().to_vec())));
        for (names, pair) in [(SIGNER, &self.signer), (NEXT, &self.next)] {
            if let (Some(pair), [certificate, key]) = (pair, names) {
                put(certificate, &pair.certificate);
                put(key, pair.key.expose_secret());
            }
        }
        if !self.previous.is_empty() {
            let all: String = self.previous.iter().map(|(_, pem)| pem.as_str()).collect();
            put(PREVIOUS, &all);
        }
        let times = [(PUBLISHED_AT, self.published_at), (SWITCHED_AT, self.switched_at)];
        let times = times
            .into_iter()
            .filter_map(|(name, at)| Some((name.to_owned(), Time::from(at?).to_string())));
        Secret {
            metadata: ObjectMeta {
                name: Some(AUTHORITY.to_owned()),
                namespace: Some(namespace.to_owned()),
                labels: Some(BTreeMap::from([(label::PART_OF.to_owned(), MANAGER.to_owned())])),
                annotations: Some(times.collect()),
                resource_version: self.resource_version.clone(),
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..Secret::default()
        }
    }
}
