//! The whole pod: its Tokens, its volumes, its containers.

use std::borrow::Borrow;
use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::Reason;
use crate::api::names::{annotation::PREFIX, pod as key};
use crate::domain::intent::{Key, Kind};

use super::ask::{Ask, Missing, Selection};
use super::bounds::PATCH;
use super::clash::{agree, clashes};
use super::container::{Lacks, mounts, read_only, warn_of_stale_variables};
use super::facts::SecretFacts;
use super::grant::Granted;
use super::item::{Volume, is_same};
use super::patch::{Additions, Patch};
use super::view::{Container, Pod};
use super::{Injection, Refusal, TokenFacts, Warnings};

/// Sidecars of service meshes, by the names that their own injectors give them: they have no use for a token.
const SIDECARS: [&str; 10] = [
    "istio-proxy",
    "istio-init",
    "istio-validation",
    "linkerd-proxy",
    "linkerd-init",
    "linkerd-network-validator",
    "kuma-sidecar",
    "kuma-init",
    "consul-dataplane",
    "consul-connect-inject-init",
];

/// What is added to a pod of `namespace` that asks for `asks`. `facts` holds what is known of their Tokens; one that is not in
/// it does not exist.
///
/// # Errors
/// A [`Refusal`] that names the annotation, the value and the cure.
pub fn inject(
    pod: &Pod<'_>,
    namespace: &str,
    asks: &[Ask],
    facts: &BTreeMap<Key, impl Borrow<TokenFacts>>,
    warnings: &mut Warnings,
) -> Result<Injection, Refusal> {
    if asks.is_empty() {
        return Ok(nothing(Reason::NotRequested));
    }
    if pod.is_windows() {
        let why =
            "the pod is for Windows: tokens are injected into pods for Linux alone; mount the Token's Secret yourself";
        return Err(Refusal::new(Reason::NotInjectable, why));
    }
    pod.is_seen_whole()?;
    let mut granted = Vec::new();
    for ask in asks {
        match secret_of(ask, namespace, facts.get(&ask.token).map(Borrow::borrow)) {
            Ok(found) => {
                found.doubt.into_iter().for_each(|doubt| warnings.add(|| doubt));
                let key = token_key(ask, &found.secret)?;
                granted.push(Granted::new(ask, found.secret.key.name, key)?);
            }
            Err(refusal) if ask.missing == Missing::Ignore && refusal.reason != Reason::OtherNamespace => {
                warnings.add(|| format!("{}; the pod starts without it", refusal.message));
            }
            Err(refusal) => return Err(refusal),
        }
    }
    if granted.is_empty() {
        return Ok(nothing(Reason::TokenMissing));
    }
    let mut patch = Additions::default();
    volumes(pod, &granted, &mut patch, warnings)?;
    containers(pod, &granted, &mut patch, warnings)?;
    note(pod, &granted, &mut patch)?;
    Ok(Injection {
        reason: Reason::Injected,
        patch: patch.into_patch(),
    })
}

fn nothing(reason: Reason) -> Injection {
    let patch = Patch::default();
    Injection { reason, patch }
}

struct Found {
    secret: SecretFacts,
    doubt: Option<String>,
}

fn secret_of(ask: &Ask, namespace: &str, facts: Option<&TokenFacts>) -> Result<Found, Refusal> {
    let (kind, name) = (ask.token.kind.as_str(), &ask.token.name);
    let usable = facts.filter(|facts| !facts.deleting);
    let Some(facts) = usable else {
        let (state, make) = if facts.is_some() {
            ("is being deleted", "create it again when it is gone")
        } else {
            ("does not exist", "create it first")
        };
        let place = if ask.token.kind == Kind::Token {
            format!(" in namespace {namespace}")
        } else {
            String::new()
        };
        if ask.missing == Missing::Wait {
            let doubt = format!("{kind} {name} {state}{place}: the pod waits until its Secret is there");
            let known = facts.and_then(|facts| facts.secret.clone().ok());
            let secret = known.unwrap_or_else(|| SecretFacts::presumed(&ask.token, namespace));
            return in_namespace(
                ask,
                namespace,
                Found {
                    secret,
                    doubt: Some(doubt),
                },
            );
        }
        let cure = format!("{make}, or set {PREFIX}{} to wait or ignore", key::ON_MISSING);
        let message = format!("{kind} {name} {state}{place}: {cure}");
        return Err(Refusal::new(Reason::TokenMissing, message));
    };
    let secret = match &facts.secret {
        Ok(secret) => secret.clone(),
        Err(why) => {
            // What a ClusterToken says is not for every namespace to read.
            let own = ask.token.kind == Kind::Token;
            let why = if own { why } else { "its condition says why" };
            let message = format!("{kind} {name} is wrong, so it keeps no Secret: {why}");
            return Err(Refusal::new(Reason::InvalidSpec, message));
        }
    };
    let doubt = facts
        .not_ready
        .as_ref()
        .map(|reason| format!("{kind} {name} is not ready ({reason}): the pod waits until its Secret is there"));
    in_namespace(ask, namespace, Found { secret, doubt })
}

/// Secrets are never copied: the Token's must be in the pod's own namespace.
fn in_namespace(ask: &Ask, namespace: &str, found: Found) -> Result<Found, Refusal> {
    if &*found.secret.key.namespace == namespace {
        return Ok(found);
    }
    let message = format!(
        "{} {} keeps its Secret in another namespace than the pod's, {namespace}: create a Token in {namespace}",
        ask.token.kind.as_str(),
        ask.token.name
    );
    Err(Refusal::new(Reason::OtherNamespace, message))
}

fn token_key(ask: &Ask, secret: &SecretFacts) -> Result<Cow<'static, str>, Refusal> {
    secret.token_key.clone().ok_or_else(|| {
        let message = format!(
            "{} {}: a Secret of format {} has no key with the bare token: set spec.secret.format to token or basicAuth",
            ask.token.kind.as_str(),
            ask.token.name,
            secret.format.as_str()
        );
        Refusal::new(Reason::NotInjectable, message)
    })
}

fn volumes(
    pod: &Pod<'_>,
    granted: &[Granted<'_>],
    patch: &mut Additions,
    warnings: &mut Warnings,
) -> Result<(), Refusal> {
    let there = pod.spec.volumes.as_deref().unwrap_or_default();
    let fs_group = pod.spec.security_context.fs_group.is_some();
    let mut missing = Vec::new();
    for grant in granted.iter().filter(|grant| grant.ask.file) {
        let mode = grant.ask.mode.unwrap_or(if fs_group { 0o440 } else { 0o444 });
        if mode & 0o004 == 0 && !fs_group {
            warnings.add(|| {
                format!(
                    "{PREFIX}{}: only root can read a file of mode {mode:04o} here; leave it out, or set the pod's fsGroup",
                    key::FILE_MODE
                )
            });
        }
        let (name, projected) = (grant.volume.as_str(), grant.projected(mode));
        match there.iter().find(|volume| *volume.name == *name) {
            None => missing.push(Volume { name, projected }),
            Some(volume) if volume.projected.is_some_and(|theirs| is_same(theirs, &projected)) => {}
            Some(_) => {
                let message = format!("the pod has a volume '{name}' already, with other content: rename it");
                return Err(Refusal::new(Reason::PodConflict, message));
            }
        }
    }
    let exists = pod.spec.volumes.is_some();
    Ok(patch.append(&["spec", "volumes"], exists, &missing)?)
}

fn containers(
    pod: &Pod<'_>,
    granted: &[Granted<'_>],
    patch: &mut Additions,
    warnings: &mut Warnings,
) -> Result<(), Refusal> {
    let lists = [
        ("initContainers", &pod.spec.init_containers),
        ("containers", &pod.spec.containers),
    ];
    let all = || lists.iter().flat_map(|(_, list)| list.iter());
    for grant in granted {
        check_names(grant.ask, all())?;
    }
    let (clashes, fixed) = (clashes(granted), read_only(pod));
    let mut lacks = Lacks::default();
    for (list, containers) in lists {
        for (at, container) in containers.iter().enumerate() {
            let chosen: Vec<&Granted<'_>> = granted.iter().filter(|grant| selects(grant.ask, container)).collect();
            if chosen.is_empty() {
                continue;
            }
            agree(container, &chosen, &clashes)?;
            let missing = mounts(&fixed, container, &chosen)?;
            let variables = lacks.variables(container, &chosen, warnings)?;
            warn_of_stale_variables(pod, &chosen, warnings);
            let at = at.to_string();
            for (place, item) in &variables.overrides {
                patch.set(&["spec", list, &at, "env", &place.to_string()], item)?;
            }
            let exist = (container.env.is_some(), container.volume_mounts.is_some());
            patch.append(&["spec", list, &at, "env"], exist.0, &variables.env)?;
            patch.append(&["spec", list, &at, "volumeMounts"], exist.1, &missing)?;
            if patch.len() > PATCH {
                return Err(too_long());
            }
        }
    }
    Ok(())
}

fn too_long() -> Refusal {
    let message = format!(
        "what the tokens add to the pod is longer than {PATCH} bytes, more than can be stored: name fewer containers in \
         {PREFIX}{}, or fewer hosts in {PREFIX}{}",
        key::CONTAINERS,
        key::GIT_HOSTS
    );
    Refusal::new(Reason::NotInjectable, message)
}

fn selects(ask: &Ask, container: &Container<'_>) -> bool {
    match &ask.containers {
        Selection::Own => !SIDECARS.contains(&&*container.name),
        Selection::All => true,
        Selection::Named(names) => names.iter().any(|name| **name == *container.name),
    }
}

fn check_names<'a>(ask: &Ask, all: impl Iterator<Item = &'a Container<'a>>) -> Result<(), Refusal> {
    let Selection::Named(names) = &ask.containers else {
        return Ok(());
    };
    let known: Vec<&str> = all.map(|container| &*container.name).collect();
    let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) else {
        return Ok(());
    };
    let message = format!(
        "annotation {PREFIX}{}: the pod has no container '{}'; it has: {}",
        key::CONTAINERS,
        crate::domain::quote(unknown),
        crate::domain::quote(&known.join(", "))
    );
    Err(Refusal::new(Reason::InvalidAnnotation, message))
}

/// What a pod was given.
#[derive(Serialize)]
struct Given<'a> {
    kind: &'a str,
    name: &'a str,
    secret: &'a str,
}

/// Writes down on the pod what it was given.
fn note<'a>(pod: &Pod<'_>, granted: &'a [Granted<'a>], patch: &mut Additions) -> Result<(), Refusal> {
    let one = |grant: &'a Granted<'a>| {
        let Key { kind, name, .. } = &grant.ask.token;
        let (kind, secret) = (kind.as_str(), &*grant.secret);
        (&*grant.ask.id, Given { kind, name, secret })
    };
    let all: BTreeMap<&str, Given<'_>> = granted.iter().map(one).collect();
    let text = serde_json::to_string(&all)?;
    let name = format!("{PREFIX}{}", key::STATUS);
    let written = pod.metadata.annotations.get(name.as_str());
    if written.is_none_or(|written| **written != text) {
        patch.set(&["metadata", "annotations", &name], &text)?;
    }
    Ok(())
}
