//! A token is put into its Secret, whatever happens to that meanwhile.

use jiff::Timestamp;

use crate::api::names::annotation;
use crate::cluster::{ClusterError, Held, Metadata, SecretDraft};
use crate::domain::intent::Intent;
use crate::domain::plan::{Content, SecretFacts, conflict};
use crate::domain::secret::{self, Rendered};
use crate::domain::{Problem, Sign};

use super::app::App;
use super::job::{Context, Task, whose};
use super::settle::cluster_problem;
use super::state::Pending;

/// How often a write is repeated at once when the Secret changed under it.
const WRITE_ATTEMPTS: usize = 5;

/// Does what looks and then writes, again and again where someone else has written meanwhile.
pub async fn against_conflicts<T, Fut: Future<Output = Result<T, ClusterError>>>(
    attempt: impl Fn() -> Fut,
) -> Result<T, ClusterError> {
    let mut last = Err(ClusterError::Conflict);
    for _ in 0..WRITE_ATTEMPTS {
        last = attempt().await;
        if !matches!(last, Err(ClusterError::Conflict)) {
            break;
        }
    }
    last
}

/// What became of a token that was to be written.
pub enum Publication {
    /// It is in the Secret.
    Written(Metadata),
    /// The Secret holds one of this Token's that expires later.
    Surpassed(Metadata),
    /// The Secret is being deleted: what is written to it goes with it.
    Going(Metadata),
}

/// Writes the token: the same token again and again, never another one. What cannot be written leaves the Secret as it is.
pub async fn publish<S: Sign>(
    context: &Context,
    task: &Task,
    intent: &Intent,
    app: &App<S>,
    pending: &Pending,
) -> Result<Publication, Problem> {
    let rendered = secret::render(intent, &app.site, &pending.issued, &pending.scope_hash)?;
    let owner = task.owner();
    let key = &intent.secret.key;
    let draft = SecretDraft {
        key,
        owner: &owner,
        rendered: &rendered,
    };
    let mut seen = task.facts.as_ref().map(|facts| Seen::new(facts, &rendered));
    let mut last = ClusterError::Conflict;
    for _ in 0..WRITE_ATTEMPTS {
        let (operation, result) = match &seen {
            None => ("create", context.secrets.create(draft).await),
            Some(seen) if seen.familiar => {
                let refilled = context.secrets.refill(draft, &seen.uid, &seen.version).await;
                ("update", refilled)
            }
            Some(seen) => ("update", refit(context, draft, seen).await),
        };
        context.observer.secret_written(&task.key, operation, result.is_ok());
        last = match result {
            Ok(meta) => return Ok(Publication::Written(meta)),
            Err(ClusterError::Conflict | ClusterError::Exists | ClusterError::Missing) => ClusterError::Conflict,
            // An immutable Secret takes no new content: that shows when it is read.
            Err(ClusterError::Invalid(_)) if seen.as_ref().is_some_and(|seen| seen.familiar) => {
                seen = seen.map(|seen| Seen {
                    familiar: false,
                    ..seen
                });
                continue;
            }
            Err(error) => return Err(cluster_problem(&error)),
        };
        seen = match look_again(context, task, intent).await? {
            Some(meta) if meta.metadata.deletion_timestamp.is_some() => return Ok(Publication::Going(meta)),
            Some(meta) if expires_at(&meta) > Some(pending.expires_at()) => return Ok(Publication::Surpassed(meta)),
            found => found.map(Seen::again),
        };
    }
    Err(cluster_problem(&last))
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
    /// All but the token is as it was when we last wrote it: it need not be read.
    familiar: bool,
}

impl Seen {
    fn new(facts: &SecretFacts, rendered: &Rendered) -> Self {
        let same = |name| facts.annotations.get(name) == rendered.annotations.get(name);
        let alike = [
            annotation::SCOPE_HASH,
            annotation::FORMAT,
            annotation::METADATA_HASH,
            annotation::APP,
        ]
        .into_iter()
        .all(same);
        Seen {
            familiar: alike && facts.held && facts.owner.is_some() && facts.content == Content::Intact,
            uid: facts.uid.clone(),
            version: facts.resource_version.clone(),
        }
    }

    /// One that has changed under us.
    fn again(found: Metadata) -> Self {
        Seen {
            uid: found.metadata.uid.unwrap_or_default(),
            version: found.metadata.resource_version.unwrap_or_default(),
            familiar: false,
        }
    }
}

/// What stands at the wanted place now, if it is ours.
async fn look_again(context: &Context, task: &Task, intent: &Intent) -> Result<Option<Metadata>, Problem> {
    let found = context.secrets.look(&intent.secret.key).await;
    let Some(meta) = found.map_err(|error| cluster_problem(&error))? else {
        return Ok(None);
    };
    match whose(&meta, task) {
        None => Ok(Some(meta)),
        Some(whose) => Err(conflict(intent, &whose)),
    }
}

/// A Secret that is to become another one, or whose content is in doubt, is read and written whole: what nobody wants any more goes,
/// what others added stays.
async fn refit(context: &Context, draft: SecretDraft<'_>, seen: &Seen) -> Result<Metadata, ClusterError> {
    let mut held = context.secrets.read(draft.key, &seen.uid).await?;
    if held.is_going() {
        return Err(ClusterError::Conflict);
    }
    if !held.takes(draft.rendered.kind) {
        return rebuild(context, draft, &seen.uid).await;
    }
    // Of another form, nobody can tell its keys from those of others.
    let annotations = held.metadata().annotations.as_ref();
    let form = annotations.and_then(|all| all.get(annotation::FORMAT));
    let same_form = form == draft.rendered.annotations.get(annotation::FORMAT);
    undress(&mut held);
    held.dress(|labels, annotations| {
        labels.extend(draft.rendered.labels.clone());
        annotations.extend(draft.rendered.annotations.clone());
    });
    held.fill(&draft.rendered.data, same_form);
    context.secrets.replace(draft.key, held, draft.owner).await
}

/// Takes off the labels and annotations that we have put on.
pub fn undress(held: &mut Held) {
    let former = secret::managed_metadata(held.metadata());
    held.dress(|labels, annotations| {
        labels.retain(|name, _| !former.labels.contains(name));
        annotations.retain(|name, _| !former.annotations.contains(name));
    });
}

/// A Secret whose type changes, or that is immutable, is made anew: but only where the API server would take the new one.
async fn rebuild(context: &Context, draft: SecretDraft<'_>, uid: &str) -> Result<Metadata, ClusterError> {
    context.secrets.rehearse(draft).await?;
    context.secrets.delete(draft.key, uid).await?;
    context.secrets.let_go(draft.key, uid).await?;
    context.secrets.create(draft).await
}
