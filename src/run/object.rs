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
use crate::controller::{App, AppName};
use crate::domain::Problem;
use crate::domain::app::{Findings, MOST_INSTALLATIONS, settle};
use crate::domain::facts::{AppFacts, Installed};
use crate::domain::intent::AppKey;
use crate::domain::pool::Known;
use crate::domain::schedule::Retry;
use crate::github::Observe;
use crate::signer::Signer;

use super::apps::{Ingredients, Outline, outdated, signs};
use super::clock;
use super::discovery::{self, Wishes};
use super::object_spec::{self, key_secret};
use super::objects::{Objects, label};
use super::pool;
use super::recorder::AppRecorder;
use super::settings::Settings;
use super::used::{Used, not_ready, pause_after, unproved};

/// How often a key service is asked for a new version of the key.
const NEW_VERSION: Duration = Duration::from_secs(60);

/// Takes care of one App object.
pub struct Caretaker {
    shared: Objects,
    name: AppName,
    object: watch::Receiver<AppObject>,
    /// What Tokens come from.
    current: Option<Used>,
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
        let mut wishes = Wishes::new(self.shared.rediscover.subscribe(), self.key());
        let mut settings = self.shared.settings.clone();
        let mut apps = self.shared.publish.subscribe();
        let mut secret: Option<(String, BoxStream<'static, ()>)> = None;
        loop {
            let object = self.object.borrow_and_update().clone();
            let configured = settings.borrow_and_update().clone();
            let named = key_secret(&object);
            if secret.as_ref().map(|(name, _)| name.as_str()) != named {
                let objects = AppObjects::new(self.shared.client.clone());
                secret = named.map(|name| (name.to_owned(), objects.secret_changes(&object.namespace, name)));
            }
            let pause = self.attend(&object, &configured).await;
            let until = Instant::now() + pause;
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
                    () = wishes.granted() => self.asked = None,
                    () = tokio::time::sleep_until(until) => {}
                }
                break;
            }
        }
    }

    /// Looks at the App, tells the controllers and the status. Returns when to look again.
    async fn attend(&mut self, object: &AppObject, settings: &Settings) -> Duration {
        self.publish(None, self.known(object, settings));
        let Look { findings, app } = self.look(object, settings).await;
        self.publish(Some(&app), self.known(object, settings));
        let pool = pool::share(&self.shared.publish.borrow(), &self.name);
        let findings = Findings { pool, ..findings };
        self.findings = findings.clone();
        let wrong = app.is_err() || findings.problem.is_some() || findings.refused_key.is_some();
        self.failures = if wrong { self.failures.saturating_add(1) } else { 0 };
        self.tell(object, &findings).await;
        if wrong {
            let now = match &self.current {
                Some(used) => used.app.github_time(clock::steady()),
                None => clock::steady(),
            };
            let problem = findings.problem.as_ref().or(findings.refused_key.as_ref());
            return pause_after(problem, self.failures, now, super::manager::dice());
        }
        let remote = self.current.as_ref().is_some_and(|used| used.made_of.key_is_remote());
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
                // Before anyone can ask it for a turn.
                if let (Some(Ok(former)), Ok(now)) = (&*entry, app) {
                    now.follow(former);
                }
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
    fn known(&self, object: &AppObject, settings: &Settings) -> Option<Known> {
        let spec = &object.read.as_ref().ok()?.spec;
        let facts = match &self.current {
            Some(used) => used.app.facts.clone(),
            None => object_spec::facts(spec, &settings.config)?,
        };
        let facts = AppFacts {
            installations: facts.installations.or_else(|| self.listed_before(object)),
            ..facts
        };
        let pool = spec.pool.iter().map(|member| member.name.clone()).collect();
        Some(Known { facts, pool })
    }

    /// The installations of the status, if it is about this spec and has room for all of them.
    fn listed_before(&self, object: &AppObject) -> Option<BTreeMap<String, Installed>> {
        let status = self.status.as_ref().or(object.status.as_ref())?;
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

    async fn look(&mut self, object: &AppObject, settings: &Settings) -> Look {
        let outline = match object_spec::outline(object, settings, &self.shared.namespace) {
            Ok(outline) => outline,
            Err(problem) => return self.without(problem, None),
        };
        let place = Some((&self.shared.client, &*object.namespace));
        let made_of = match outline.clone().with_key(place).await {
            Ok(made_of) => made_of,
            Err(problem) => return self.without(problem, Some(&outline)),
        };
        let unchanged = self.current.as_ref().is_some_and(|used| used.made_of == made_of);
        let due = self.asked.is_none_or(|at| at.elapsed() >= discovery::PERIOD);
        if unchanged && !due && !made_of.key_is_remote() {
            return self.as_before();
        }
        let outdated = match &self.current {
            Some(used) if unchanged => outdated(&used.app).await,
            _ => true,
        };
        let held = self.held.take().filter(|(before, _)| *before == made_of);
        let candidate = match (&self.current, held) {
            (Some(used), _) if !outdated => Ok(used.app.clone()),
            (_, Some((_, app))) if app.client.on_hold().is_some() => Ok(app),
            _ => made_of.build(&self.shared.http, self.observe()).await.map(Arc::new),
        };
        let candidate = match candidate {
            Ok(candidate) => candidate,
            Err(problem) => return self.without(problem, Some(&outline)),
        };
        if self.uses(&candidate) && !due {
            return self.as_before();
        }
        if let Err(problem) = signs(&candidate).await {
            return self.without(problem, Some(&outline));
        }
        self.ask_github(candidate, made_of).await
    }

    fn uses(&self, app: &Arc<App<Signer>>) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|used| Arc::ptr_eq(&used.app, app))
    }

    /// Whether GitHub takes the key, and where the App is installed.
    async fn ask_github(&mut self, candidate: Arc<App<Signer>>, made_of: Ingredients) -> Look {
        self.asked = Some(Instant::now());
        let (slug, installations) = match discovery::found(&candidate).await {
            Ok(found) => found,
            Err(problem) => {
                self.asked = None;
                return self.not_taken(candidate, made_of, problem);
            }
        };
        let app = discovery::with_installations(&candidate, &installations).unwrap_or(candidate);
        let used = self.current.insert(Used {
            made_of,
            app,
            unproved: None,
        });
        Look {
            findings: Findings {
                slug: Some(slug),
                installations: Some(installations.iter().map(discovery::shown).collect()),
                ..used.findings()
            },
            app: Ok(used.app.clone()),
        }
    }

    /// GitHub refuses the key, or cannot be asked. That says nothing about the key, which is used then, as the startup App's is, unless
    /// there is one that GitHub has taken: Tokens must not wait for an App's next look when GitHub is back.
    fn not_taken(&mut self, candidate: Arc<App<Signer>>, made_of: Ingredients, problem: Problem) -> Look {
        let known = self.uses(&candidate);
        let proved = self
            .current
            .as_ref()
            .is_some_and(|used| used.is_proved_for(&made_of.outline));
        match (problem.retry.is_transient(), proved) {
            (true, true) if known => {
                tracing::warn!(app = %self.name.1, namespace = %self.name.0, reason = %problem.reason, "the App could not be checked: {}", problem.message);
                return self.as_before();
            }
            (true, false) => {
                self.current = Some(Used {
                    made_of,
                    app: candidate,
                    unproved: Some(unproved(&problem)),
                });
                return self.as_before();
            }
            _ => {}
        }
        if known {
            self.current = None;
        }
        let look = self.without(problem, Some(&made_of.outline));
        self.held = Some((made_of, candidate));
        look
    }

    /// Everything is as it was.
    fn as_before(&self) -> Look {
        let untried = || Problem::new(Reason::AppNotReady, Retry::Backoff, "the App has not been tried yet");
        let used = self.current.as_ref();
        Look {
            findings: used.map(Used::findings).unwrap_or_default(),
            app: used.map(|used| used.app.clone()).ok_or_else(untried),
        }
    }

    /// Something is wrong. A new key that does not work leaves the former one in use, if it is for the same App.
    fn without(&mut self, problem: Problem, wanted: Option<&Outline>) -> Look {
        self.asked = None;
        self.current.take_if(|used| !used.outlasts(&problem, wanted));
        match &self.current {
            Some(former) => Look {
                findings: Findings {
                    refused_key: Some(problem),
                    ..former.findings()
                },
                app: Ok(former.app.clone()),
            },
            None => {
                let about_key = problem.reason.is_about_the_app()
                    && !matches!(problem.reason, Reason::AppAuthenticationFailed | Reason::AppNotReady);
                let app = Err(not_ready(&self.name, &problem));
                Look {
                    findings: Findings {
                        key: about_key.then(|| Some(problem.clone())),
                        problem: Some(problem),
                        ..Findings::default()
                    },
                    app,
                }
            }
        }
    }

    /// Writes the status if it is not what it should be, and an Event when the App begins or ceases to work.
    async fn tell(&mut self, object: &AppObject, findings: &Findings) {
        let stored = object.status.as_ref();
        let previous = self.status.as_ref().or(stored).cloned().unwrap_or_default();
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
