//! Tokens of one pod that cannot be in one container.

use crate::api::Reason;
use crate::api::names::{annotation::PREFIX, pod as key};
use crate::domain::quote;

use super::Refusal;
use super::ask::Ask;
use super::grant::Granted;
use super::value::overlap;
use super::view::Container;

/// Two tokens that are for the same folder, variable or host.
pub(super) struct Clash<'a> {
    one: &'a Ask,
    two: &'a Ask,
    /// The annotation.
    word: &'static str,
    /// What both are for.
    value: &'a str,
}

/// Every pair that must not meet in a container.
pub(super) fn clashes<'a>(granted: &'a [Granted<'a>]) -> Vec<Clash<'a>> {
    let mut found = Vec::new();
    for (at, one) in granted.iter().enumerate() {
        for two in granted.iter().take(at) {
            if let Some((word, value)) = clash(one, two) {
                let (one, two) = (one.ask, two.ask);
                found.push(Clash { one, two, word, value });
            }
        }
    }
    found
}

fn clash<'a>(one: &'a Granted<'a>, two: &Granted<'_>) -> Option<(&'static str, &'a str)> {
    let (ask, other) = (one.ask, two.ask);
    if ask.file && other.file && overlap(&one.place, &two.place) {
        return Some((key::MOUNT_PATH, &ask.folder));
    }
    let both = |of: fn(&Ask) -> bool| of(ask) && of(other);
    let host = ask.hosts.iter().find(|host| other.hosts.contains(host));
    let host = host
        .filter(|_| both(|ask| ask.git))
        .map(|host| (key::GIT_HOSTS, &**host));
    let variable = ask.variables.iter().find(|name| other.variables.contains(name));
    host.or_else(|| variable.filter(|_| both(|ask| ask.env)).map(|name| (key::ENV, &**name)))
}

/// No two of what this container gets may clash.
///
/// # Errors
/// A [`Refusal`] that names both.
pub(super) fn agree(container: &Container<'_>, granted: &[&Granted<'_>], clashes: &[Clash<'_>]) -> Result<(), Refusal> {
    let gets = |ask: &Ask| granted.iter().any(|grant| std::ptr::eq(grant.ask, ask));
    let Some(clash) = clashes.iter().find(|clash| gets(clash.one) && gets(clash.two)) else {
        return Ok(());
    };
    let message = format!(
        "annotation {PREFIX}{}: tokens '{}' and '{}' are both for '{}' in container '{}': give one of them another",
        clash.word,
        clash.one.id,
        clash.two.id,
        clash.value,
        quote(&container.name)
    );
    Err(Refusal::new(Reason::PodConflict, message))
}
