//! The App that the Tokens of an App object come from.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::Reason;
use crate::controller::{App, AppName};
use crate::domain::Problem;
use crate::domain::app::Findings;
use crate::domain::schedule::{Retry, next_attempt};
use crate::signer::Signer;

use super::apps::{Ingredients, Outline, SOON};
use super::discovery;

/// The longest wait before an App is tried again whose trouble does not pass by itself.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// An App in use.
pub struct Used {
    /// What it was made of.
    pub made_of: Ingredients,
    /// The App.
    pub app: Arc<App<Signer>>,
    /// Why GitHub has not said yet whether it takes the key; `None`: it does.
    pub unproved: Option<Problem>,
}

impl Used {
    /// What is known of it without another look.
    pub fn findings(&self) -> Findings {
        Findings {
            fingerprint: self.app.client.signer().fingerprint().ok(),
            key: Some(None),
            problem: self.unproved.clone().or_else(|| missing_owner(&self.app)),
            ..Findings::default()
        }
    }

    /// Whether GitHub has taken its key, and nothing but another key makes it what is to be used now.
    pub fn is_proved_for(&self, wanted: &Outline) -> bool {
        self.unproved.is_none() && self.made_of.outline.is_the_app_of(wanted)
    }

    /// Whether it stays in use although what is to be used now does not work; `wanted` is that, if it is allowed and can be understood.
    /// A Token never gets what its App object does not name any more.
    pub fn outlasts(&self, problem: &Problem, wanted: Option<&Outline>) -> bool {
        match wanted {
            None => false,
            Some(wanted) if problem.retry.is_transient() => self.made_of.outline.is_the_app_of(wanted),
            // A key that GitHub has not taken yet is not known to be better than one that never will be.
            Some(wanted) => self.is_proved_for(wanted),
        }
    }
}

/// What is said of an App that is used before GitHub has taken its key, since GitHub could not be asked.
pub fn unproved(problem: &Problem) -> Problem {
    let message = format!(
        "GitHub has not taken the App's key yet, which is used all the same, as nothing speaks against it: {}",
        problem.message
    );
    Problem::new(problem.reason, problem.retry, message)
}

/// When an App that does not work is looked at again; `failures` counts the looks in a row that have found something wrong, `now` is by
/// GitHub's clock.
pub fn pause_after(problem: Option<&Problem>, failures: u32, now: Timestamp, dice: f64) -> Duration {
    let retry = problem.map_or(Retry::Backoff, |problem| problem.retry);
    let (retry, longest) = match retry {
        Retry::At(_) | Retry::HoldApp(_) => (retry, discovery::AGAIN),
        Retry::Backoff | Retry::After(_) => (Retry::Backoff, discovery::AGAIN),
        // What is wrong may be put right at GitHub, or at the key service, of which nobody is told.
        Retry::Every(_) => (Retry::Backoff, LONGEST_PAUSE),
    };
    let next = next_attempt(now, retry, failures, longest, dice);
    Duration::try_from(next.duration_since(now)).unwrap_or(SOON).max(SOON)
}

/// What the App's Tokens are told. They are looked at again as soon as the App works.
pub fn not_ready(name: &AppName, problem: &Problem) -> Problem {
    let message = format!(
        "spec.appRef: the App {}/{} does not work: {}",
        name.0, name.1, problem.message
    );
    let retry = if problem.retry.is_transient() {
        Retry::Backoff
    } else {
        Retry::Every(Duration::from_secs(600))
    };
    Problem::new(Reason::AppNotReady, retry, message)
}

/// An owner whose installation is not there: the App itself works, and Tokens that name another installation do.
fn missing_owner(app: &App<Signer>) -> Option<Problem> {
    app.facts.owner.as_ref()?;
    app.facts.default_installation().err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(retry: Retry) -> Problem {
        Problem::new(Reason::GitHubUnavailable, retry, "no")
    }

    #[test]
    fn what_passes_by_itself_is_looked_at_soon_and_not_before_github_wants_it() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let hour = Retry::Every(Duration::from_secs(3600));
        for (retry, pause) in [
            (Retry::Backoff, 15),
            (Retry::After(Duration::from_secs(300)), 15),
            (Retry::HoldApp(at(300)), 300),
            (Retry::At(at(300)), 300),
            (hour, 60),
        ] {
            let found = pause_after(Some(&problem(retry)), 20, at(0), 1.0);
            assert_eq!(found, Duration::from_secs(pause), "{retry:?}");
        }
    }

    #[test]
    fn tokens_wait_for_what_passes_by_itself_as_for_an_outage() {
        let name = ("team".to_owned(), "app".to_owned());
        for (retry, transient) in [(Retry::Backoff, true), (Retry::Every(Duration::from_secs(60)), false)] {
            let told = not_ready(&name, &problem(retry));
            assert_eq!(
                (told.reason, told.retry.is_transient()),
                (Reason::AppNotReady, transient)
            );
        }
    }
}
