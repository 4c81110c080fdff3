//! One container: what its mounts and variables lack.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::Reason;
use crate::api::names::{annotation::PREFIX, pod as key};
use crate::domain::quote;

use super::ask::{Ask, Conflict};
use super::git::{self, FILE, Setting};
use super::value::{is_within, normal, overlap, real};
use super::view::{Container, Pod, Variable, Volume};
use super::{Refusal, Warnings};

/// Where the file is, for programs.
const FILE_VARIABLE: &str = "GITHUB_TOKEN_FILE";
/// The number of git's settings in the environment.
const COUNT: &str = "GIT_CONFIG_COUNT";
/// What our volumes' names start with; the ID follows.
const VOLUME_PREFIX: &str = "github-token-";
/// More settings than anyone has: git itself stops at the largest `int`.
const MOST_SETTINGS: usize = 10_000;

/// An ask whose Secret is known.
pub(super) struct Granted<'a> {
    pub ask: &'a Ask,
    /// The Secret's name.
    pub secret: Box<str>,
    /// The Secret's key with the bare token.
    pub key: Cow<'static, str>,
}

impl Granted<'_> {
    /// The name of the volume.
    pub fn volume(&self) -> String {
        format!("{VOLUME_PREFIX}{}", self.ask.id)
    }

    fn file(&self) -> String {
        format!("{}/{FILE}", self.ask.folder)
    }
}

/// What is missing.
#[derive(Default)]
pub(super) struct Missing {
    pub mounts: Vec<Value>,
    /// To be appended.
    pub env: Vec<Value>,
    /// To be put in at this place, behind one of the same name: of two, the later one counts. Right behind it, since `kubectl apply`
    /// brings those of one name together, and a pod's list must not change.
    pub overrides: Vec<(usize, Value)>,
}

impl Missing {
    fn set(&mut self, container: &Container<'_>, item: Value) {
        let name = item.get("name").and_then(Value::as_str).unwrap_or_default();
        let there = container.env.as_deref().unwrap_or_default();
        match there.iter().rposition(|variable| *variable.name == *name) {
            Some(last) => self.overrides.push((last + 1, item)),
            None => self.env.push(item),
        }
    }
}

/// What a container lacks of what it was granted.
pub(super) fn additions(
    pod: &Pod<'_>,
    container: &Container<'_>,
    granted: &[&Granted<'_>],
    warnings: &mut Warnings,
) -> Result<Missing, Refusal> {
    let mut missing = Missing::default();
    agree(container, granted)?;
    for grant in granted.iter().filter(|grant| grant.ask.file) {
        missing.mounts.extend(mount(pod, container, grant)?);
    }
    for (name, wanted, ask) in variables(granted) {
        let mut there = present(container, &name).peekable();
        let taken = there.peek().is_some();
        if there.any(|variable| is_same(variable, &wanted)) {
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
        missing.set(container, wanted);
    }
    warn_of_stale_variables(pod, granted, warnings);
    for item in git_variables(container, granted, warnings) {
        missing.set(container, item);
    }
    // From the end, so that no place moves another.
    missing.overrides.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    Ok(missing)
}

fn present<'a>(container: &'a Container<'_>, name: &str) -> impl Iterator<Item = &'a Variable<'a>> {
    let all = container.env.iter().flatten();
    all.filter(move |variable| *variable.name == *name)
}

fn is_same(variable: &Variable<'_>, wanted: &Value) -> bool {
    let value = variable.value.as_deref() == wanted.get("value").and_then(Value::as_str);
    value && variable.value_from.as_ref() == wanted.get("valueFrom")
}

/// Two tokens of one container must not be for the same folder, variable or host.
fn agree(container: &Container<'_>, granted: &[&Granted<'_>]) -> Result<(), Refusal> {
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
        for other in granted.iter().take(at) {
            let (ask, other) = (one.ask, other.ask);
            if ask.file && other.file && overlap(&real(&ask.folder), &real(&other.folder)) {
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

fn mount(pod: &Pod<'_>, container: &Container<'_>, grant: &Granted<'_>) -> Result<Option<Value>, Refusal> {
    let (volume, folder) = (grant.volume(), real(&grant.ask.folder));
    for mount in container.volume_mounts.iter().flatten() {
        let theirs = real(&normal(&mount.mount_path));
        if *mount.name == volume && theirs == folder && mount.read_only && mount.sub_path.is_empty() {
            return Ok(None);
        }
        // Below a folder that can be written to, the node makes the place for ours. Our own volumes cannot be.
        let volumes = pod.spec.volumes.iter().flatten();
        let source = volumes.into_iter().find(|source| source.name == mount.name);
        let ours = mount.name.starts_with(VOLUME_PREFIX);
        let fixed = mount.read_only || ours || source.is_some_and(Volume::is_read_only);
        if is_within(&theirs, &folder) || (fixed && is_within(&folder, &theirs)) {
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
    Ok(Some(
        json!({"name": volume, "mountPath": grant.ask.folder, "readOnly": true}),
    ))
}

/// The variables but git's: name, the whole item, and who asks for it.
fn variables<'a>(granted: &[&Granted<'a>]) -> Vec<(String, Value, &'a Ask)> {
    let mut found = Vec::new();
    let mut files = granted.iter().filter(|grant| grant.ask.file);
    // The first token's file has the plain name; each with an ID of its own has its own name, too.
    if let Some(first) = files.clone().next() {
        let item = json!({"name": FILE_VARIABLE, "value": first.file()});
        found.push((FILE_VARIABLE.to_owned(), item, first.ask));
    }
    for grant in files.by_ref().filter(|grant| grant.ask.id != "default") {
        let name = format!(
            "{FILE_VARIABLE}_{}",
            grant.ask.id.to_ascii_uppercase().replace('-', "_")
        );
        let item = json!({"name": name, "value": grant.file()});
        found.push((name, item, grant.ask));
    }
    for grant in granted.iter().filter(|grant| grant.ask.env) {
        for name in &grant.ask.variables {
            let source = json!({"secretKeyRef": {"name": grant.secret, "key": grant.key}});
            found.push((name.clone(), json!({"name": name, "valueFrom": source}), grant.ask));
        }
    }
    found
}

fn warn_of_stale_variables(pod: &Pod<'_>, granted: &[&Granted<'_>], warnings: &mut Warnings) {
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

fn git_variables(container: &Container<'_>, granted: &[&Granted<'_>], warnings: &mut Warnings) -> Vec<Value> {
    let mut settings = Vec::new();
    for ask in granted.iter().map(|grant| grant.ask).filter(|ask| ask.git) {
        for host in &ask.hosts {
            git::settings(host, &ask.folder, ask.ssh_rewrite, &mut settings);
        }
    }
    if settings.is_empty() {
        return Vec::new();
    }
    let Some(count) = count(container) else {
        warnings.add(format!(
            "container '{}' has a {COUNT} that is no number here: git is not set up in it; the token is in the file",
            quote(&container.name)
        ));
        return Vec::new();
    };
    if has(container, count, &settings) {
        return Vec::new();
    }
    let mut found = Vec::with_capacity(2 * settings.len() + 1);
    let total = count + settings.len();
    for (at, (name, value)) in settings.into_iter().enumerate() {
        found.push(literal(format!("GIT_CONFIG_KEY_{}", count + at), name));
        found.push(literal(format!("GIT_CONFIG_VALUE_{}", count + at), value));
    }
    // What the container has is left as it is, and is counted in.
    found.push(literal(COUNT.to_owned(), total.to_string()));
    found
}

/// As `json!` makes it, without copies: a pod gets many.
fn literal(name: String, value: String) -> Value {
    let mut item = serde_json::Map::new();
    item.insert("name".to_owned(), Value::String(name));
    item.insert("value".to_owned(), Value::String(value));
    Value::Object(item)
}

/// The number of settings that the container has; `None` if it cannot be known.
fn count(container: &Container<'_>) -> Option<usize> {
    match present(container, COUNT).last() {
        None => Some(0),
        Some(Variable {
            value_from: Some(_), ..
        }) => None,
        Some(Variable { value, .. }) => match value.as_deref() {
            None | Some("") => Some(0),
            Some(text) => text.parse().ok().filter(|count| *count <= MOST_SETTINGS),
        },
    }
}

/// Whether the settings stand in the environment, one after the other.
fn has(container: &Container<'_>, count: usize, settings: &[Setting]) -> bool {
    let Some(last) = count.checked_sub(settings.len()) else {
        return false;
    };
    let literals = container.env.iter().flatten();
    let values: BTreeMap<&str, &str> = literals
        .filter(|variable| variable.value_from.is_none())
        .map(|variable| (&*variable.name, variable.value.as_deref().unwrap_or_default()))
        .collect();
    let is = |name: String, wanted: &str| values.get(name.as_str()) == Some(&wanted);
    let at = |start: usize| {
        let mut pairs = settings.iter().enumerate();
        pairs.all(|(offset, (name, value))| {
            is(format!("GIT_CONFIG_KEY_{}", start + offset), name)
                && is(format!("GIT_CONFIG_VALUE_{}", start + offset), value)
        })
    };
    (0..=last).any(at)
}
