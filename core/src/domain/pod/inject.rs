//! The whole pod: its Tokens, its volumes, its containers.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::Reason;
use crate::api::names::{annotation::PREFIX, pod as key};
use crate::domain::intent::Key;

use super::ask::{Ask, Missing, Selection};
use super::bounds::PATCH;
use super::clash::{agree, clashes};
use super::container::{Lacks, mounts, read_only, warn_of_stale_variables};
use super::grant::Granted;
use super::item::Volume;
use super::patch::Additions;
use super::secret::secret_of;
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
        return finish(pod, Reason::NotRequested, &[], Additions::default());
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
                granted.push(Granted::new(ask, found.name, found.key)?);
            }
            Err(refusal) if ask.missing == Missing::Ignore && is_missing(refusal.reason) => {
                warnings.add(|| format!("{}; the pod starts without it", refusal.message));
            }
            Err(refusal) => return Err(refusal),
        }
    }
    if granted.is_empty() {
        return finish(pod, Reason::TokenMissing, &[], Additions::default());
    }
    select(pod, &mut granted, warnings)?;
    let mut patch = Additions::default();
    volumes(pod, &granted, &mut patch, warnings)?;
    let idle = containers(pod, &granted, &mut patch, warnings)?;
    granted.retain(|grant| !idle.iter().any(|ask| std::ptr::eq(*ask, grant.ask)));
    let reason = if granted.is_empty() {
        Reason::NotInjectable
    } else {
        Reason::Injected
    };
    finish(pod, reason, &granted, patch)
}

/// Whether it is for want of a Secret that a pod is refused.
fn is_missing(reason: Reason) -> bool {
    matches!(reason, Reason::TokenMissing | Reason::InvalidSpec)
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
            Some(volume) => {
                if let Some(other) = projected.instead_in(volume.projected) {
                    let message = format!(
                        "the pod has a volume '{name}' already, which holds {other} instead of {projected}: rename or remove it"
                    );
                    return Err(Refusal::new(Reason::PodConflict, message));
                }
            }
        }
    }
    let exists = pod.spec.volumes.is_some();
    Ok(patch.append(&["spec", "volumes"], exists, &missing)?)
}

/// Leaves out what is for no container.
fn select(pod: &Pod<'_>, granted: &mut Vec<Granted<'_>>, warnings: &mut Warnings) -> Result<(), Refusal> {
    for grant in &*granted {
        check_names(grant.ask, pod.containers())?;
    }
    granted.retain(|grant| {
        let has_one = pod.containers().any(|container| selects(grant.ask, container));
        if !has_one {
            let Key { kind, name, .. } = &grant.ask.token;
            warnings.add(|| {
                format!(
                    "{} {name} is for no container: all are sidecars of meshes; name those that need it in {PREFIX}{}",
                    kind.as_str(),
                    key::CONTAINERS
                )
            });
        }
        has_one
    });
    Ok(())
}

/// Adds what the containers lack. What is returned reaches none of them: all keep the variables that they have.
fn containers<'a>(
    pod: &Pod<'_>,
    granted: &[Granted<'a>],
    patch: &mut Additions,
    warnings: &mut Warnings,
) -> Result<Vec<&'a Ask>, Refusal> {
    let lists = [
        ("initContainers", &pod.spec.init_containers),
        ("containers", &pod.spec.containers),
    ];
    let asks = granted.iter().map(|grant| grant.ask);
    let mut idle: Vec<&Ask> = asks.filter(|ask| !ask.file).collect();
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
            warn_of_stale_variables(pod, &chosen, &variables, warnings);
            idle.retain(|ask| !(selects(ask, container) && variables.reaches(ask)));
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
    Ok(idle)
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

/// Writes down on the pod what it was given; that it was given nothing, only where it says something else.
fn finish<'a>(
    pod: &Pod<'_>,
    reason: Reason,
    granted: &'a [Granted<'a>],
    mut patch: Additions,
) -> Result<Injection, Refusal> {
    let one = |grant: &'a Granted<'a>| {
        let Key { kind, name, .. } = &grant.ask.token;
        let (kind, secret) = (kind.as_str(), &*grant.secret);
        (&*grant.ask.id, Given { kind, name, secret })
    };
    let all: BTreeMap<&str, Given<'_>> = granted.iter().map(one).collect();
    let text = serde_json::to_string(&all)?;
    let name = format!("{PREFIX}{}", key::STATUS);
    let written = pod.metadata.annotations.get(name.as_str());
    if written.map_or(!granted.is_empty(), |written| **written != text) {
        patch.set(&["metadata", "annotations", &name], &text)?;
    }
    let patch = patch.into_patch();
    Ok(Injection { reason, patch })
}
