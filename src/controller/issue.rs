//! Mint, publish, status: the way of a new token.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::api::Reason;
use crate::api::names::annotation;
use crate::cluster::{ClusterError, Metadata, OwnerRef, SecretDraft};
use crate::domain::intent::{AppKey, Intent, SecretKey};
use crate::domain::plan::{Content, SecretFacts, Why};
use crate::domain::schedule::{Retry, later, next_attempt};
use crate::domain::secret::{self, IssuedToken};
use crate::domain::status::Granted;
use crate::domain::{Problem, Sign};
use crate::github::{ACTIVATION, Error, Minted, Permit};

use super::app::App;
use super::job::{Context, Done, Task, carry};
use super::pool::Seat;
use super::settle::{cluster_problem, fail, published};
use super::state::{Declined, Pending, Place};

/// How often a write is repeated at once when the Secret changed under it.
const WRITE_ATTEMPTS: usize = 5;

/// The longest that an App of a pool which could not issue for a Token is not asked for it again.
const LONGEST_DECLINE: Duration = Duration::from_secs(10 * 60);

/// Issues a token, writes it to the Secret, then says so in the status.
pub async fn issue<S: Sign>(context: &Context, mut task: Task, seat: Seat<S>, permit: Permit, why: Why) -> Done {
    let Some(intent) = &mut task.intent else {
        return carry(task);
    };
    // What is written down, and who is asked to look for a lost installation, is who issues.
    intent.app = seat.key.clone();
    let (intent, app) = (intent.clone(), &*seat.app);
    let Some(hash) = seat.scope_hash(&intent) else {
        return fail(context, task, app.facts.no_installation(&intent)).await;
    };
    let started = Instant::now();
    let refresh = task.facts.is_some();
    let (pending, fresh) = match task
        .pending
        .take()
        .filter(|pending| pending.scope_hash == hash && pending.expires_at() > task.now)
    {
        Some(pending) => (pending, false),
        None => match mint(context, &task, &intent, &seat, permit).await {
            Ok(minted) => (Pending::new(minted, hash.clone(), seat.key.clone()), true),
            Err((problem, elsewhere)) if elsewhere && task.others => {
                return decline(context, task, &seat.key, &problem);
            }
            Err((problem, _)) => {
                context.observer.issued(&task.key, refresh, false, started.elapsed());
                return fail(context, task, problem).await;
            }
        },
    };
    if app.probe_tokens {
        probe(context, &task, app, &pending).await;
    }
    task.now = app.github_time((context.clock)());
    let replaced = replaced_token(context, &task, &intent).await;
    let publication = publish(context, &task, &intent, app, &pending).await;
    let tell = |written| {
        let took = started.elapsed();
        context.observer.issued(&task.key, refresh, written, took);
    };
    let out_of_turn = fresh && why != Why::Due;
    match publication {
        Ok(Publication::Written(meta)) => {
            tell(true);
            tracing::info!(
                token = %task.key, secret = %intent.secret.key, why = why.as_str(), hashed_token = pending.hashed_token,
                expires_at = %pending.expires_at(), "issued a token"
            );
            let granted = pending.granted.clone();
            Done {
                replaced,
                out_of_turn,
                issued: true,
                ..published(context, task, meta, Some(granted)).await
            }
        }
        Ok(Publication::Surpassed(meta)) => surpassed(task, meta, &pending),
        Err((problem, place)) => {
            tell(false);
            task.pending = Some(pending);
            Done {
                place,
                out_of_turn,
                ..fail(context, task, problem).await
            }
        }
    }
}

/// What became of a token that was to be written.
enum Publication {
    /// It is in the Secret.
    Written(Metadata),
    /// The Secret holds one of this Token's that expires later.
    Surpassed(Metadata),
}

/// Another replica leads by now, and has written a later token: ours would be a step back.
fn surpassed(task: Task, meta: Metadata, pending: &Pending) -> Done {
    tracing::info!(
        token = %task.key, hashed_token = pending.hashed_token,
        "a token is left to expire: the Secret holds one that expires later"
    );
    Done {
        secret: Some((meta, None)),
        ..carry(task)
    }
}

/// The App cannot issue for the Token, and another one is asked next.
fn decline(context: &Context, task: Task, app: &AppKey, problem: &Problem) -> Done {
    let app = app.in_namespace(&context.namespace);
    let until = next_attempt(task.now, problem.retry, 1, LONGEST_DECLINE, (context.dice)());
    tracing::warn!(
        token = %task.key, app = app.label(&context.namespace), reason = %problem.reason, %until,
        "another App of the pool is asked: {}", problem.message
    );
    // A look at the App shows whether it still works, and where it is installed.
    let _ = context.rediscover.send(app.clone());
    Done {
        declined: Some(Declined {
            app,
            until,
            generation: task.generation,
        }),
        ..carry(task)
    }
}

/// A new token, or what went wrong, and whether another App may be answered otherwise.
async fn mint<S: Sign>(
    context: &Context,
    task: &Task,
    intent: &Intent,
    seat: &Seat<S>,
    permit: Permit,
) -> Result<Minted, (Problem, bool)> {
    let app = &*seat.app;
    let none = || (app.facts.no_installation(intent), true);
    let installation = seat.installation.ok_or_else(none)?;
    let started = Instant::now();
    let result = app.client.mint(installation, &(&intent.scope).into(), permit).await;
    context.observer.minted(&task.key, result.is_ok(), started.elapsed());
    result.map_err(|error| {
        let problem = Problem::new(error.reason(), error.retry(), error.to_string());
        (problem, error.is_about_the_app())
    })
}

/// Waits until GitHub takes its new token, but not until the one in the Secret is over. A token that GitHub still refuses after
/// that is written all the same: it is the best there is.
async fn probe<S: Sign>(context: &Context, task: &Task, app: &App<S>, pending: &Pending) {
    let expires = task.facts.as_ref().and_then(SecretFacts::expires_at);
    for pause in ACTIVATION {
        match app.client.verify(&pending.issued.token).await {
            Err(Error::TokenNotActive { .. }) if expires.is_some_and(|at| at > later(task.now, pause * 4)) => {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    // Written too early it works soon; not written at all it is lost.
                    () = context.stop.cancelled() => return,
                }
            }
            _ => return,
        }
    }
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
) -> Result<Publication, (Problem, Option<Place>)> {
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
        held: facts.held,
    });
    let mut last = ClusterError::Conflict;
    for _ in 0..WRITE_ATTEMPTS {
        let (operation, result) = match &seen {
            None => ("create", context.secrets.create(draft).await),
            Some(seen) if seen.same_format => ("update", refill(context, draft, seen).await),
            Some(seen) => ("update", replace(context, draft, seen).await),
        };
        context.observer.secret_written(&task.key, operation, result.is_ok());
        last = match result {
            Ok(meta) => return Ok(Publication::Written(meta)),
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
        let found = look_again(context, &owner, key).await?;
        seen = match found {
            Some(meta) if expires_at(&meta) > Some(pending.expires_at()) => return Ok(Publication::Surpassed(meta)),
            found => found.map(Seen::again),
        };
    }
    Err(problem(cluster_problem(&last)))
}

/// When the token in a Secret expires.
fn expires_at(meta: &Metadata) -> Option<Timestamp> {
    let annotations = meta.metadata.annotations.as_ref()?;
    annotations.get(annotation::EXPIRES_AT)?.parse().ok()
}

/// The Secret that a token is to be written to.
struct Seen {
    uid: String,
    version: String,
    same_format: bool,
    held: bool,
}

impl Seen {
    /// One that has changed under us: its content is in doubt.
    fn again(found: Metadata) -> Self {
        Seen {
            uid: found.metadata.uid.unwrap_or_default(),
            version: found.metadata.resource_version.unwrap_or_default(),
            same_format: false,
            held: true,
        }
    }
}

/// After `gtm release` an operator may go on all the same: what it writes to is its own again.
async fn refill(context: &Context, draft: SecretDraft<'_>, seen: &Seen) -> Result<Metadata, ClusterError> {
    let others = if seen.held {
        None
    } else {
        let found = context.secrets.look(draft.key).await?.ok_or(ClusterError::Missing)?;
        Some(found.metadata.finalizers.unwrap_or_default())
    };
    context.secrets.refill(draft, &seen.uid, &seen.version, others).await
}

async fn look_again(
    context: &Context,
    owner: &OwnerRef,
    key: &SecretKey,
) -> Result<Option<Metadata>, (Problem, Option<Place>)> {
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
        return Ok(Some(meta));
    }
    let whose = found.map_or("is not managed by this operator".to_owned(), |found| {
        format!("belongs to {}", found.key)
    });
    let message =
        format!("spec.secret.name: the Secret {key} exists and {whose}; choose another name, or remove that Secret");
    let problem = Problem::new(Reason::SecretConflict, Retry::Every(Duration::from_secs(60)), message);
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

impl Pending {
    fn new(minted: Minted, scope_hash: String, app: AppKey) -> Self {
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
            app,
        }
    }

    fn expires_at(&self) -> Timestamp {
        self.issued.expires_at
    }
}
