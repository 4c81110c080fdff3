//! What a cluster's admin lets Tokens ask for. One set of policies answers at admission and again before every mint.

mod doubts;
mod glob;
mod limits;
mod selector;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::{DEFAULT_GRACE_PERIOD, Enforcement, LONGEST_TIME, Reason, Time, TokenPolicy, TokenPolicySpec};

use super::duration::duration;
use super::intent::{Intent, SecretKey, Warning};
use super::plan::Plan;
use super::problem::Problem;
use super::quote;
use super::schedule::{Retry, later};

pub use glob::fits_exactly;
use limits::Limits;
use selector::Selector;

/// How often a Token that is forbidden is looked at again; a change of a policy comes by itself.
const PERIOD: Duration = Duration::from_secs(3600);
/// Policies whose objections a message names.
const NAMED: usize = 3;

/// What holds where no policy selects a namespace (`--default-policy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultPolicy {
    /// Everything that the App's installation has.
    #[default]
    Allow,
    /// Nothing.
    Deny,
}

impl FromStr for DefaultPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "allow" => Ok(DefaultPolicy::Allow),
            "deny" => Ok(DefaultPolicy::Deny),
            other => Err(format!("'{}' is neither allow nor deny", quote(other))),
        }
    }
}

/// A TokenPolicy, normalised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The generation of its spec.
    pub generation: Option<i64>,
    /// Whether it refuses or warns.
    pub enforcement: Enforcement,
    selector: Selector,
    /// Or why it cannot be read, and allows nothing.
    limits: Result<Limits, String>,
    grace: Duration,
}

fn default_grace() -> Duration {
    duration(DEFAULT_GRACE_PERIOD).unwrap_or_default()
}

impl Policy {
    /// Reads a policy.
    #[must_use]
    pub fn new(object: &TokenPolicy) -> Self {
        let (spec, meta) = (&object.spec, &object.metadata);
        let (selector, limits) = match Selector::new(spec.namespace_selector.as_ref()) {
            Ok(selector) => (selector, Limits::new(spec)),
            Err(flaw) => (Selector::All, Err(flaw)),
        };
        Policy {
            enforcement: spec.enforcement,
            selector,
            limits,
            grace: duration(&spec.grace_period).unwrap_or_else(default_grace),
            generation: meta.generation,
            ..Policy::unreadable(meta.name.as_deref(), meta.uid.as_deref())
        }
    }

    /// An object that is no policy that this version understands: it is about every namespace and allows nothing, so that no
    /// mistake widens what may be asked for.
    #[must_use]
    pub fn unreadable(name: Option<&str>, uid: Option<&str>) -> Self {
        Policy {
            name: name.unwrap_or_default().to_owned(),
            uid: uid.unwrap_or_default().to_owned(),
            generation: None,
            enforcement: Enforcement::Enforce,
            selector: Selector::All,
            limits: Err("correct it, or remove it".to_owned()),
            grace: default_grace(),
        }
    }

    /// What of a policy's spec cannot be read although its schema lets it through: names the field, the value and the cure.
    #[must_use]
    pub fn flaw(spec: &TokenPolicySpec) -> Option<String> {
        let selector = Selector::new(spec.namespace_selector.as_ref()).err();
        let limits = || Limits::new(spec).err();
        let grace = || time("gracePeriod", &spec.grace_period).err();
        selector.or_else(limits).or_else(grace)
    }

    /// Why the policy does not allow a Token; names the field, the value and the limit. `own_namespace`: the operator's.
    #[must_use]
    pub fn objection(&self, intent: &Intent, own_namespace: &str) -> Option<String> {
        match &self.limits {
            Ok(limits) => limits.objection(intent, own_namespace),
            Err(flaw) => Some(format!("the policy cannot be read, so it allows nothing: {flaw}")),
        }
    }
}

/// A time of a policy; or what is wrong with it.
fn time(field: &str, text: &str) -> Result<Duration, String> {
    let why = match duration(text) {
        None => "is not a duration; write days, hours, minutes and seconds, such as '1d', '1h30m' or '90s'".to_owned(),
        read if read > duration(LONGEST_TIME) => format!("is too long; write at most {LONGEST_TIME}"),
        Some(time) => return Ok(time),
    };
    Err(format!("spec.{field}: '{}' {why}", quote(text)))
}

/// Labels of a namespace.
pub type Labels = BTreeMap<String, String>;

/// All policies, and what they are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// The policies, by name.
    pub all: BTreeMap<String, Policy>,
    /// The labels of every namespace.
    pub namespaces: BTreeMap<String, Labels>,
    /// What holds where no policy selects.
    pub default: DefaultPolicy,
    /// The operator's own namespace: of Apps that a ClusterToken names without one.
    pub own_namespace: String,
}

/// Why a Token is forbidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// For its condition.
    pub problem: Problem,
    /// How long its Secret stays.
    pub grace: Duration,
}

/// What the policies say about a Token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why it is forbidden, if it is.
    pub forbidden: Option<Forbidden>,
    /// What policies say that only warn.
    pub warnings: Vec<Warning>,
    /// The policies that select the Token, and what each has against it.
    pub found: Vec<(String, Option<String>)>,
}

impl Verdict {
    /// The policies that refused the Token, or would have, with their objections.
    pub fn refusals(&self) -> impl Iterator<Item = (&str, &str)> {
        let counts = self.forbidden.is_some() || !self.warnings.is_empty();
        let all = self.found.iter().filter(move |_| counts);
        all.filter_map(|(name, objection)| Some((name.as_str(), objection.as_deref()?)))
    }
}

impl Policies {
    /// Whether a policy is about the namespace of a Token's Secret. `None`: the namespace is not known (yet), and that matters.
    #[must_use]
    pub fn selects(&self, policy: &Policy, intent: &Intent) -> Option<bool> {
        match (&policy.selector, self.namespaces.get(&*intent.secret.key.namespace)) {
            (Selector::All, _) => Some(true),
            (selector, Some(labels)) => Some(selector.fits(labels)),
            (_, None) => None,
        }
    }

    /// Whether any policy selects by labels.
    #[must_use]
    pub fn needs_namespaces(&self) -> bool {
        self.all.values().any(|policy| policy.selector != Selector::All)
    }

    /// What holds for a Token.
    #[must_use]
    pub fn judge(&self, intent: &Intent) -> Verdict {
        let (mut enforced, mut audited) = (Vec::new(), Vec::new());
        for policy in self.all.values() {
            match (self.selects(policy, intent), policy.enforcement) {
                (Some(false), _) => {}
                (Some(true), Enforcement::Enforce) => {
                    enforced.push((policy, policy.objection(intent, &self.own_namespace)))
                }
                (Some(true), Enforcement::Audit) => {
                    audited.push((policy, policy.objection(intent, &self.own_namespace)))
                }
                (None, Enforcement::Audit) => {}
                (None, Enforcement::Enforce) => return unknown_namespace(intent),
            }
        }
        let allowed = |(_, objection): &(&Policy, Option<String>)| objection.is_none();
        let forbidden = if enforced.is_empty() {
            (self.default == DefaultPolicy::Deny).then(|| no_policy(intent, &audited))
        } else {
            let grace = enforced.iter().map(|(policy, _)| policy.grace).max();
            (!enforced.iter().any(allowed)).then(|| forbidden(&objections(&enforced), grace.unwrap_or_default()))
        };
        // As it would be if those that warn were enforced.
        let objected = !audited.is_empty() && !audited.iter().chain(&enforced).any(allowed);
        let warning = || Warning {
            reason: Reason::PolicyWarns,
            message: format!("{}; this will be refused once it is enforced", objections(&audited)),
        };
        let warnings = objected.then(warning).into_iter().collect();
        let all = enforced.into_iter().chain(audited);
        let found = all
            .map(|(policy, objection)| (policy.name.clone(), objection))
            .collect();
        Verdict {
            forbidden,
            warnings,
            found,
        }
    }
}

/// What follows for a Token that is forbidden since then: it is told so, and when the grace is over, its Secrets go: the one that it
/// wants, and those of former names.
///
/// # Errors
/// The [`Problem`] that it is told.
pub fn consequence(
    forbidden: Forbidden,
    secrets: Vec<SecretKey>,
    since: Option<Timestamp>,
    now: Timestamp,
) -> Result<Plan, Problem> {
    let Forbidden { problem, grace } = forbidden;
    if secrets.is_empty() || problem.reason != Reason::PolicyForbids {
        return Err(problem);
    }
    let end = later(since.unwrap_or(now), grace);
    if end <= now && since.is_some() {
        return Ok(Plan::Withdraw(secrets));
    }
    let left = Duration::try_from(end.duration_since(now)).unwrap_or_default();
    let message = format!("{}; the Secret is removed at {}", problem.message, Time::from(end));
    Err(Problem::new(problem.reason, Retry::Every(left.min(PERIOD)), message))
}

fn objections(all: &[(&Policy, Option<String>)]) -> String {
    let named = all.iter().take(NAMED);
    let texts: Vec<String> = named
        .filter_map(|(policy, objection)| Some(format!("TokenPolicy {}: {}", policy.name, objection.as_ref()?)))
        .collect();
    format!("{}{}", texts.join("; "), more(all.len()))
}

/// For behind the policies that a message names.
fn more(all: usize) -> String {
    match all.saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; and {more} more policies"),
    }
}

fn forbidden(message: &str, grace: Duration) -> Forbidden {
    Forbidden {
        problem: Problem::new(Reason::PolicyForbids, Retry::Every(PERIOD), message),
        grace,
    }
}

/// `audited`: the policies that only audit; one of them may have been enforced until now, so that its grace counts.
fn no_policy(intent: &Intent, audited: &[(&Policy, Option<String>)]) -> Forbidden {
    let namespace = &intent.secret.key.namespace;
    let named: Vec<&str> = audited.iter().take(NAMED).map(|(policy, _)| &*policy.name).collect();
    let about = if named.is_empty() {
        format!("no TokenPolicy is about the namespace {namespace}")
    } else {
        let (named, more) = (named.join(", "), more(audited.len()));
        format!("no TokenPolicy that is enforced is about the namespace {namespace} (only audits: {named}{more})")
    };
    let message = format!("{about}, and the operator's --default-policy is deny: ask the cluster's admin for one");
    let grace = audited.iter().map(|(policy, _)| policy.grace).max();
    forbidden(&message, grace.unwrap_or_else(default_grace))
}

fn unknown_namespace(intent: &Intent) -> Verdict {
    let message = format!(
        "the namespace {} is not known yet, so no TokenPolicy can be found",
        intent.secret.key.namespace
    );
    let problem = Problem::new(Reason::NamespaceUnavailable, Retry::Backoff, message);
    Verdict {
        // A Secret of a namespace that is just not known is not taken away.
        forbidden: Some(Forbidden {
            problem,
            grace: Duration::MAX,
        }),
        ..Verdict::default()
    }
}

#[cfg(test)]
mod tests;
