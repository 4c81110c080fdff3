//! What is done about one Token: one short run of calls, which settles the status on every exit.

use std::sync::Arc;

use jiff::Timestamp;

use tokio::time::Instant;

use crate::api::names::annotation;
use crate::api::{Reason, TokenStatus};
use crate::cluster::{ClusterError, Events, Held, Metadata, Note, OwnerRef, SecretDraft, Secrets, TokenRecord, Tokens};
use crate::domain::intent::{Intent, Key, SecretKey, Warning};
use crate::domain::plan::{Content, SecretFacts, Why, scope_hash};
use crate::domain::schedule::{self, Retry, next_attempt};
use crate::domain::secret::{self, IssuedToken};
use crate::domain::status::{Granted, Outcome, settle};
use crate::domain::{Problem, Sign};
use crate::github::{MintScope, Minted, Permit};

use super::app::App;
use super::observer::Observer;
use super::state::{Failure, Pending, Place};

/// How often a write is repeated at once when the Secret changed under it.
const WRITE_ATTEMPTS: usize = 5;

/// What jobs work with.
pub struct Context {
    /// Tokens and ClusterTokens.
    pub tokens: Tokens,
    /// Managed Secrets.
    pub secrets: Secrets,
    /// Events.
    pub events: Events,
    /// Metrics.
    pub observer: Arc<dyn Observer>,
    /// The local clock.
    pub clock: fn() -> Timestamp,
    /// 0.0 to 1.0, for jitter.
    pub dice: fn() -> f64,
}

/// A Token on which something is to be done.
pub struct Task {
    /// Which object.
    pub key: Arc<Key>,
    /// Its UID.
    pub uid: Box<str>,
    /// The generation of its spec.
    pub generation: i64,
    /// What is wanted; `None` if the spec cannot be read.
    pub intent: Option<Intent>,
    /// The status that was last seen.
    pub status: TokenStatus,
    /// The Secret, if it is there and ours.
    pub facts: Option<SecretFacts>,
    /// What went wrong last.
    pub failure: Option<Failure>,
    /// A token that was issued but could not be written yet.
    pub pending: Option<Pending>,
    /// What GitHub granted with the token in the Secret, if the status does not say so yet.
    pub granted: Option<Granted>,
    /// The local time by GitHub's clock.
    pub now: Timestamp,
}

/// What a job has found out and done.
#[derive(Default)]
pub struct Done {
    /// The object after its status was written.
    pub record: Option<TokenRecord>,
    /// The Secret after it was written, or as it was found; with what is known of its content.
    pub secret: Option<(Metadata, Option<Content>)>,
    /// The Secret turned out not to exist (any more).
    pub secret_gone: bool,
    /// What stands at the wanted place, if that was looked at and it is not ours.
    pub place: Option<Place>,
    /// What went wrong.
    pub failure: Option<Failure>,
    /// A token that was issued but could not be written.
    pub pending: Option<Pending>,
    /// What GitHub granted, if the status could not be written.
    pub granted: Option<Granted>,
    /// The token that was replaced, if it is to be revoked later.
    pub replaced: Option<secrecy::SecretString>,
    /// Whether the status could not be written.
    pub unsettled: bool,
}

impl Task {
    fn owner(&self) -> OwnerRef {
        OwnerRef {
            key: (*self.key).clone(),
            uid: self.uid.to_string(),
        }
    }

    fn warnings(&self) -> &[Warning] {
        self.intent.as_ref().map_or(&[], |intent| &intent.warnings)
    }
}

/// Asks whether something stands at the wanted place.
pub async fn look(context: &Context, task: Task, secret: SecretKey) -> Done {
    match context.secrets.look(&secret).await {
        Ok(None) => Done {
            place: Some(Place::Free),
            secret_gone: true,
            ..carry(task)
        },
        Ok(Some(meta)) => match OwnerRef::of(&meta.metadata) {
            Some(owner) if *owner.uid == *task.uid => Done {
                secret: Some((meta, None)),
                ..carry(task)
            },
            Some(owner) => foreign(task, format!("belongs to {}", owner.key)),
            None => foreign(task, "is not managed by this operator".to_owned()),
        },
        Err(error) => fail(context, task, cluster_problem(&error)).await,
    }
}

fn foreign(task: Task, whose: String) -> Done {
    Done {
        place: Some(Place::Foreign(whose)),
        ..carry(task)
    }
}

/// Nothing was done: what the task brought goes back.
fn carry(task: Task) -> Done {
    Done {
        failure: task.failure,
        pending: task.pending,
        granted: task.granted,
        ..Done::default()
    }
}

/// Reads the Secret and compares its content with its hash.
pub async fn inspect(context: &Context, task: Task, intent: &Intent, uid: &str) -> Done {
    match context.secrets.read(&intent.secret.key, uid).await {
        Ok(held) => {
            let content = judge(intent, &held);
            if content == Content::Tampered {
                let message = format!(
                    "The content of the Secret {} was changed by someone else; it is replaced",
                    intent.secret.key
                );
                let note = Note {
                    reason: Reason::SecretRepaired,
                    message,
                    warning: true,
                };
                context.events.about_token(&task.key, &task.uid, &note).await;
            }
            let meta = Metadata {
                metadata: held.metadata().clone(),
                ..Metadata::default()
            };
            Done {
                secret: Some((meta, Some(content))),
                ..carry(task)
            }
        }
        Err(ClusterError::Missing | ClusterError::Conflict) => Done {
            secret_gone: true,
            ..carry(task)
        },
        Err(error) => fail(context, task, cluster_problem(&error)).await,
    }
}

fn judge(intent: &Intent, held: &Held) -> Content {
    let annotations = held.metadata().annotations.clone().unwrap_or_default();
    secret::judge(&intent.secret, &annotations, &held.data())
}

/// Writes the same token again, with the wanted labels and annotations; makes a Secret of isometry/github-token-manager ours.
pub async fn rewrite<S: Sign>(context: &Context, task: Task, intent: &Intent, app: &App<S>, uid: &str) -> Done {
    let held = match context.secrets.read(&intent.secret.key, uid).await {
        Ok(held) => held,
        Err(ClusterError::Missing | ClusterError::Conflict) => {
            return Done {
                secret_gone: true,
                ..carry(task)
            };
        }
        Err(error) => return fail(context, task, cluster_problem(&error)).await,
    };
    if judge(intent, &held) != Content::Intact {
        let meta = Metadata {
            metadata: held.metadata().clone(),
            ..Metadata::default()
        };
        return Done {
            secret: Some((meta, Some(Content::Tampered))),
            ..carry(task)
        };
    }
    let adopted = held
        .metadata()
        .annotations
        .as_ref()
        .is_none_or(|all| !all.contains_key(annotation::SCOPE_HASH));
    let life = status_life(&task.status).filter(|_| adopted);
    let extra = life
        .zip(scope_hash(intent, &app.facts))
        .map(|(life, hash)| secret::adopt(intent, &hash, life, &held.data()));
    let former = secret::managed_metadata(held.metadata());
    let written = context
        .secrets
        .redress(&intent.secret.key, held, |labels, annotations| {
            labels.retain(|name, _| !former.labels.contains(name));
            annotations.retain(|name, _| !former.annotations.contains(name) || name.starts_with(annotation::PREFIX));
            labels.extend(secret::labels(intent));
            annotations.extend(intent.secret.annotations.clone());
            annotations.insert(
                annotation::METADATA_HASH.to_owned(),
                secret::metadata_hash(&intent.secret),
            );
            annotations.extend(extra.unwrap_or_default());
        })
        .await;
    context.observer.secret_written(&task.key, "update", written.is_ok());
    match written {
        Ok(meta) => published(context, task, meta, None).await,
        Err(ClusterError::Conflict) => refresh(context, task, &intent.secret.key).await,
        Err(error) => fail(context, task, cluster_problem(&error)).await,
    }
}

/// When the status says that the token was issued and expires.
#[must_use]
pub fn status_life(status: &TokenStatus) -> Option<(Timestamp, Timestamp)> {
    let life = status.installation_access_token.as_ref()?;
    Some((life.updated_at?.0, life.expires_at?.0))
}

/// Looks at the Secret again, since it has changed.
async fn refresh(context: &Context, task: Task, key: &SecretKey) -> Done {
    match context.secrets.look(key).await {
        Ok(Some(meta)) => Done {
            secret: Some((meta, None)),
            ..carry(task)
        },
        Ok(None) => Done {
            secret_gone: true,
            ..carry(task)
        },
        Err(error) => fail(context, task, cluster_problem(&error)).await,
    }
}

/// Removes Secrets of former names.
pub async fn remove(context: &Context, task: Task, secrets: Vec<(SecretKey, Box<str>)>) -> Done {
    for (key, uid) in secrets {
        let result = async {
            context.secrets.delete(&key, &uid).await?;
            match context.secrets.look(&key).await? {
                Some(meta) if meta.metadata.uid.as_deref() == Some(&*uid) => {
                    context.secrets.release(&key, &meta.metadata).await
                }
                _ => Ok(()),
            }
        };
        let result = result.await;
        context.observer.secret_written(&task.key, "delete", result.is_ok());
        if let Err(error) = result {
            return fail(context, task, cluster_problem(&error)).await;
        }
    }
    Done { ..carry(task) }
}

/// Issues a token, writes it to the Secret, then says so in the status.
pub async fn issue<S: Sign>(context: &Context, mut task: Task, app: &App<S>, permit: Permit, why: Why) -> Done {
    let Some(intent) = task.intent.clone() else {
        return carry(task);
    };
    let Some(hash) = scope_hash(&intent, &app.facts) else {
        return fail(context, task, no_installation()).await;
    };
    let started = Instant::now();
    let pending = match task
        .pending
        .take()
        .filter(|pending| pending.scope_hash == hash && pending.expires_at() > task.now)
    {
        Some(pending) => pending,
        None => match mint(context, &task, &intent, app, permit).await {
            Ok(minted) => Pending::new(minted, hash.clone()),
            Err(problem) => {
                return fail(context, task, problem).await;
            }
        },
    };
    task.now = app.github_time((context.clock)());
    let refresh = task.facts.is_some();
    let replaced = replaced_token(context, &task, &intent).await;
    let published_as = publish(context, &task, &intent, app, &pending).await;
    context
        .observer
        .issued(&task.key, refresh, published_as.is_ok(), started.elapsed());
    match published_as {
        Ok(meta) => {
            tracing::info!(
                token = %task.key, secret = %intent.secret.key, why = why.as_str(), hashed_token = pending.hashed_token,
                expires_at = %pending.expires_at(), "issued a token"
            );
            let granted = pending.granted.clone();
            Done {
                replaced,
                ..published(context, task, meta, Some(granted)).await
            }
        }
        Err((problem, place)) => {
            task.pending = Some(pending);
            Done {
                place,
                ..fail(context, task, problem).await
            }
        }
    }
}

/// No installation is known.
#[must_use]
pub fn no_installation() -> Problem {
    Problem::new(
        Reason::InstallationUnknown,
        Retry::Every(std::time::Duration::from_secs(600)),
        "spec.installationID is not set, and the App's configuration names no installation either; set one of the two to the number at the end of the installation's URL",
    )
}

async fn mint<S: Sign>(
    context: &Context,
    task: &Task,
    intent: &Intent,
    app: &App<S>,
    permit: Permit,
) -> Result<Minted, Problem> {
    let installation = intent
        .installation
        .or(app.facts.installation)
        .ok_or_else(no_installation)?;
    let scope = MintScope {
        permissions: intent.scope.permissions.clone(),
        repositories: intent.scope.repositories.clone(),
        repository_ids: intent.scope.repository_ids.clone(),
    };
    let started = Instant::now();
    let result = app.client.mint(installation, &scope, permit).await;
    context.observer.minted(&task.key, result.is_ok(), started.elapsed());
    result.map_err(|error| Problem::new(error.reason(), error.retry(), error.to_string()))
}

/// The token that is in the Secret now, if the spec wants it revoked after its replacement.
async fn replaced_token(context: &Context, task: &Task, intent: &Intent) -> Option<secrecy::SecretString> {
    intent.revoke_previous_after?;
    let facts = task.facts.as_ref()?;
    let held = context.secrets.read(&intent.secret.key, &facts.uid).await.ok()?;
    secret::find_token(
        &held.data(),
        facts.annotations.get(annotation::HASHED_TOKEN).map(String::as_str),
    )
}

/// Writes the token, whatever happens to the Secret meanwhile: the same token again and again, never another one.
async fn publish<S: Sign>(
    context: &Context,
    task: &Task,
    intent: &Intent,
    app: &App<S>,
    pending: &Pending,
) -> Result<Metadata, (Problem, Option<Place>)> {
    let problem = |problem| (problem, None);
    let rendered = secret::render(intent, &app.site, &pending.issued, &pending.scope_hash).map_err(problem)?;
    let owner = task.owner();
    let key = &intent.secret.key;
    let draft = SecretDraft {
        key,
        owner: &owner,
        rendered: &rendered,
    };
    let mut seen = task.facts.clone().map(|facts| Seen {
        same_format: facts.annotations.get(annotation::FORMAT) == rendered.annotations.get(annotation::FORMAT)
            && facts.content == Content::Intact,
        uid: facts.uid,
        version: facts.resource_version,
    });
    let mut last = ClusterError::Conflict;
    for _ in 0..WRITE_ATTEMPTS {
        let (operation, result) = match &seen {
            None => ("create", context.secrets.create(draft).await),
            Some(seen) if seen.same_format => ("update", context.secrets.refill(draft, &seen.uid, &seen.version).await),
            Some(seen) => ("update", replace(context, draft, seen).await),
        };
        context.observer.secret_written(&task.key, operation, result.is_ok());
        last = match result {
            Ok(meta) => return Ok(meta),
            Err(ClusterError::Conflict | ClusterError::Exists | ClusterError::Missing) => ClusterError::Conflict,
            // An immutable Secret, or one whose type has changed, takes no new content.
            Err(ClusterError::Invalid(_)) if seen.as_ref().is_some_and(|seen| seen.same_format) => {
                seen = seen.map(|seen| Seen {
                    same_format: false,
                    ..seen
                });
                continue;
            }
            Err(error) => return Err(problem(cluster_problem(&error))),
        };
        seen = look_again(context, &owner, key).await?;
    }
    Err(problem(cluster_problem(&last)))
}

/// The Secret that a token is to be written to.
struct Seen {
    uid: String,
    version: String,
    same_format: bool,
}

async fn look_again(
    context: &Context,
    owner: &OwnerRef,
    key: &SecretKey,
) -> Result<Option<Seen>, (Problem, Option<Place>)> {
    let Some(meta) = context
        .secrets
        .look(key)
        .await
        .map_err(|error| (cluster_problem(&error), None))?
    else {
        return Ok(None);
    };
    let found = OwnerRef::of(&meta.metadata);
    if found.as_ref().is_some_and(|found| found.uid == owner.uid) {
        let meta = meta.metadata;
        return Ok(Some(Seen {
            uid: meta.uid.unwrap_or_default(),
            version: meta.resource_version.unwrap_or_default(),
            same_format: false,
        }));
    }
    let whose = found.map_or("is not managed by this operator".to_owned(), |found| {
        format!("belongs to {}", found.key)
    });
    let message =
        format!("spec.secret.name: the Secret {key} exists and {whose}; choose another name, or remove that Secret");
    let problem = Problem::new(
        Reason::SecretConflict,
        Retry::Every(std::time::Duration::from_secs(60)),
        message,
    );
    Err((problem, Some(Place::Foreign(whose))))
}

/// A Secret of another form, or whose content is in doubt, is built anew: its type cannot be changed, and keys that
/// nobody wants any more would stay.
async fn replace(context: &Context, draft: SecretDraft<'_>, seen: &Seen) -> Result<Metadata, ClusterError> {
    context.secrets.delete(draft.key, &seen.uid).await?;
    if let Some(meta) = context.secrets.look(draft.key).await?
        && meta.metadata.uid.as_deref() == Some(&*seen.uid)
    {
        context.secrets.release(draft.key, &meta.metadata).await?;
    }
    context.secrets.create(draft).await
}

/// The Secret is as it should be: says so in the status.
async fn published(context: &Context, task: Task, meta: Metadata, granted: Option<Granted>) -> Done {
    let recovered = task.failure.is_some() || task.status.condition(crate::api::condition::STALLED).is_some();
    let facts = super::index::SecretRecord::new(&meta).map(|record| SecretFacts {
        content: Content::Intact,
        ..record.facts(None)
    });
    let task = Task {
        facts,
        failure: None,
        pending: None,
        granted: granted.or(task.granted.clone()),
        ..task
    };
    if recovered && let Some(intent) = &task.intent {
        let message = format!("The Secret {} holds a good token again", intent.secret.key);
        let note = Note {
            reason: Reason::Issued,
            message,
            warning: false,
        };
        context.events.about_token(&task.key, &task.uid, &note).await;
    }
    let done = settle_status(context, task, true).await;
    Done {
        secret: Some((meta, Some(Content::Intact))),
        ..done
    }
}

/// Something stands in the way: says so in the status, and once in an Event.
pub async fn fail(context: &Context, mut task: Task, problem: Problem) -> Done {
    let retry_cap = task
        .intent
        .as_ref()
        .map_or(schedule::BACKOFF_LONGEST, |intent| intent.retry);
    let failures = task
        .failure
        .as_ref()
        .map_or(0, |failure| failure.count)
        .saturating_add(1);
    let until = next_attempt(task.now, problem.retry, failures, retry_cap, (context.dice)());
    tracing::warn!(token = %task.key, reason = %problem.reason, next_attempt = %until, "{}", problem.message);
    context.observer.failed(&task.key, problem.reason);
    if problem.reason.is_about_the_app() {
        context.observer.app_missing(&task.key);
    }
    let known = task
        .failure
        .as_ref()
        .is_some_and(|f| f.problem.reason == problem.reason && f.problem.message == problem.message);
    let told = task
        .status
        .condition(crate::api::condition::READY)
        .is_some_and(|c| c.reason == problem.reason.as_str());
    if !known && !(told && task.failure.is_none()) {
        let message = format!("{}; next attempt at {}", problem.message, crate::api::Time(until));
        let note = Note {
            reason: problem.reason,
            message,
            warning: true,
        };
        context.events.about_token(&task.key, &task.uid, &note).await;
    }
    task.failure = Some(Failure::new(problem, failures, until, &task));
    settle_status(context, task, false).await
}

/// Writes the status, if it is not what it should be.
pub async fn settle_status(context: &Context, task: Task, wrote: bool) -> Done {
    let status = wanted_status(&task, wrote);
    if status == task.status {
        return Done {
            ..carry(Task { granted: None, ..task })
        };
    }
    match context
        .tokens
        .patch_status(&task.key, &task.uid, &task.status, &status)
        .await
    {
        Ok(record) => Done {
            record,
            ..carry(Task { granted: None, ..task })
        },
        // The object is gone, or another one: nobody is left to be told.
        Err(ClusterError::Missing | ClusterError::Conflict) => Done { ..carry(task) },
        Err(error) => {
            tracing::warn!(token = %task.key, %error, "the status could not be written");
            context.observer.failed(&task.key, Reason::SecretWriteFailed);
            Done {
                unsettled: true,
                ..carry(task)
            }
        }
    }
}

/// What the status should be now.
#[must_use]
pub fn wanted_status(task: &Task, wrote: bool) -> TokenStatus {
    let problem = task.failure.as_ref().map(|failure| &failure.problem);
    let life = task
        .facts
        .as_ref()
        .and_then(|facts| facts.issued_at().zip(facts.expires_at()));
    let due = task
        .intent
        .as_ref()
        .zip(life)
        .map(|(intent, (issued, expires))| schedule::due(issued, expires, intent.refresh, &intent.uid));
    settle(
        &task.status,
        &Outcome {
            now: task.now,
            generation: task.generation,
            secret: task.intent.as_ref().map(|intent| &intent.secret),
            facts: task.facts.as_ref(),
            wrote,
            granted: task.granted.as_ref(),
            problem,
            warnings: task.warnings(),
            next: task.failure.as_ref().map(|failure| failure.until).or(due),
        },
    )
}

/// What an error of the API server means for a Token.
#[must_use]
pub fn cluster_problem(error: &ClusterError) -> Problem {
    let minute = Retry::Every(std::time::Duration::from_secs(60));
    match error {
        ClusterError::NamespaceUnavailable(message) => Problem::new(
            Reason::NamespaceUnavailable,
            minute,
            format!("the Secret cannot be written: {message}"),
        ),
        ClusterError::Invalid(message) => Problem::new(
            Reason::SecretWriteFailed,
            minute,
            format!("the API server does not accept the Secret; check spec.secret: {message}"),
        ),
        ClusterError::Forbidden(message) => Problem::new(
            Reason::SecretWriteFailed,
            minute,
            format!("the operator may not write the Secret; check its RBAC: {message}"),
        ),
        ClusterError::Conflict | ClusterError::Exists | ClusterError::Missing | ClusterError::Unavailable(_) => {
            Problem::new(
                Reason::SecretWriteFailed,
                Retry::Backoff,
                format!("the Secret cannot be written: {error}"),
            )
        }
    }
}

impl Pending {
    fn new(minted: Minted, scope_hash: String) -> Self {
        Pending {
            granted: Granted {
                permissions: minted.permissions,
                repository_selection: minted
                    .repository_selection
                    .map(|selection| selection.as_str().to_owned()),
                repositories: minted.repositories,
            },
            hashed_token: minted.hashed_token,
            issued: IssuedToken {
                token: minted.token,
                issued_at: minted.issued_at,
                expires_at: minted.expires_at,
            },
            scope_hash,
        }
    }

    fn expires_at(&self) -> Timestamp {
        self.issued.expires_at
    }
}
