//! Mint, publish, status: the way of a new token.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::cluster::Metadata;
use crate::domain::intent::{AppKey, Intent};
use crate::domain::plan::{SecretFacts, Why};
use crate::domain::schedule::next_attempt;
use crate::domain::secret::IssuedToken;
use crate::domain::status::Granted;
use crate::domain::{Problem, Sign};
use crate::github::{ACTIVATION, Error, Minted, Permit};

use super::app::{App, Origin};
use super::job::{Context, Done, Task, carry};
use super::pool::Seat;
use super::publish::{Publication, publish};
use super::settle::{fail, published};
use super::state::{Declined, Pending, Replaced};

/// The longest that GitHub may take to say whether a new token works yet.
const LONGEST_LOOK: Duration = Duration::from_secs(5);
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
    let (pending, fresh) = match task.pending.take() {
        Some(pending) => (pending, false),
        None => match mint(context, &task, &intent, &seat, permit).await {
            Ok(minted) => (Pending::new(context, minted, &intent, app, hash), true),
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
        let good_until = task.facts.as_ref().and_then(SecretFacts::expires_at);
        probe(context, app, &pending, good_until.filter(|_| why != Why::Tampered)).await;
    }
    task.skew = app.client.skew();
    task.now = task.github_time((context.clock)());
    let replaced = match &task.facts {
        Some(before) => Replaced::read(context, &task, &intent.secret.key, &before.uid).await,
        None => None,
    };
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
            pending.accounted_for();
            Done {
                replaced: replaced.into_iter().collect(),
                out_of_turn,
                issued: true,
                ..published(context, task, meta, Some(granted)).await
            }
        }
        Ok(Publication::Surpassed(meta)) => surpassed(task, meta, pending),
        // It is written when that one is gone.
        Ok(Publication::Going(meta)) => Done {
            secret: Some((meta, None)),
            out_of_turn,
            pending: Some(pending),
            ..carry(task)
        },
        Err(problem) => {
            tell(false);
            task.pending = Some(pending);
            Done {
                out_of_turn,
                ..fail(context, task, problem).await
            }
        }
    }
}

/// Another replica leads by now, and has written a later token: ours would be a step back.
fn surpassed(task: Task, meta: Metadata, pending: Pending) -> Done {
    tracing::info!(
        token = %task.key, hashed_token = pending.hashed_token,
        "a token is not written: the Secret holds one that expires later"
    );
    Done {
        secret: Some((meta, None)),
        stray: Some(pending),
        ..carry(task)
    }
}

/// The App cannot issue for the Token, and another one is asked next.
fn decline(context: &Context, task: Task, app: &AppKey, problem: &Problem) -> Done {
    let app = app.in_namespace(&context.namespace);
    let now = task.github_time((context.clock)());
    let until = next_attempt(now, problem.retry, 1, LONGEST_DECLINE, (context.dice)());
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
        let vanished = match error {
            Error::InstallationNotFound { .. } => app.facts.vanished(intent),
            _ => None,
        };
        let message = vanished.unwrap_or_else(|| error.to_string());
        let problem = Problem::new(error.reason(), error.retry(), message);
        (problem, error.is_about_the_app())
    })
}

/// Waits until GitHub takes its new token, for half of the time that the one in the Secret is good at most: what is not written before
/// that is over helps nobody. A token that GitHub still refuses after that, or one that replaces nothing good, is written all the same:
/// it is the best there is.
async fn probe<S: Sign>(context: &Context, app: &App<S>, pending: &Pending, good_until: Option<Timestamp>) {
    let now = app.github_time((context.clock)());
    let left = good_until.and_then(|until| Duration::try_from(until.duration_since(now)).ok());
    let Some(left) = left.filter(|left| !left.is_zero()) else {
        return;
    };
    tokio::select! {
        () = activation(app, pending) => {}
        () = tokio::time::sleep(left / 2) => {}
        // Written too early it works soon; not written at all it is lost.
        () = context.stop.cancelled() => {}
    }
}

/// Looks at a new token until GitHub takes it, or does not say.
async fn activation<S: Sign>(app: &App<S>, pending: &Pending) {
    for pause in ACTIVATION {
        let look = app.client.verify(&pending.issued.token);
        match tokio::time::timeout(LONGEST_LOOK, look).await {
            Ok(Err(Error::TokenNotActive { .. })) => tokio::time::sleep(pause).await,
            _ => return,
        }
    }
}

impl Pending {
    fn new<S>(context: &Context, minted: Minted, intent: &Intent, app: &App<S>, scope_hash: String) -> Self {
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
            secret: intent.secret.key.clone(),
            scope_hash,
            origin: Origin {
                app: intent.app.clone(),
                base_url: Some(app.site.api_url.clone()),
            },
            observer: Some(context.observer.clone()),
        }
    }
}
