//! One App object: its key and GitHub are tried at once, on every change, and again and again; the status says what was found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::{AppStatus, Reason, condition};
use crate::cluster::{AppObject, AppObjects, Note};
use crate::config::Config;
use crate::controller::{App, AppName};
use crate::domain::Problem;
use crate::domain::app::{Findings, MOST_INSTALLATIONS, Share, settle};
use crate::domain::facts::{AppFacts, Installed};
use crate::domain::intent::AppKey;
use crate::domain::pool::Known;
use crate::domain::schedule::{Retry, next_attempt};
use crate::github::Observe;
use crate::signer::Signer;

use super::apps::{Ingredients, SOON, outdated, signs};
use super::clock;
use super::discovery;
use super::object_spec::{self, ingredients, key_secret};
use super::objects::{Objects, label};
use super::pool;
use super::recorder::AppRecorder;

/// How often a key service is asked for a new version of the key.
const NEW_VERSION: Duration = Duration::from_secs(60);
/// The longest wait before an App that does not work is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Takes care of one App object.
pub struct Caretaker {
    shared: Objects,
    name: AppName,
    object: watch::Receiver<AppObject>,
    /// What works, and what it was made of.
    current: Option<(Ingredients, Arc<App<Signer>>)>,
    /// What GitHub would not be asked about yet: its client knows until when.
    held: Option<(Ingredients, Arc<App<Signer>>)>,
    /// When GitHub was last asked.
    asked: Option<Instant>,
    failures: u32,
    status: Option<AppStatus>,
    /// What the last look has brought.
    findings: Findings,
}

/// What one look at the App has brought.
struct Look {
    findings: Findings,
    app: Result<Arc<App<Signer>>, Problem>,
}

impl Caretaker {
    /// Nothing has been tried yet.
    pub fn new(shared: Objects, name: AppName, object: watch::Receiver<AppObject>) -> Self {
        Caretaker {
            shared,
            name,
            object,
            current: None,
            held: None,
            asked: None,
            failures: 0,
            status: None,
            findings: Findings::default(),
        }
    }

    fn key(&self) -> AppKey {
        AppKey::Object {
            namespace: Some(self.name.0.clone()),
            name: self.name.1.clone(),
        }
    }

    fn observe(&self) -> Arc<dyn Observe> {
        Arc::new(AppRecorder::new(self.shared.metrics.clone(), label(&self.name)))
    }

    /// Works for as long as the object exists.
    pub async fn work(mut self) {
        let mut rediscover = self.shared.rediscover.subscribe();
        let mut settings = self.shared.settings.clone();
        let mut apps = self.shared.publish.subscribe();
        let mut wished = None;
        let mut secret: Option<(String, BoxStream<'static, ()>)> = None;
        loop {
            let object = self.object.borrow_and_update().clone();
            let config = settings.borrow_and_update().clone();
            let named = key_secret(&object);
            if secret.as_ref().map(|(name, _)| name.as_str()) != named {
                let objects = AppObjects::new(self.shared.client.clone());
                secret = named.map(|name| (name.to_owned(), objects.secret_changes(&object.namespace, name)));
            }
            let pause = self.attend(&object, &config).await;
            let (app, until) = (self.key(), Instant::now() + pause);
            loop {
                let hurried = async {
                    match &mut secret {
                        Some((_, changes)) => drop(changes.next().await),
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    changed = apps.changed() => match changed {
                        // Whether its pool is whole depends on the others.
                        Ok(()) => {
                            self.tell_pool(&object).await;
                            continue;
                        }
                        Err(_) => return,
                    },
                    changed = self.object.changed() => if changed.is_err() { return },
                    changed = settings.changed() => if changed.is_err() { return },
                    () = hurried => {}
                    () = discovery::asked(&mut rediscover, &app) => {
                        self.asked = self.asked.filter(|_| !discovery::granted(&mut wished));
                    }
                    () = tokio::time::sleep_until(until) => {}
                }
                break;
            }
        }
    }

    /// Looks at the App, tells the controllers and the status. Returns when to look again.
    async fn attend(&mut self, object: &AppObject, config: &Config) -> Duration {
        self.publish(None, self.known(object, config));
        let Look { findings, app } = self.look(object, config).await;
        self.publish(Some(&app), self.known(object, config));
        let pool = pool::share(&self.shared.publish.borrow(), &self.name);
        let findings = Findings { pool, ..findings };
        self.findings = findings.clone();
        let wrong = app.is_err() || findings.problem.is_some() || findings.refused_key.is_some();
        self.failures = if wrong { self.failures.saturating_add(1) } else { 0 };
        self.tell(object, &findings).await;
        if wrong {
            let now = match &self.current {
                Some((_, app)) => app.github_time(clock::steady()),
                None => clock::steady(),
            };
            let problem = findings.problem.as_ref().or(findings.refused_key.as_ref());
            let put_off = problem
                .map(|problem| problem.retry)
                .filter(|retry| retry.not_before().is_some());
            let retry = put_off.unwrap_or(Retry::Backoff);
            let next = next_attempt(now, retry, self.failures, LONGEST_PAUSE, super::manager::dice());
            return Duration::try_from(next.duration_since(now)).unwrap_or(SOON).max(SOON);
        }
        let remote = self
            .current
            .as_ref()
            .is_some_and(|(made_of, _)| made_of.key_is_remote());
        let period = if remote { NEW_VERSION } else { discovery::PERIOD };
        // Up to a tenth early, so that many Apps do not ask at once.
        period.mul_f64(1.0 - 0.1 * super::manager::dice())
    }

    /// Tells the controllers: whether it works, if that is known, and what is known of it in any case.
    fn publish(&self, app: Option<&Result<Arc<App<Signer>>, Problem>>, known: Option<Known>) {
        self.shared.publish.send_if_modified(|apps| {
            // It is gone, and this task about to be.
            let Some(entry) = apps.objects.get_mut(&self.name) else {
                return false;
            };
            let same = match (&*entry, app) {
                (_, None) => true,
                (Some(Ok(before)), Some(Ok(now))) => Arc::ptr_eq(before, now),
                (Some(Err(before)), Some(Err(now))) => before == now,
                _ => false,
            };
            if let Some(app) = app.filter(|_| !same) {
                *entry = Some(app.clone());
            }
            let as_known = apps.known.get(&self.name).map(|known| &**known) == known.as_ref();
            if !as_known {
                match known {
                    Some(known) => apps.known.insert(self.name.clone(), Arc::new(known)),
                    None => apps.known.remove(&self.name),
                };
            }
            !(same && as_known)
        });
    }

    /// What the object says, with the installations that GitHub has listed, now or before.
    fn known(&self, object: &AppObject, config: &Config) -> Option<Known> {
        let spec = &object.read.as_ref().ok()?.spec;
        let facts = match &self.current {
            Some((_, app)) => app.facts.clone(),
            None => AppFacts {
                installations: self.listed_before(object),
                ..object_spec::facts(spec, config)?
            },
        };
        let pool = spec.pool.iter().map(|member| member.name.clone()).collect();
        Some(Known { facts, pool })
    }

    /// The installations of the status, if it is about this spec and has room for all of them.
    fn listed_before(&self, object: &AppObject) -> Option<BTreeMap<String, Installed>> {
        let stored = object.read.as_ref().ok()?.status.as_ref();
        let status = self.status.as_ref().or(stored)?;
        let all = &status.installations;
        let whole = status.slug.is_some() && all.len() < MOST_INSTALLATIONS;
        let present = status.observed_generation == Some(object.generation);
        (whole && present).then(|| discovery::by_account(all.iter().cloned()))
    }

    /// Says in the status whether every member of the pool takes its share, if that has changed.
    async fn tell_pool(&mut self, object: &AppObject) {
        let pool = pool::share(&self.shared.publish.borrow(), &self.name);
        if pool != self.findings.pool {
            self.findings.pool = pool;
            self.tell(object, &self.findings.clone()).await;
        }
    }

    async fn look(&mut self, object: &AppObject, config: &Config) -> Look {
        let made_of = match ingredients(object, config, &self.shared.client, &self.shared.namespace).await {
            Ok(made_of) => made_of,
            Err(problem) => return self.without(problem, None),
        };
        let unchanged = self.current.as_ref().is_some_and(|(before, _)| *before == made_of);
        let due = self.asked.is_none_or(|at| at.elapsed() >= discovery::PERIOD);
        if unchanged && !due && !made_of.key_is_remote() {
            return self.as_before();
        }
        let outdated = match &self.current {
            Some((_, app)) if unchanged => outdated(app).await,
            _ => true,
        };
        let held = self.held.take().filter(|(before, _)| *before == made_of);
        let candidate = match (&self.current, held) {
            (Some((_, app)), _) if !outdated => Ok(app.clone()),
            (_, Some((_, app))) if app.client.on_hold().is_some() => Ok(app),
            _ => made_of.build(self.observe()).await.map(Arc::new),
        };
        let candidate = match candidate {
            Ok(candidate) => candidate,
            Err(problem) => return self.without(problem.clone(), Some((made_of, problem))),
        };
        let known = self
            .current
            .as_ref()
            .is_some_and(|(_, app)| Arc::ptr_eq(app, &candidate));
        if known && !due {
            return self.as_before();
        }
        if let Err(problem) = signs(&candidate).await {
            return self.without(problem.clone(), Some((made_of, problem)));
        }
        self.ask_github(candidate, made_of, known).await
    }

    /// Whether GitHub takes the key, and where the App is installed.
    async fn ask_github(&mut self, candidate: Arc<App<Signer>>, made_of: Ingredients, known: bool) -> Look {
        self.asked = Some(Instant::now());
        let fingerprint = candidate.client.signer().fingerprint().ok();
        let found = discovery::found(&candidate).await;
        let (slug, installations) = match found {
            Ok(found) => found,
            Err(problem) if problem.retry.is_transient() && known => {
                self.asked = None;
                tracing::warn!(app = %self.name.1, namespace = %self.name.0, reason = %problem.reason, "the App could not be checked: {}", problem.message);
                return self.as_before();
            }
            Err(problem) => {
                self.asked = None;
                if known {
                    self.current = None;
                }
                self.held = Some((made_of.clone(), candidate));
                return self.without(problem.clone(), Some((made_of, problem)));
            }
        };
        let app = discovery::with_installations(&candidate, &installations).unwrap_or(candidate);
        self.current = Some((made_of, app.clone()));
        Look {
            findings: Findings {
                slug: Some(slug),
                fingerprint,
                installations: Some(installations.iter().map(discovery::shown).collect()),
                key: Some(None),
                problem: missing_owner(&app),
                refused_key: None,
                pool: Share::Unknown,
            },
            app: Ok(app),
        }
    }

    /// Everything is as it was.
    fn as_before(&self) -> Look {
        let app = self.current.as_ref().map(|(_, app)| app.clone());
        Look {
            findings: Findings {
                key: Some(None),
                problem: app.as_ref().and_then(|app| missing_owner(app)),
                ..Findings::default()
            },
            app: app.ok_or_else(|| Problem::new(Reason::AppNotReady, Retry::Backoff, "the App has not been tried yet")),
        }
    }

    /// Something is wrong. A new key that does not work leaves the former one in use, if it is for the same App.
    fn without(&mut self, problem: Problem, refused: Option<(Ingredients, Problem)>) -> Look {
        self.asked = None;
        let former = self.current.as_ref().filter(|(before, _)| match &refused {
            Some((made_of, _)) => before.differs_in_key_alone(made_of),
            // The key cannot be had at the moment: what was read of it is as good as before.
            None => problem.reason == Reason::KeyUnavailable,
        });
        match former {
            Some((_, app)) => Look {
                findings: Findings {
                    key: Some(None),
                    problem: missing_owner(app),
                    refused_key: Some(problem),
                    ..Findings::default()
                },
                app: Ok(app.clone()),
            },
            None => {
                self.current = None;
                let about_key = problem.reason.is_about_the_app() && problem.reason != Reason::AppAuthenticationFailed;
                Look {
                    findings: Findings {
                        key: about_key.then(|| Some(problem.clone())),
                        problem: Some(problem.clone()),
                        ..Findings::default()
                    },
                    app: Err(not_ready(&self.name, &problem)),
                }
            }
        }
    }

    /// Writes the status if it is not what it should be, and an Event when the App begins or ceases to work.
    async fn tell(&mut self, object: &AppObject, findings: &Findings) {
        let stored = object.read.as_ref().ok().and_then(|app| app.status.clone());
        let previous = self.status.clone().or(stored).unwrap_or_default();
        let status = settle(&previous, object.generation, findings, clock::now());
        if status == previous {
            self.status = Some(status);
            return;
        }
        let objects = AppObjects::new(self.shared.client.clone());
        if let Err(error) = objects.replace_status(object, &status).await {
            tracing::warn!(app = %self.name.1, namespace = %self.name.0, %error, "the App's status could not be written");
            self.status = None;
            return;
        }
        let ready = |status: &AppStatus| {
            status
                .condition(condition::READY)
                .map(|c| (c.status.clone(), c.reason.clone()))
        };
        if ready(&previous) != ready(&status)
            && let Some(now) = status.condition(condition::READY)
        {
            let note = Note {
                reason: findings
                    .problem
                    .as_ref()
                    .map_or(Reason::Accepted, |problem| problem.reason),
                message: now.message.clone(),
                warning: now.status != "True",
            };
            tracing::info!(app = %self.name.1, namespace = %self.name.0, ready = now.status, reason = now.reason, "{}", now.message);
            self.shared.events.about(&object.reference(), &note).await;
        }
        self.status = Some(status);
    }
}

/// What the App's Tokens are told. They are looked at again as soon as the App works.
fn not_ready(name: &AppName, problem: &Problem) -> Problem {
    let message = format!(
        "spec.appRef: the App {}/{} does not work: {}",
        name.0, name.1, problem.message
    );
    Problem::new(Reason::AppNotReady, Retry::Every(Duration::from_secs(600)), message)
}

/// An owner whose installation is not there: the App itself works, and Tokens that name another installation do.
fn missing_owner(app: &App<Signer>) -> Option<Problem> {
    app.facts.owner.as_ref()?;
    app.facts.default_installation().err()
}
