//! One container: what its mounts and variables lack.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use memchr::memmem::Finder;
use serde_json::value::{RawValue, to_raw_value};

use crate::api::Reason;
use crate::api::names::{annotation::PREFIX, pod as key};
use crate::domain::quote;

use super::ask::{Ask, Conflict};
use super::git::Setting;
use super::grant::{Granted, VOLUME_PREFIX, variables};
use super::item::{Is, Literal, Mount, Variable};
use super::value::{is_within, normal, overlap, real};
use super::view::{self, Container, Pod};
use super::{Refusal, Warnings};

/// What the names of git's settings in the environment start with.
const GIT_CONFIG: &str = "GIT_CONFIG_";
/// The number of those settings.
const COUNT: &str = "GIT_CONFIG_COUNT";
/// The name of one of them; its place follows.
const KEY: &str = "GIT_CONFIG_KEY_";
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
    /// The names of those that stay as the container has them.
    kept: BTreeSet<String>,
}

impl Missing {
    /// The variables that hold this token, when nothing is missing any more.
    fn held<'a>(&self, ask: &'a Ask) -> impl Iterator<Item = &'a str> {
        let held = ask
            .variables
            .iter()
            .filter(|name| ask.env && !self.kept.contains(*name));
        held.map(String::as_str)
    }

    /// Whether one does.
    pub fn reaches(&self, ask: &Ask) -> bool {
        self.held(ask).next().is_some()
    }

    fn set(&mut self, there: &There<'_>, item: &Variable<'_>) -> Result<(), serde_json::Error> {
        let json = to_raw_value(item)?;
        match there.of(&item.name).last() {
            Some((last, _)) => self.overrides.push((last + 1, json)),
            None => self.env.push(json),
        }
        Ok(())
    }
}

/// The variables of a container by their names, each with its place.
struct There<'a>(BTreeMap<&'a str, Vec<(usize, &'a view::Variable<'a>)>>);

impl<'a> There<'a> {
    fn new(env: &'a [view::Variable<'_>]) -> Self {
        let mut found = BTreeMap::<_, Vec<_>>::new();
        for (place, variable) in env.iter().enumerate() {
            found.entry(&*variable.name).or_default().push((place, variable));
        }
        There(found)
    }

    /// Those of this name, in their order.
    fn of(&self, name: &str) -> &[(usize, &'a view::Variable<'a>)] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The value of the last one of this name, where it has one of its own.
    fn value(&self, name: &str) -> Option<&str> {
        let (_, variable) = self.of(name).last().filter(|(_, last)| last.value_from.is_none())?;
        Some(variable.value.as_deref().unwrap_or_default())
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
            warnings.add(|| {
                format!(
                    "container '{}' takes variables by envFrom, which cannot be looked into: the Token's count before those of the same name",
                    quote(&container.name)
                )
            });
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
        let missing = Rc::new(missing(container, &There::new(&env), granted, warnings)?);
        if env.is_empty() {
            alike.plain = Some(missing.clone());
        }
        Ok(missing)
    }
}

/// Which of a pod's volumes the node mounts read-only, whatever a container says.
pub(super) type ReadOnly<'a> = BTreeMap<&'a str, bool>;

pub(super) fn read_only<'a>(pod: &'a Pod<'_>) -> ReadOnly<'a> {
    let volumes = pod.spec.volumes.iter().flat_map(|volumes| volumes.iter());
    // Of two of one name, the first counts.
    let named = volumes.rev().map(|volume| (&*volume.name, volume.read_only));
    named.collect()
}

/// The mounts that a container lacks of what it was granted. Its own are looked at once, however many tokens it gets.
pub(super) fn mounts<'a>(
    fixed: &ReadOnly<'_>,
    container: &Container<'_>,
    granted: &[&'a Granted<'a>],
) -> Result<Vec<Mount<'a>>, Refusal> {
    let files = granted.iter().filter(|grant| grant.ask.file);
    let mut all: Vec<Mount<'_>> = files.map(|grant| grant.mount()).collect();
    for device in container.volume_devices.iter() {
        let path = normal(&device.device_path);
        let theirs = real(&path);
        // A device is a file.
        if let Some(ours) = all.iter().find(|ours| overlap(&theirs, ours.place)) {
            return Err(no_room(container, ours, "device", &device.device_path));
        }
    }
    for mount in container.volume_mounts.iter().flat_map(|mounts| mounts.iter()) {
        let path = normal(&mount.mount_path);
        let theirs = real(&path);
        let whole = mount.read_only && mount.sub_path.is_empty();
        let is_it = |ours: &&mut Mount<'_>| whole && *mount.name == *ours.name && *theirs == *ours.place;
        if let Some(ours) = all.iter_mut().find(is_it) {
            ours.is_there = true;
            continue;
        }
        // Below a folder that can be written to, the node makes the place for ours. Our own volumes cannot be.
        let fixed = mount.read_only
            || mount.name.starts_with(VOLUME_PREFIX)
            || fixed.get(&*mount.name).is_some_and(|fixed| *fixed);
        let in_the_way =
            |ours: &&Mount<'_>| is_within(&theirs, ours.place) || (fixed && is_within(ours.place, &theirs));
        if let Some(ours) = all.iter().find(in_the_way) {
            return Err(no_room(container, ours, "mount", &mount.mount_path));
        }
    }
    all.retain(|ours| !ours.is_there);
    Ok(all)
}

fn no_room(container: &Container<'_>, ours: &Mount<'_>, what: &str, path: &str) -> Refusal {
    let message = format!(
        "container '{}' has a {what} at '{}', which leaves no room for the token at {}: set {PREFIX}{} to another folder",
        quote(&container.name),
        quote(path),
        ours.mount_path,
        key::MOUNT_PATH
    );
    Refusal::new(Reason::PodConflict, message)
}

fn missing<'a>(
    container: &Container<'_>,
    there: &There<'_>,
    granted: &[&'a Granted<'a>],
    warnings: &mut Warnings,
) -> Result<Missing, Refusal> {
    let mut missing = Missing::default();
    for (wanted, ask) in variables(granted) {
        let name = wanted.name.clone();
        let same = there.of(&name);
        let taken = !same.is_empty();
        if same.iter().any(|(_, variable)| says(variable, &wanted.is)) {
            continue;
        }
        let clash = || format!("container '{}' has a variable {name} already", quote(&container.name));
        match ask.conflict {
            Conflict::Deny if taken => {
                let message = format!("{}, and {PREFIX}{} is deny: rename one", clash(), key::ENV_CONFLICT);
                return Err(Refusal::new(Reason::PodConflict, message));
            }
            Conflict::Keep if taken => {
                warnings.add(|| format!("{}; it stays as it is ({PREFIX}{})", clash(), key::ENV_CONFLICT));
                missing.kept.insert(name.into_owned());
                continue;
            }
            Conflict::Deny | Conflict::Keep | Conflict::Override => {}
        }
        missing.set(there, &wanted)?;
    }
    for item in git_variables(container, there, granted, warnings)? {
        missing.set(there, &item)?;
    }
    // From the end, so that no place moves another.
    missing.overrides.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    Ok(missing)
}

fn says(variable: &view::Variable<'_>, wanted: &Is<'_>) -> bool {
    match (wanted, variable.value_from) {
        (Is::Value(wanted), None) => variable.value.as_deref() == Some(&wanted.text),
        (Is::ValueFrom(wanted), Some(source)) => variable.value.is_none() && wanted.is_in(source),
        _ => false,
    }
}

/// Says which variables of a container hold a token, which stays as it is while the container runs.
pub(super) fn warn_of_stale_variables(
    pod: &Pod<'_>,
    granted: &[&Granted<'_>],
    missing: &Missing,
    warnings: &mut Warnings,
) {
    if pod.spec.restart_policy.as_deref() == Some("Never") {
        return;
    }
    for grant in granted.iter().filter(|grant| missing.reaches(grant.ask)) {
        warnings.add(|| {
            let names: Vec<&str> = missing.held(grant.ask).collect();
            format!(
                "{}: a variable keeps the token that the container started with, which expires within the hour; files are kept fresh",
                names.join(", ")
            )
        });
    }
}

fn git_variables<'a>(
    container: &Container<'_>,
    there: &There<'_>,
    granted: &[&'a Granted<'a>],
    warnings: &mut Warnings,
) -> Result<Vec<Variable<'a>>, serde_json::Error> {
    let settings: Vec<&Setting> = granted.iter().flat_map(|grant| &grant.settings).collect();
    if settings.is_empty() {
        return Ok(Vec::new());
    }
    let Some(count) = count(there) else {
        warnings.add(|| {
            format!(
                "container '{}' has a {COUNT} that is no number here: git is not set up in it; the token is in the file",
                quote(&container.name)
            )
        });
        return Ok(Vec::new());
    };
    if has(there, count, &settings) {
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
fn count(there: &There<'_>) -> Option<usize> {
    if there.of(COUNT).is_empty() {
        return Some(0);
    }
    match there.value(COUNT)? {
        "" => Some(0),
        text => text.parse().ok().filter(|count| *count <= MOST_SETTINGS),
    }
}

/// Whether the settings stand in the environment, one after the other.
fn has(there: &There<'_>, count: usize, settings: &[&Setting]) -> bool {
    let is = |word: &str, at: usize, wanted: &str| there.value(&format!("{GIT_CONFIG}{word}_{at}")) == Some(wanted);
    let stand = |start: usize| {
        let mut pairs = settings.iter().enumerate();
        pairs.all(|(offset, (name, value))| {
            is("KEY", start + offset, &name.text) && is("VALUE", start + offset, &value.text)
        })
    };
    let mut places = there
        .0
        .keys()
        .filter_map(|name| name.strip_prefix(KEY)?.parse::<usize>().ok());
    places.any(|start| start + settings.len() <= count && stand(start))
}
