//! The Secret that a pod takes its token from, and what is in doubt about it.

use std::borrow::Cow;

use crate::api::Reason;
use crate::api::names::{annotation::PREFIX, pod as key};
use crate::domain::intent::Kind;

use super::ask::{Ask, Missing};
use super::facts::{NotReady, SecretFacts};
use super::{Refusal, TokenFacts};

/// Where a pod finds the bare token.
pub(super) struct Found {
    /// The Secret's name.
    pub name: Box<str>,
    /// Its key.
    pub key: Cow<'static, str>,
    /// Why it may not be there, or not stay fresh, and what happens then.
    pub doubt: Option<String>,
}

/// Where the token is that a pod of `namespace` asks for. `facts` is what is known of its Token, if that exists.
///
/// # Errors
/// A [`Refusal`] that names the Token and the cure.
pub(super) fn secret_of(ask: &Ask, namespace: &str, facts: Option<&TokenFacts>) -> Result<Found, Refusal> {
    let Some(usual) = facts.filter(|facts| !facts.deleting) else {
        return secret_to_come(ask, namespace, facts);
    };
    let (kind, name) = (ask.token.kind.as_str(), &ask.token.name);
    let secret = usual.secret.as_ref().map_err(|why| {
        // What a ClusterToken says is not for every namespace to read.
        let own = ask.token.kind == Kind::Token;
        let why = if own { why } else { "its condition says why" };
        let message = format!("{kind} {name} is wrong, so it keeps no Secret: {why}");
        Refusal::new(Reason::InvalidSpec, message)
    })?;
    let doubt = usual.not_ready.as_ref();
    let doubt = doubt.map(|why| format!("{kind} {name} is not ready ({}): {}", why.reason, meanwhile(why)));
    let found = usable(ask, namespace, secret)?;
    Ok(Found { doubt, ..found })
}

/// What becomes of a pod while its Token is not ready.
fn meanwhile(why: &NotReady) -> Cow<'static, str> {
    match why.expires {
        Some(at) => Cow::Owned(format!(
            "the pod starts with the token that is in its Secret, good until {at} at most, and gets no other before the Token is ready"
        )),
        None if why.stalled => {
            Cow::Borrowed("the pod does not start before the Token is put right: its condition says what is wrong")
        }
        None => Cow::Borrowed("the pod waits until its Secret is there"),
    }
}

/// The Secret of a Token that does not exist, or is `going`: a pod may wait for it.
fn secret_to_come(ask: &Ask, namespace: &str, going: Option<&TokenFacts>) -> Result<Found, Refusal> {
    let (kind, name) = (ask.token.kind.as_str(), &ask.token.name);
    let (state, make) = if going.is_some() {
        ("is being deleted", "create it again when it is gone")
    } else {
        ("does not exist", "create it first")
    };
    let place = if ask.token.kind == Kind::Token {
        format!(" in namespace {namespace}")
    } else {
        String::new()
    };
    if ask.missing != Missing::Wait {
        let cure = format!("{make}, or set {PREFIX}{} to wait or ignore", key::ON_MISSING);
        let message = format!("{kind} {name} {state}{place}: {cure}");
        return Err(Refusal::new(Reason::TokenMissing, message));
    }
    let former = going.and_then(|facts| facts.secret.as_ref().ok());
    let presumed = || SecretFacts::presumed(&ask.token, namespace);
    let (found, make) = match former {
        Some(secret) => (usable(ask, namespace, secret)?, "again, with the same spec.secret"),
        None => (
            usable(ask, namespace, &presumed())?,
            "without spec.secret.name and spec.secret.format",
        ),
    };
    let doubt = format!(
        "{kind} {name} {state}{place}: the pod waits for a Secret {} with a key {}: create the {kind} {make}",
        found.name, found.key
    );
    let doubt = Some(doubt);
    Ok(Found { doubt, ..found })
}

/// A Secret that the pod can take the bare token from.
fn usable(ask: &Ask, namespace: &str, secret: &SecretFacts) -> Result<Found, Refusal> {
    let (kind, name) = (ask.token.kind.as_str(), &ask.token.name);
    // Secrets are never copied.
    if *secret.key.namespace != *namespace {
        let message = format!(
            "{kind} {name} keeps its Secret in another namespace than the pod's, {namespace}: create a Token in {namespace}"
        );
        return Err(Refusal::new(Reason::OtherNamespace, message));
    }
    let Some(key) = secret.token_key.clone() else {
        let message = format!(
            "{kind} {name}: a Secret of format {} has no key with the bare token: set spec.secret.format to token or basicAuth",
            secret.format.as_str()
        );
        return Err(Refusal::new(Reason::NotInjectable, message));
    };
    let (name, doubt) = (secret.key.name.clone(), None);
    Ok(Found { name, key, doubt })
}
