//! Where an App is installed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::api::{InstallationStatus, Reason, Time};
use crate::controller::App;
use crate::domain::Problem;
use crate::domain::facts::{AppFacts, Installed};
use crate::domain::intent::AppKey;
use crate::domain::schedule::Retry;
use crate::github::{Error, Installation};
use crate::signer::Signer;

use super::apps;

/// How often an App's installations are listed.
pub const PERIOD: Duration = Duration::from_secs(600);
/// How soon after an attempt that a later one may do better than.
pub const AGAIN: Duration = Duration::from_secs(15);
/// How often they are listed anew because a Token did not find its own.
const SHORTEST_PERIOD: Duration = Duration::from_secs(30);
/// How long GitHub may take to list them.
const PATIENCE: Duration = Duration::from_secs(30);

/// The installations, as GitHub lists them.
///
/// # Errors
/// A [`Problem`] of the key or of GitHub.
pub async fn installations(app: &App<Signer>) -> Result<Vec<Installation>, Problem> {
    answered(PATIENCE, app.client.installations()).await
}

/// When the installations are to be listed again, after this answer; `now` is by GitHub's clock.
pub fn pause_after(answer: &Result<Vec<Installation>, Problem>, now: Timestamp) -> Duration {
    let Err(problem) = answer else { return PERIOD };
    match problem.retry.not_before() {
        Some(time) => Duration::try_from(time.duration_since(now))
            .unwrap_or_default()
            .max(AGAIN),
        None if problem.retry.is_transient() => AGAIN,
        None => PERIOD,
    }
}

/// The App's slug and its installations.
///
/// # Errors
/// A [`Problem`] of the key or of GitHub.
pub async fn found(app: &App<Signer>) -> Result<(String, Vec<Installation>), Problem> {
    let slug = answered(apps::PATIENCE, app.client.app()).await?.slug;
    Ok((slug, installations(app).await?))
}

/// The answer, if it came in time.
///
/// # Errors
/// A [`Problem`] of the key or of GitHub.
async fn answered<T>(patience: Duration, call: impl Future<Output = Result<T, Error>>) -> Result<T, Problem> {
    match tokio::time::timeout(patience, call).await {
        Ok(answer) => answer.map_err(|error| Problem::new(error.reason(), error.retry(), error.to_string())),
        Err(_) => Err(Problem::new(
            Reason::GitHubUnavailable,
            Retry::Backoff,
            format!("GitHub has not answered within {patience:?}"),
        )),
    }
}

/// The same App with these installations; `None` if it knows them already.
#[must_use]
pub fn with_installations(app: &Arc<App<Signer>>, found: &[Installation]) -> Option<Arc<App<Signer>>> {
    let installations = Some(by_account(found.iter().map(shown)));
    (installations != app.facts.installations).then(|| {
        for shadowed in namesakes(found, installations.as_ref()) {
            tracing::warn!(
                installation = shadowed.id,
                "an organization or a user has the name of this enterprise, too, and is what the name means: name the enterprise's \
                 installation by its ID"
            );
        }
        knowing(app, installations)
    })
}

/// The same App with what is known of its installations.
pub fn knowing(app: &App<Signer>, installations: Option<BTreeMap<String, Installed>>) -> Arc<App<Signer>> {
    Arc::new(App {
        facts: AppFacts {
            installations,
            ..app.facts.clone()
        },
        site: app.site.clone(),
        probe_tokens: app.probe_tokens,
        client: app.client.clone(),
    })
}

/// Those that their account's name does not find.
fn namesakes<'a>(
    found: &'a [Installation],
    named: Option<&BTreeMap<String, Installed>>,
) -> impl Iterator<Item = &'a Installation> {
    found.iter().filter(move |installation| {
        let login = installation
            .account
            .as_ref()
            .map(|account| account.login.to_lowercase());
        let meant = login.and_then(|login| named?.get(&login));
        meant.is_some_and(|meant| meant.id != installation.id)
    })
}

/// Installations by the account's login in lower case. An enterprise may have the name of an organization or a user, which is what the
/// name means then.
pub fn by_account(all: impl IntoIterator<Item = InstallationStatus>) -> BTreeMap<String, Installed> {
    let is_enterprise = |shown: &InstallationStatus| shown.account_type.is_none();
    let (enterprises, others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_enterprise);
    // The last one of a name is the one that stays.
    let named = enterprises.into_iter().chain(others).filter_map(|shown| {
        let installed = Installed {
            id: u64::try_from(shown.id).ok()?,
            permissions: shown.permissions,
            all_repositories: shown.repository_selection.as_deref() == Some("all"),
            suspended: shown.suspended_at.is_some(),
        };
        Some((shown.account?.to_lowercase(), installed))
    });
    named.collect()
}

/// An installation as an App's status shows it.
pub fn shown(installation: &Installation) -> InstallationStatus {
    let account = installation.account.as_ref();
    InstallationStatus {
        id: i64::try_from(installation.id).unwrap_or(i64::MAX),
        account: account.map(|account| account.login.clone()),
        account_type: account.and_then(|account| account.kind.clone()),
        repository_selection: installation.repository_selection.clone(),
        permissions: installation.permissions.clone(),
        suspended_at: installation.suspended_at.map(Time::from),
    }
}

/// Wishes of Tokens for a new list of their App's installations, since they did not find their own. Many of one vanished installation
/// have the same wish at about the same time; one that comes too soon after the last list waits for its time.
pub struct Wishes {
    heard: broadcast::Receiver<AppKey>,
    app: AppKey,
    waiting: bool,
    /// The next one is granted then.
    next: Instant,
}

impl Wishes {
    /// For lists of this App.
    #[must_use]
    pub fn new(heard: broadcast::Receiver<AppKey>, app: AppKey) -> Self {
        Wishes {
            heard,
            app,
            waiting: false,
            next: Instant::now(),
        }
    }

    /// Waits until one is granted.
    pub async fn granted(&mut self) {
        while !self.waiting || Instant::now() < self.next {
            tokio::select! {
                () = asked(&mut self.heard, &self.app) => self.waiting = true,
                () = tokio::time::sleep_until(self.next), if self.waiting => {}
            }
        }
        self.waiting = false;
        self.next = Instant::now() + SHORTEST_PERIOD;
    }
}

/// Waits until a Token of this App does not find its installation.
async fn asked(rediscover: &mut broadcast::Receiver<AppKey>, app: &AppKey) {
    loop {
        match rediscover.recv().await {
            Ok(asked) if asked == *app => return,
            // Among what was missed may have been this App.
            Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enterprise_with_the_name_of_an_organization_is_told_and_leaves_the_name_to_it() {
        let installation = |id: u64, account: serde_json::Value| -> Installation {
            serde_json::from_value(serde_json::json!({"id": id, "account": account})).expect("an installation")
        };
        let enterprise = installation(1, serde_json::json!({"slug": "acme"}));
        let organization = installation(2, serde_json::json!({"login": "Acme", "type": "Organization"}));
        for found in [
            [enterprise.clone(), organization.clone()],
            [organization.clone(), enterprise.clone()],
        ] {
            let named = by_account(found.iter().map(shown));
            assert_eq!(named.get("acme").map(|installed| installed.id), Some(2));
            let told: Vec<_> = namesakes(&found, Some(&named)).map(|told| told.id).collect();
            assert_eq!(told, [1]);
        }
    }

    #[test]
    fn a_list_that_failed_for_the_moment_is_repeated_soon() {
        let failed = |reason, retry| Err(Problem::new(reason, retry, "no"));
        for (answer, pause) in [
            (Ok(Vec::new()), PERIOD),
            (failed(Reason::GitHubUnavailable, Retry::Backoff), AGAIN),
            (failed(Reason::AppAuthenticationFailed, Retry::Every(PERIOD)), PERIOD),
        ] {
            assert_eq!(pause_after(&answer, Timestamp::UNIX_EPOCH), pause);
        }
    }

    #[test]
    fn a_list_that_github_has_put_off_is_not_asked_for_before_then() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        for (now, pause) in [(0, Duration::from_secs(300)), (299, AGAIN), (400, AGAIN)] {
            for retry in [Retry::HoldApp(at(300)), Retry::At(at(300))] {
                let answer = Err(Problem::new(Reason::SecondaryRateLimited, retry, "no"));
                assert_eq!(pause_after(&answer, at(now)), pause);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wish_that_comes_too_soon_is_granted_when_its_time_has_come() {
        let (tell, heard) = broadcast::channel(16);
        let mut wishes = Wishes::new(heard, AppKey::Startup);
        let begun = Instant::now();
        let of_another = AppKey::Object {
            namespace: None,
            name: "other".to_owned(),
        };
        for wish in [of_another, AppKey::Startup, AppKey::Startup] {
            tell.send(wish).expect("it is heard");
        }
        wishes.granted().await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        wishes.granted().await;
        assert_eq!(begun.elapsed(), SHORTEST_PERIOD);
        let none = tokio::time::timeout(10 * SHORTEST_PERIOD, wishes.granted()).await;
        assert!(none.is_err(), "nobody has wished for more");
    }
}
