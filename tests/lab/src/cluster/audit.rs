//! Reads the API server's audit log, so that tests can count requests.
//! Format: <https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/>.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use kube::Client;
use serde::Deserialize;

use super::get_text;
use crate::{
    error::{During, Error},
    wait::wait_for,
};

/// The requests that an API server has answered since this value was made.
#[derive(Debug, Clone)]
pub struct AuditLog {
    path: PathBuf,
    start: u64,
}

/// A request that the API server answered (a watch: began to answer).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Who asked: the impersonated user where there is one.
    pub user: String,
    /// The client program's name for itself; empty when it gave none.
    pub user_agent: String,
    /// Path and query.
    pub uri: String,
    /// The HTTP status of the answer.
    pub code: u16,
    /// The API group; empty for the core group and for paths that are no resource.
    pub group: String,
    /// The resource, such as `secrets`; empty for a path that is none.
    pub resource: String,
    /// The subresource, such as `status`; empty for the object itself.
    pub subresource: String,
    /// The namespace; empty for what has none.
    pub namespace: String,
    /// The object's name; empty for lists, and for a creation with a generated name.
    pub name: String,
}

/// A kind of write request, the key of [`AuditLog::writes`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Write {
    /// The resource, such as `secrets`.
    pub resource: String,
    /// The subresource, such as `status`; empty for the object itself.
    pub subresource: String,
    /// `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Who wrote.
    pub user: String,
    /// The client program's name for itself.
    pub user_agent: String,
}

impl AuditEvent {
    /// Whether the request asked for a change (it may have been refused, see [`AuditEvent::code`]).
    pub fn is_write(&self) -> bool {
        let verbs = ["create", "update", "patch", "delete", "deletecollection"];
        verbs.contains(&self.verb.as_str())
    }
}

impl AuditLog {
    /// From the file's present end on.
    pub(super) fn from_now(path: PathBuf) -> Result<Self, Error> {
        let start = match path.metadata() {
            Ok(file) => file.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => return Err(error).during(|| format!("read {}", path.display())),
        };
        Ok(Self { path, start })
    }

    /// The requests so far, in the order of their answers.
    ///
    /// # Errors
    /// When the log cannot be read or is not what an API server writes.
    pub fn events(&self) -> Result<Vec<AuditEvent>, Error> {
        let text = self.text()?;
        let mut events = Vec::new();
        // The last line may be half written: then it ends without a newline.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let raw: RawEvent =
                serde_json::from_str(line).map_err(|error| Error::Usage(format!("audit log: {error} in {line}")))?;
            events.extend(raw.counted());
        }
        Ok(events)
    }

    /// How often each kind of write was asked for, among the requests for which `wanted` is true.
    ///
    /// # Errors
    /// As [`AuditLog::events`].
    pub fn writes(&self, wanted: impl Fn(&AuditEvent) -> bool) -> Result<BTreeMap<Write, usize>, Error> {
        let mut counts = BTreeMap::new();
        for event in self.events()? {
            if event.is_write() && wanted(&event) {
                *counts.entry(event.into()).or_default() += 1;
            }
        }
        Ok(counts)
    }

    /// Waits until the log holds what was answered before this call: the API server writes a line just after it
    /// answers, so a test that counts calls this first.
    ///
    /// # Errors
    /// When the line of a request of its own does not appear within 10 s.
    pub async fn settle(&self, client: &Client) -> Result<(), Error> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let marker = format!("lab-marker-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        // There is nothing at that path, and that it was asked for is all that matters.
        match get_text(client, &marker).await {
            Err(Error::Kube(error)) if !matches!(*error, kube::Error::Api(_)) => {
                return Err(Error::Kube(error));
            }
            _ => {}
        }
        let path = format!("/{marker}?");
        wait_for(Duration::from_secs(10), "the audit log's own marker", async || {
            let events = self.events()?;
            let seen = events.iter().any(|event| format!("{}?", event.uri).starts_with(&path));
            seen.then_some(())
                .ok_or_else(|| Error::Usage(format!("{} events, not {marker}", events.len())))
        })
        .await
    }

    fn text(&self) -> Result<String, Error> {
        let read = |path: &Path| {
            let mut text = String::new();
            let mut file = match File::open(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(text),
                file => file?,
            };
            file.seek(SeekFrom::Start(self.start))?;
            file.read_to_string(&mut text)?;
            Ok(text)
        };
        read(&self.path).during(|| format!("read {}", self.path.display()))
    }
}

impl From<AuditEvent> for Write {
    fn from(event: AuditEvent) -> Self {
        Self {
            resource: event.resource,
            subresource: event.subresource,
            verb: event.verb,
            user: event.user,
            user_agent: event.user_agent,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEvent {
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    uri: String,
    #[serde(default)]
    user_agent: String,
    user: RawUser,
    impersonated_user: Option<RawUser>,
    object_ref: Option<RawObject>,
    response_status: Option<RawStatus>,
}

#[derive(Deserialize)]
struct RawUser {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawObject {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct RawStatus {
    #[serde(default)]
    code: u16,
}

impl RawEvent {
    /// A watch is logged when it begins and again when it ends, everything else once: each counts once.
    fn counted(self) -> Option<AuditEvent> {
        let wanted = if self.verb == "watch" {
            self.stage == "ResponseStarted"
        } else {
            self.stage == "ResponseComplete" || self.stage == "Panic"
        };
        let object = self.object_ref.unwrap_or_default();
        wanted.then(|| AuditEvent {
            verb: self.verb,
            user: self.impersonated_user.unwrap_or(self.user).username,
            user_agent: self.user_agent,
            uri: self.uri,
            code: self.response_status.map_or(0, |status| status.code),
            group: object.api_group,
            resource: object.resource,
            subresource: object.subresource,
            namespace: object.namespace,
            name: object.name,
        })
    }
}
