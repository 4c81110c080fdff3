//! Tokens as a person looks at them: which of them need a hand, and until when the others are good.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};

use crate::api::{Reason, TokenStatus, condition};

use super::Problem;
use super::intent::{Intent, Key, SecretKey};

/// How a Token is; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// The token in its Secret is over.
    Expired,
    /// The last attempt failed.
    Failing,
    /// The operator has not come to it yet, as it is now.
    Waiting,
    /// It is ready, but something looks wrong.
    Doubtful,
    /// A good token is in its Secret.
    Ready,
}

impl State {
    /// All, the worst first.
    pub const ALL: [State; 5] = [
        State::Expired,
        State::Failing,
        State::Waiting,
        State::Doubtful,
        State::Ready,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Expired => "Expired",
            State::Failing => "Failing",
            State::Waiting => "Waiting",
            State::Doubtful => "Doubtful",
            State::Ready => "Ready",
        }
    }

    /// Whether whoever reads the Secret finds a good token that is looked after.
    #[must_use]
    pub const fn is_ready(self) -> bool {
        matches!(self, State::Doubtful | State::Ready)
    }
}

/// What is read of an object.
#[derive(Debug)]
pub struct Seen<'a> {
    /// Which object.
    pub key: Key,
    /// The generation of its spec.
    pub generation: i64,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its spec.
    pub intent: &'a Result<Intent, Problem>,
    /// Its status.
    pub status: &'a TokenStatus,
}

/// One Token or ClusterToken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which object.
    pub key: Key,
    /// How it is.
    pub state: State,
    /// Why, for programs.
    pub reason: String,
    /// Why, for people; empty where there is nothing to say.
    pub message: String,
    /// The Secret that it keeps; `None` if the spec cannot be read.
    pub secret: Option<SecretKey>,
    /// When the token in it expires, as the operator last saw it.
    pub expires: Option<Timestamp>,
    /// When the operator does something about it next.
    pub next: Option<Timestamp>,
}

impl Line {
    /// What there is to say about it at `now`.
    #[must_use]
    pub fn new(seen: Seen<'_>, now: Timestamp) -> Self {
        let status = seen.status;
        let token = status.installation_access_token.as_ref();
        let expires = token.and_then(|token| token.expires_at).map(Timestamp::from);
        let (state, reason, message) = verdict(&seen, expires.is_some_and(|at| at <= now));
        Line {
            state,
            reason: reason.to_owned(),
            message: message.into_owned(),
            secret: seen.intent.as_ref().ok().map(|intent| intent.secret.key.clone()),
            expires,
            next: status.next_attempt_at.map(Timestamp::from),
            key: seen.key,
        }
    }
}

fn verdict<'a>(seen: &Seen<'a>, over: bool) -> (State, &'a str, Cow<'a, str>) {
    let holds = |kind| seen.status.condition(kind).filter(|found| found.status == "True");
    let ready = seen.status.condition(condition::READY);
    if let Some(expired) = holds(condition::EXPIRED) {
        let (reason, message) = ready
            .filter(|ready| ready.status == "False")
            .map_or((expired.reason.as_str(), expired.message.as_str()), |ready| {
                (ready.reason.as_str(), ready.message.as_str())
            });
        return (State::Expired, reason, message.into());
    }
    if seen.deleting {
        return (State::Waiting, Reason::Deleting.as_str(), "it is being deleted".into());
    }
    if over {
        let text = "the token expired and the operator has not said anything since: does it run?";
        return match ready.filter(|ready| ready.status == "False") {
            // What stood in the way before most likely still does.
            Some(ready) => (
                State::Expired,
                &ready.reason,
                format!("{}; {text}", ready.message).into(),
            ),
            None => (State::Expired, "TokenExpired", text.into()),
        };
    }
    let (state, reason, message) = standing(seen);
    (state, reason, message.into())
}

/// How one is whose token is good, or that has none.
fn standing<'a>(seen: &Seen<'a>) -> (State, &'a str, &'a str) {
    let holds = |kind| seen.status.condition(kind).filter(|found| found.status == "True");
    let ready = seen.status.condition(condition::READY);
    let as_ready = ready.map_or(("", ""), |ready| (ready.reason.as_str(), ready.message.as_str()));
    match (seen.intent, ready.map(|ready| ready.status.as_str())) {
        // The operator's own word has more to say.
        (Err(problem), status) if status != Some("False") => {
            (State::Failing, problem.reason.as_str(), &problem.message)
        }
        (_, Some("False")) => (State::Failing, as_ready.0, as_ready.1),
        _ if observed(seen.status).is_none_or(|seen_then| seen_then < seen.generation) => {
            let text = "the operator has not looked at this version of it yet: does it run, and does it look into this namespace?";
            (State::Waiting, "NotObserved", text)
        }
        (_, Some("True")) => match holds(condition::WARNING) {
            Some(warning) => (State::Doubtful, &warning.reason, &warning.message),
            None => (State::Ready, as_ready.0, ""),
        },
        _ => (State::Waiting, as_ready.0, as_ready.1),
    }
}

/// The generation that the status is about: older kinds keep that of a condition alone.
fn observed(status: &TokenStatus) -> Option<i64> {
    let of_ready = || status.condition(condition::READY)?.observed_generation;
    status.observed_generation.or_else(of_ready)
}

/// Brings those in trouble to the front, and of each state those that expire first.
pub fn sort(lines: &mut [Line]) {
    let rank = |line: &Line| (line.state, line.expires.unwrap_or(Timestamp::MAX));
    lines.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.key.cmp(&b.key)));
}

/// A time as people say it, its two largest units: `in 43m`, `in 2h5m`, `12s ago`.
#[must_use]
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let until = at.duration_since(now);
    let length = until.abs();
    let text = match (length.as_hours(), length.as_mins() % 60, length.as_secs() % 60) {
        (hours, ..) if hours >= 48 => format!("{}d{}h", hours / 24, hours % 24),
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, _) => format!("{minutes}m"),
        (hours, minutes, _) => format!("{hours}h{minutes}m"),
    };
    if until < SignedDuration::ZERO {
        format!("{text} ago")
    } else {
        format!("in {text}")
    }
}

#[cfg(test)]
mod tests;
