//! One container: what its mounts and variables lack.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use memchr::memmem::Finder;
use serde_json::value::{RawValue, to_raw_value};

use crate::api::Reason;
use crate::api::names::{annotation::PREFIX, pod as key};
use crate::domain::quote;

use super::ask::{Ask, Conflict};
use super::git::Setting;
use super::grant::{Granted, VOLUME_PREFIX, variables};
use super::item::{Is, Literal, Mount, Variable, is_same};
use super::value::{is_within, normal, overlap, real};
use super::view::{self, Container, Pod, Volume};
use super::{Refusal, Warnings};

/// What the names of git's settings in the environment start with.
const GIT_CONFIG: &str = "GIT_CONFIG_";
/// The number of those settings.
const COUNT: &str = "GIT_CONFIG_COUNT";
/// More settings than anyone has: git itself stops at the largest `int`.
const MOST_SETTINGS: usize = 10_000;

/// The variables that are missing, as JSON.
#[derive(Default)]
pub(super) struct Missing {
    /// To be appended.
    pub env: Vec<Box<RawValue>>,
    /// To be put in at this place, behind one of the same name: of two, the later one counts. Right behind it, since `kubectl apply`
    /// brings those of one name together, and a pod's list must not change.
    pub overrides: Vec<(usize, Box<RawValue>)>,
}

impl Missing {
    fn set(&mut self, there: &[view::Variable<'_>], item: &Variable<'_>) -> Result<(), serde_json::Error> {
        let json = to_raw_value(item)?;
        match there.iter().rposition(|variable| *variable.name == *item.name) {
            Some(last) => self.overrides.push((last + 1, json)),
            None => self.env.push(json),
        }
        Ok(())
    }
}

/// What containers lack. Most of a pod's have nothing that it depends on, and get the same: that is written once.
#[derive(Default)]
pub(super) struct Lacks<'a> {
    last: Option<Alike<'a>>,
}

/// What containers that were granted the same have in common.
struct Alike<'a> {
    granted: Vec<&'a Granted<'a>>,
    /// The names of variables that are looked for.
    names: Vec<Finder<'static>>,
    /// What one lacks that has none of these variables.
    plain: Option<Rc<Missing>>,
}

impl<'a> Alike<'a> {
    fn new(granted: &[&'a Granted<'a>]) -> Self {
        let wanted = variables(granted);
        let words = wanted.iter().map(|(variable, _)| &*variable.name);
        Alike {
            granted: granted.to_vec(),
            names: words
                .chain([GIT_CONFIG])
                .map(|word| Finder::new(word).into_owned())
                .collect(),
            plain: None,
        }
    }

    fn is_for(&self, granted: &[&Granted<'_>]) -> bool {
        let mut pairs = self.granted.iter().zip(granted);
        self.granted.len() == granted.len() && pairs.all(|(one, two)| std::ptr::eq(*one, *two))
    }
}

impl<'a> Lacks<'a> {
    /// The variables that a container lacks of what it was granted.
    pub fn variables(
        &mut self,
        container: &Container<'_>,
        granted: &[&'a Granted<'a>],
        warnings: &mut Warnings,
    ) -> Result<Rc<Missing>, Refusal> {
        let missing = self.missing(container, granted, warnings)?;
        let unseen = container.env_from.as_ref().is_some_and(|all| !all.is_empty());
        if unseen && !missing.env.is_empty() && granted.iter().any(|grant| grant.ask.env) {
            warnings.add(format!(
                "container '{}' takes variables by envFrom, which cannot be looked into: the Token's count before those of the same name",
                quote(&container.name)
            ));
        }
        Ok(missing)
    }

    fn missing(
        &mut self,
        container: &Container<'_>,
        granted: &[&'a Granted<'a>],
        warnings: &mut Warnings,
    ) -> Result<Rc<Missing>, Refusal> {
        let last = self.last.take().filter(|last| last.is_for(granted));
        let alike = self.last.insert(last.unwrap_or_else(|| Alike::new(granted)));
        let env = container.variables(&alike.names)?;
        if let Some(plain) = alike.plain.as_ref().filter(|_| env.is_empty()) {
            return Ok(plain.clone());
        }
        let missing = Rc::new(missing(container, &env, granted, warnings)?);
        if env.is_empty() {
            alike.plain = Some(missing.clone());
        }
        Ok(missing)
    }
}

/// The mounts that a container lacks of what it was granted.
pub(super) fn mounts<'a>(
    pod: &Pod<'_>,
    container: &Container<'_>,
    granted: &[&'a Granted<'a>],
) -> Result<Vec<Mount<'a>>, Refusal> {
    let files = granted.iter().filter(|grant| grant.ask.file);
    files
        .filter_map(|grant| mount(pod, container, grant).transpose())
        .collect()
}

fn missing<'a>(
    container: &Container<'_>,
    env: &[view::Variable<'_>],
    granted: &[&'a Granted<'a>],
    warnings: &mut Warnings,
) -> Result<Missing, Refusal> {
    let mut missing = Missing::default();
    for (wanted, ask) in variables(granted) {
        let name = wanted.name.clone();
        let mut there = present(env, &name).peekable();
        let taken = there.peek().is_some();
        if there.any(|variable| says(variable, &wanted.is)) {
            continue;
        }
        let clash = || format!("container '{}' has a variable {name} already", quote(&container.name));
        match ask.conflict {
            Conflict::Deny if taken => {
                let message = format!("{}, and {PREFIX}{} is deny: rename one", clash(), key::ENV_CONFLICT);
                return Err(Refusal::new(Reason::PodConflict, message));
            }
            Conflict::Keep if taken => {
                warnings.add(format!(
                    "{}; it stays as it is ({PREFIX}{})",
                    clash(),
                    key::ENV_CONFLICT
                ));
                continue;
            }
            Conflict::Deny | Conflict::Keep | Conflict::Override => {}
        }
        missing.set(env, &wanted)?;
    }
    for item in git_variables(container, env, granted, warnings)? {
        missing.set(env, &item)?;
    }
    // From the end, so that no place moves another.
    missing.overrides.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    Ok(missing)
}

fn present<'a>(env: &'a [view::Variable<'_>], name: &str) -> impl Iterator<Item = &'a view::Variable<'a>> {
    env.iter().filter(move |variable| *variable.name == *name)
}

fn says(variable: &view::Variable<'_>, wanted: &Is<'_>) -> bool {
    match (wanted, variable.value_from) {
        (Is::Value(wanted), None) => variable.value.as_deref() == Some(&wanted.text),
        (Is::ValueFrom(wanted), Some(source)) => variable.value.is_none() && is_same(source, wanted),
        _ => false,
    }
}

/// Two tokens of one container must not be for the same folder, variable or host.
pub(super) fn agree(container: &Container<'_>, granted: &[&Granted<'_>]) -> Result<(), Refusal> {
    let clash = |word: &str, ask: &Ask, value: &str, other: &Ask| {
        let message = format!(
            "annotation {PREFIX}{word}: tokens '{}' and '{}' are both for '{value}' in container '{}': give one of them another",
            ask.id,
            other.id,
            quote(&container.name)
        );
        Err(Refusal::new(Reason::PodConflict, message))
    };
    for (at, one) in granted.iter().enumerate() {
        for two in granted.iter().take(at) {
            let (ask, other) = (one.ask, two.ask);
            if ask.file && other.file && overlap(&one.place, &two.place) {
                return clash(key::MOUNT_PATH, ask, &ask.folder, other);
            }
            let same_host = ask.hosts.iter().find(|host| other.hosts.contains(host));
            if let Some(host) = same_host.filter(|_| ask.git && other.git) {
                return clash(key::GIT_HOSTS, ask, host, other);
            }
            let same_variable = ask.variables.iter().find(|name| other.variables.contains(name));
            if let Some(name) = same_variable.filter(|_| ask.env && other.env) {
                return clash(key::ENV, ask, name, other);
            }
        }
    }
    Ok(())
}

fn mount<'a>(pod: &Pod<'_>, container: &Container<'_>, grant: &'a Granted<'a>) -> Result<Option<Mount<'a>>, Refusal> {
    let folder = &grant.place;
    for mount in container.volume_mounts.iter().flatten() {
        let path = normal(&mount.mount_path);
        let theirs = real(&path);
        if *mount.name == grant.volume && *theirs == **folder && mount.read_only && mount.sub_path.is_empty() {
            return Ok(None);
        }
        // Below a folder that can be written to, the node makes the place for ours. Our own volumes cannot be.
        let volumes = pod.spec.volumes.iter().flatten();
        let source = volumes.into_iter().find(|source| source.name == mount.name);
        let ours = mount.name.starts_with(VOLUME_PREFIX);
        let fixed = mount.read_only || ours || source.is_some_and(Volume::is_read_only);
        if is_within(&theirs, folder) || (fixed && is_within(folder, &theirs)) {
            let message = format!(
                "container '{}' has a mount at '{}', which leaves no room for the token at {}: set {PREFIX}{} to another folder",
                quote(&container.name),
                quote(&mount.mount_path),
                grant.ask.folder,
                key::MOUNT_PATH
            );
            return Err(Refusal::new(Reason::PodConflict, message));
        }
    }
    Ok(Some(Mount {
        mount_path: &grant.ask.folder,
        name: &grant.volume,
        read_only: true,
    }))
}

pub(super) fn warn_of_stale_variables(pod: &Pod<'_>, granted: &[&Granted<'_>], warnings: &mut Warnings) {
    if pod.spec.restart_policy.as_deref() == Some("Never") {
        return;
    }
    if let Some(grant) = granted.iter().find(|grant| grant.ask.env) {
        let names = grant.ask.variables.join(", ");
        warnings.add(format!(
            "{names}: a variable keeps the token that the container started with, which expires within the hour; files are kept fresh"
        ));
    }
}

fn git_variables<'a>(
    container: &Container<'_>,
    env: &[view::Variable<'_>],
    granted: &[&'a Granted<'a>],
    warnings: &mut Warnings,
) -> Result<Vec<Variable<'a>>, serde_json::Error> {
    let settings: Vec<&Setting> = granted.iter().flat_map(|grant| &grant.settings).collect();
    if settings.is_empty() {
        return Ok(Vec::new());
    }
    let Some(count) = count(env) else {
        warnings.add(format!(
            "container '{}' has a {COUNT} that is no number here: git is not set up in it; the token is in the file",
            quote(&container.name)
        ));
        return Ok(Vec::new());
    };
    if has(env, count, &settings) {
        return Ok(Vec::new());
    }
    let literal = |name, value| Variable {
        name,
        is: Is::Value(value),
    };
    let mut found = Vec::with_capacity(2 * settings.len() + 1);
    let total = count + settings.len();
    for (at, (name, value)) in (count..).zip(settings) {
        found.push(literal(format!("GIT_CONFIG_KEY_{at}").into(), Cow::Borrowed(name)));
        found.push(literal(format!("GIT_CONFIG_VALUE_{at}").into(), Cow::Borrowed(value)));
    }
    // What the container has is left as it is, and is counted in.
    found.push(literal(COUNT.into(), Cow::Owned(Literal::new(total.to_string())?)));
    Ok(found)
}

/// The number of settings that the container has; `None` if it cannot be known.
fn count(env: &[view::Variable<'_>]) -> Option<usize> {
    match present(env, COUNT).last() {
        None => Some(0),
        Some(view::Variable {
            value_from: Some(_), ..
        }) => None,
        Some(view::Variable { value, .. }) => match value.as_deref() {
            None | Some("") => Some(0),
            Some(text) => text.parse().ok().filter(|count| *count <= MOST_SETTINGS),
        },
    }
}

/// Whether the settings stand in the environment, one after the other.
fn has(env: &[view::Variable<'_>], count: usize, settings: &[&Setting]) -> bool {
    let Some(last) = count.checked_sub(settings.len()) else {
        return false;
    };
    let values: BTreeMap<&str, &str> = env
        .iter()
        .filter(|variable| variable.value_from.is_none())
        .map(|variable| (&*variable.name, variable.value.as_deref().unwrap_or_default()))
        .collect();
    let is = |name: String, wanted: &str| values.get(name.as_str()) == Some(&wanted);
    let at = |start: usize| {
        let mut pairs = settings.iter().enumerate();
        pairs.all(|(offset, (name, value))| {
            is(format!("GIT_CONFIG_KEY_{}", start + offset), &name.text)
                && is(format!("GIT_CONFIG_VALUE_{}", start + offset), &value.text)
        })
    };
    (0..=last).any(at)
}
