//! What is done about one Token: one short run of calls, which settles the status on every exit.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::names::annotation;
use crate::api::{Reason, TokenStatus};
use crate::cluster::{
    ClusterError, Events, Held, Metadata, Note, OwnerRef, Record, Secrets, TokenRecord, Tokens, possession,
};
use crate::domain::intent::{Intent, Key, SecretKey, Warning};
use crate::domain::plan::{Content, SecretFacts, scope_hash};
use crate::domain::policy::{Forbidden, Policies};
use crate::domain::schedule::by_clock;
use crate::domain::secret::{self};
use crate::domain::status::Granted;
use crate::domain::{Problem, Sign};

use super::app::{App, Rediscover};
use super::former::Former;
use super::hold::held;
use super::observer::Observer;
use super::publish::{against_conflicts, undress};
use super::record::SecretRecord;
use super::settle::{cluster_problem, fail, hashed, published, status_life};
use super::state::{Declined, Failure, Pending, Place, Replaced};

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
    /// What Tokens may ask for; nothing is issued before it is known.
    pub policies: watch::Receiver<Option<Arc<Policies>>>,
    /// What became of the policies.
    pub record: Record,
    /// Where to say that an installation was not found.
    pub rediscover: Rediscover,
    /// The operator's own namespace.
    pub namespace: String,
    /// The end of the work: what waits for something better makes do with what it has.
    pub stop: CancellationToken,
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
    pub uid: Arc<str>,
    /// The generation of its spec.
    pub generation: i64,
    /// Its resource version.
    pub resource_version: Box<str>,
    /// What is wanted; `None` if the spec cannot be read.
    pub intent: Option<Intent>,
    /// The status that was last seen.
    pub status: TokenStatus,
    /// The Secret, if it is there and ours.
    pub facts: Option<SecretFacts>,
    /// Why no policy allows it, if none does.
    pub verdict: Option<Forbidden>,
    /// What is left of what was wanted before.
    pub former: Option<Box<Former>>,
    /// Whether that is kept fresh, and `intent` and `facts` are about it.
    pub keeps_former: bool,
    /// What went wrong last.
    pub failure: Option<Failure>,
    /// A token that was issued but could not be written yet.
    pub pending: Option<Pending>,
    /// What GitHub granted with the token in the Secret, if the status does not say so yet.
    pub granted: Option<Granted>,
    /// Whether another App can be asked if this one cannot issue.
    pub others: bool,
    /// Why it has to wait although nothing has failed.
    pub held: Option<Problem>,
    /// Whether this Token asks for all that wait for an outage to pass.
    pub scout: bool,
    /// The local time by GitHub's clock, when it was last looked at.
    pub now: Timestamp,
    /// How far GitHub's clock is ahead of ours.
    pub skew: SignedDuration,
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
    /// The App could not issue, and another one is to be asked.
    pub declined: Option<Declined>,
    /// A token that was issued but could not be written.
    pub pending: Option<Pending>,
    /// A token that was issued and is not needed.
    pub stray: Option<Pending>,
    /// What GitHub granted, if the status could not be written.
    pub granted: Option<Granted>,
    /// Tokens that were replaced and are to be revoked later.
    pub replaced: Vec<Replaced>,
    /// Secrets that were deleted, with their UIDs.
    pub deleted: Vec<(SecretKey, Box<str>)>,
    /// Whether a token was issued and written.
    pub issued: bool,
    /// Whether the status could not be written.
    pub unsettled: bool,
    /// Whether the API server says that the Token does not exist.
    pub gone: bool,
    /// Whether the Secret was written although no token was due.
    pub out_of_turn: bool,
}

impl Task {
    pub fn owner(&self) -> OwnerRef {
        OwnerRef {
            key: self.key.clone(),
            uid: self.uid.clone(),
        }
    }

    /// Local time, by GitHub's clock.
    pub fn github_time(&self, local: Timestamp) -> Timestamp {
        by_clock(local, self.skew)
    }

    pub fn warnings(&self) -> &[Warning] {
        self.intent.as_ref().map_or(&[], |intent| &intent.warnings)
    }
}

/// Deletes the Token's Secrets, which we hold for that: who lets go of one revokes its token.
pub async fn withdraw(context: &Context, task: Task, secrets: Vec<(SecretKey, Box<str>)>) -> Done {
    for (secret, uid) in &secrets {
        let result = async {
            held(&context.secrets, secret, uid).await?;
            context.secrets.delete(secret, uid).await
        };
        let result = result.await;
        context.observer.secret_written(&task.key, "delete", result.is_ok());
        if let Err(error) = result {
            return fail(context, task, cluster_problem(&error)).await;
        }
    }
    Done {
        deleted: secrets,
        ..carry(task)
    }
}

/// Asks whether something stands at the wanted place.
pub async fn look(context: &Context, task: Task, secret: SecretKey) -> Done {
    match context.secrets.glance(&secret).await {
        Ok(None) => Done {
            place: Some(Place::Free),
            secret_gone: true,
            ..carry(task)
        },
        // Never: the plan would look again and again for what has another name.
        Ok(Some(meta)) if meta.metadata.name.as_deref() != Some(&*secret.name) => {
            let error =
                ClusterError::Unavailable(format!("asked for the Secret {secret}, the API server gave another"));
            fail(context, task, cluster_problem(&error)).await
        }
        Ok(Some(meta)) => match whose(&meta, &task) {
            None if is_lost(&meta, &task) => reclaim(context, task, &secret, &meta).await,
            None => Done {
                secret: Some((meta, None)),
                ..carry(task)
            },
            Some(whose) => Done {
                place: Some(Place::Foreign(whose)),
                ..carry(task)
            },
        },
        Err(error) => fail(context, task, cluster_problem(&error)).await,
    }
}

/// Whether the Token's own Secret lacks what it is found by.
fn is_lost(meta: &Metadata, task: &Task) -> bool {
    let labels = meta.metadata.labels.as_ref();
    let has = |(name, value)| labels.and_then(|labels| labels.get(&name)) == Some(&value);
    OwnerRef::of(&meta.metadata).is_none() || !secret::own_labels(&task.key).into_iter().all(has)
}

async fn reclaim(context: &Context, task: Task, secret: &SecretKey, meta: &Metadata) -> Done {
    let reclaimed = reclaimed(context, secret, meta.metadata.uid.as_deref(), &task.owner()).await;
    context.observer.secret_written(&task.key, "update", reclaimed.is_ok());
    match reclaimed {
        Ok(meta) => Done {
            secret: Some((meta, None)),
            out_of_turn: true,
            ..carry(task)
        },
        Err(ClusterError::Missing) => Done {
            place: Some(Place::Free),
            secret_gone: true,
            ..carry(task)
        },
        Err(error) => fail(context, task, cluster_problem(&error)).await,
    }
}

/// Whoever takes the labels off writes more often than once: from a status that tells nothing any more, it would not be known again.
async fn reclaimed(
    context: &Context,
    secret: &SecretKey,
    uid: Option<&str>,
    owner: &OwnerRef,
) -> Result<Metadata, ClusterError> {
    against_conflicts(|| async {
        let found = context.secrets.look(secret).await?;
        let found = found.filter(|found| found.metadata.uid.as_deref() == uid);
        let meta = found.ok_or(ClusterError::Missing)?;
        context.secrets.reclaim(secret, &meta.metadata, owner).await
    })
    .await
}

/// A Secret that has left the watch without being deleted has lost its labels. Where its Token is gone as well, nobody else looks for it.
pub async fn reclaim_orphan(context: &Context, secret: &SecretKey, uid: &str, owner: &OwnerRef) {
    match reclaimed(context, secret, Some(uid), owner).await {
        Ok(_) | Err(ClusterError::Missing) => {}
        Err(error) => {
            tracing::warn!(%secret, %error, "the labels of a Secret whose Token is gone could not be put back");
        }
    }
}

/// Whose a Secret is, for people; `None`: the Token's own.
pub fn whose(meta: &Metadata, task: &Task) -> Option<String> {
    let facts = SecretRecord::new(meta).map(|record| record.facts(None));
    let told = task.status.hashed_token.as_deref();
    if facts.is_some_and(|facts| facts.is_of(&task.key, &task.uid, told) || facts.is_stripped(told)) {
        return None;
    }
    Some(possession(OwnerRef::of(&meta.metadata).as_ref(), &task.key))
}

/// Nothing was done: what the task brought goes back.
pub fn carry(task: Task) -> Done {
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
                    "The content of the Secret {} was changed by someone else; it is replaced, and the token that was in it{} with it",
                    intent.secret.key,
                    hashed(task.facts.as_ref().and_then(SecretFacts::hashed_token))
                );
                let note = Note {
                    reason: Reason::SecretRepaired,
                    message,
                    warning: true,
                };
                context.events.about_token(&task.key, &task.uid, &note).await;
            }
            let meta = Metadata::from(held.metadata().clone());
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
    let mut held = match context.secrets.read(&intent.secret.key, uid).await {
        Ok(held) => held,
        Err(ClusterError::Missing | ClusterError::Conflict) => {
            return Done {
                secret_gone: true,
                ..carry(task)
            };
        }
        Err(error) => return fail(context, task, cluster_problem(&error)).await,
    };
    let going = held.is_going();
    if going || judge(intent, &held) != Content::Intact {
        let meta = Metadata::from(held.metadata().clone());
        return Done {
            secret: Some((meta, (!going).then_some(Content::Tampered))),
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
        .map(|(life, hash)| secret::adopt(intent, &app.site, &hash, life, &held.data()));
    let own = held.metadata().annotations.clone().unwrap_or_default();
    undress(&mut held);
    held.dress(|labels, annotations| {
        let told = own.into_iter().filter(|(name, _)| name.starts_with(annotation::PREFIX));
        labels.extend(secret::labels(intent));
        annotations.extend(told);
        annotations.extend(intent.secret.annotations.clone());
        annotations.insert(
            annotation::METADATA_HASH.to_owned(),
            secret::metadata_hash(&intent.secret),
        );
        annotations.extend(extra.unwrap_or_default());
    });
    let written = context.secrets.replace(&intent.secret.key, held, &task.owner()).await;
    context.observer.secret_written(&task.key, "update", written.is_ok());
    match written {
        Ok(meta) => published(context, task, meta, None).await,
        Err(ClusterError::Conflict) => refresh(context, task, &intent.secret.key).await,
        Err(error) => fail(context, task, cluster_problem(&error)).await,
    }
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
    let mut replaced = Vec::new();
    for (key, uid) in &secrets {
        let token = Replaced::read(context, &task, key, uid).await;
        let result = async {
            context.secrets.delete(key, uid).await?;
            context.secrets.let_go(key, uid).await
        };
        let result = result.await;
        context.observer.secret_written(&task.key, "delete", result.is_ok());
        if let Err(error) = result {
            return Done {
                replaced,
                ..fail(context, task, cluster_problem(&error)).await
            };
        }
        replaced.extend(token);
    }
    Done {
        deleted: secrets,
        replaced,
        ..carry(task)
    }
}
