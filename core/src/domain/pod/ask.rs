//! What a pod asks for, read from its annotations.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::Reason;
use crate::api::names::{annotation::PREFIX, pod as key};
use crate::domain::intent::{Key, Kind};
use crate::domain::quote;

use super::bounds::{ANNOTATIONS, Annotations};
use super::value::{self, Wrong};
use super::{Refusal, Warnings};

/// The `.ID` of a key that has none.
const DEFAULT_ID: &str = "default";
/// Where the file is by default; the ID follows.
const DEFAULT_FOLDER: &str = "/var/run/secrets/github.as-code.io";
/// Tokens in one pod.
const MOST_TOKENS: usize = 16;
/// Unknown keys that a warning names; of the rest, the number.
const NAMED: usize = 3;

/// A pod's wish for one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Tells several tokens of one pod apart.
    pub id: String,
    /// Which Token.
    pub token: Key,
    /// Whether there is a file with the token.
    pub(super) file: bool,
    /// Whether git reads that file.
    pub(super) git: bool,
    /// Whether variables hold the token.
    pub(super) env: bool,
    pub(super) containers: Selection,
    pub(super) folder: String,
    /// `None`: by the pod's fsGroup.
    pub(super) mode: Option<u32>,
    pub(super) variables: Vec<String>,
    pub(super) conflict: Conflict,
    pub(super) hosts: Vec<String>,
    pub(super) ssh_rewrite: bool,
    pub(super) missing: Missing,
}

impl Ask {
    /// Whether its annotations have no ID.
    pub(super) fn is_default(&self) -> bool {
        self.id == DEFAULT_ID
    }
}

/// Which containers get the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// All but well-known sidecars of meshes.
    Own,
    /// All.
    All,
    /// These.
    Named(Vec<String>),
}

/// What happens where a variable is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    Keep,
    Override,
    Deny,
}

/// What happens while there is no such Token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Deny,
    Wait,
    Ignore,
}

/// The annotations of one ID.
struct Keys<'a> {
    id: &'a str,
    /// Key without prefix and ID -> the annotation's name and value.
    values: BTreeMap<&'a str, (&'a str, &'a str)>,
}

/// Everything that a pod in `namespace` asks for, in the order of the IDs, `default` first.
///
/// # Errors
/// A [`Refusal`] that names the annotation and the value.
pub fn asks(annotations: &Annotations<'_>, namespace: &str, warnings: &mut Warnings) -> Result<Vec<Ask>, Refusal> {
    let mut by_id: BTreeMap<&str, Keys<'_>> = BTreeMap::new();
    let mut unknown = Vec::new();
    if let Some(name) = &annotations.overlong {
        let why = format!("with it, those of {PREFIX} have more than {ANNOTATIONS} bytes: shorten it");
        return Err(invalid(name, &why));
    }
    for (name, text) in annotations.iter() {
        let (name, text): (&str, &str) = (name, text);
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let (word, id) = rest.split_once('.').unwrap_or((rest, DEFAULT_ID));
        if rest == key::STATUS {
            continue;
        }
        if !key::ALL.contains(&word) {
            unknown.push(rest);
            continue;
        }
        if !value::is_id(id) {
            let why = format!(
                "'.{}' is no ID: write at most 40 lower-case letters, digits and '-'",
                quote(id)
            );
            return Err(invalid(name, &why));
        }
        let values = BTreeMap::new();
        let keys = by_id.entry(id).or_insert(Keys { id, values });
        // Blanks around a value are not part of it.
        if let Some((other, _)) = keys.values.insert(word, (name, text.trim())) {
            return Err(invalid(name, &format!("{other} says the same: remove one of the two")));
        }
    }
    warn_of_unknown(&unknown, warnings);
    let mut found = Vec::new();
    for keys in by_id.values() {
        match keys.token(namespace)? {
            Some(token) => found.push(keys.ask(token, warnings)?),
            None => warnings.add(|| {
                format!(
                    "{}: without {PREFIX}{} or {PREFIX}{} beside it, this does nothing",
                    keys.any_name(),
                    keys.spelled(key::TOKEN),
                    keys.spelled(key::CLUSTER_TOKEN),
                )
            }),
        }
    }
    if found.len() > MOST_TOKENS {
        let why = format!(
            "{} tokens for one pod, but at most {MOST_TOKENS} can be injected",
            found.len()
        );
        return Err(Refusal::new(Reason::InvalidAnnotation, why));
    }
    found.sort_by_key(|ask| !ask.is_default());
    Ok(found)
}

fn warn_of_unknown(unknown: &[&str], warnings: &mut Warnings) {
    if unknown.is_empty() {
        return;
    }
    let named: Vec<String> = unknown.iter().take(NAMED).map(|name| quote(name)).collect();
    let more = unknown.len().saturating_sub(NAMED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let (named, known) = (named.join(", "), key::ALL.join(", "));
    warnings.add(|| format!("not known below {PREFIX}: {named}{more}; known: {known}"));
}

fn invalid(name: &str, why: &str) -> Refusal {
    Refusal::new(Reason::InvalidAnnotation, format!("annotation {}: {why}", quote(name)))
}

impl<'a> Keys<'a> {
    /// The key as it is written for this ID.
    fn spelled(&self, word: &str) -> String {
        if self.id == DEFAULT_ID {
            word.to_owned()
        } else {
            format!("{word}.{}", self.id)
        }
    }

    fn any_name(&self) -> &'a str {
        self.values.values().next().map_or("", |(name, _)| name)
    }

    /// Reads a value; an error names the annotation and the value.
    fn read<T>(&self, word: &str, read: impl FnOnce(&'a str) -> Result<T, Wrong>) -> Result<Option<T>, Refusal> {
        let Some((name, text)) = self.values.get(word) else {
            return Ok(None);
        };
        let wrong = |why: Wrong| invalid(name, &format!("'{}' {why}", quote(text)));
        read(text).map(Some).map_err(wrong)
    }

    fn token(&self, namespace: &str) -> Result<Option<Key>, Refusal> {
        let (own, shared) = (self.values.get(key::TOKEN), self.values.get(key::CLUSTER_TOKEN));
        let (kind, word, given) = match (own, shared) {
            (None, None) => return Ok(None),
            (Some(given), None) => (Kind::Token, key::TOKEN, given),
            (None, Some(given)) => (Kind::ClusterToken, key::CLUSTER_TOKEN, given),
            (Some((name, text)), Some((other, _))) => {
                let why = format!("'{}' stands beside {other}: remove one of the two", quote(text));
                return Err(invalid(name, &why));
            }
        };
        if given.1.contains('/') {
            let message = format!(
                "annotation {}: '{}' names another namespace: write the bare name of a {} for this pod's own, {namespace}",
                given.0,
                quote(given.1),
                kind.as_str()
            );
            return Err(Refusal::new(Reason::OtherNamespace, message));
        }
        let name = self.read(word, value::object_name)?.unwrap_or_default();
        Ok(Some(Key {
            kind,
            namespace: (kind == Kind::Token).then(|| namespace.into()),
            name: name.into(),
        }))
    }

    fn ask(&self, token: Key, warnings: &mut Warnings) -> Result<Ask, Refusal> {
        let ways = self
            .read(key::INJECT, ways)?
            .unwrap_or_else(|| BTreeSet::from(["file", "git"]));
        let git = ways.contains("git");
        let ask = Ask {
            id: self.id.to_owned(),
            token,
            file: git || ways.contains("file"),
            git,
            env: ways.contains("env"),
            containers: self.read(key::CONTAINERS, selection)?.unwrap_or(Selection::Own),
            folder: self
                .read(key::MOUNT_PATH, value::mount_path)?
                .unwrap_or_else(|| format!("{DEFAULT_FOLDER}/{}", self.id)),
            mode: self.read(key::FILE_MODE, value::mode)?,
            variables: self
                .read(key::ENV, |text| each(text, value::variable))?
                .unwrap_or_else(|| vec!["GH_TOKEN".to_owned(), "GITHUB_TOKEN".to_owned()]),
            conflict: self.read(key::ENV_CONFLICT, conflict)?.unwrap_or(Conflict::Keep),
            hosts: self
                .read(key::GIT_HOSTS, |text| each(text, value::host))?
                .unwrap_or_else(|| vec!["github.com".to_owned()]),
            ssh_rewrite: self.read(key::GIT_SSH_REWRITE, value::boolean)?.unwrap_or(false),
            missing: self.read(key::ON_MISSING, missing)?.unwrap_or(Missing::Deny),
        };
        self.warn_of_idle(&ask, warnings);
        Ok(ask)
    }

    /// Keys that do nothing, since the way that they are about is not asked for.
    fn warn_of_idle(&self, ask: &Ask, warnings: &mut Warnings) {
        let ways = [
            (ask.file, "file", [key::MOUNT_PATH, key::FILE_MODE]),
            (ask.env, "env", [key::ENV, key::ENV]),
            (ask.git, "git", [key::GIT_HOSTS, key::GIT_SSH_REWRITE]),
        ];
        for (_, way, words) in ways.into_iter().filter(|(wanted, ..)| !wanted) {
            if let Some((name, _)) = words.iter().find_map(|word| self.values.get(word)) {
                let inject = self.spelled(key::INJECT);
                warnings.add(|| format!("{name} does nothing: {PREFIX}{inject} does not name '{way}'"));
            }
        }
    }
}

fn ways(text: &str) -> Result<BTreeSet<&str>, Wrong> {
    let ways = value::list(text)?;
    match ways.iter().find(|way| !["file", "git", "env"].contains(way)) {
        Some(_) => Err("is none of: file, git, env (or several, with commas)".to_owned()),
        None => Ok(ways.into_iter().collect()),
    }
}

fn selection(text: &str) -> Result<Selection, Wrong> {
    if text == "*" {
        return Ok(Selection::All);
    }
    let names = value::list(text)?;
    Ok(Selection::Named(names.into_iter().map(str::to_owned).collect()))
}

/// The entries of a list, each read; those that come to the same stand once.
fn each(text: &str, read: impl Fn(&str) -> Result<String, Wrong>) -> Result<Vec<String>, Wrong> {
    let mut found = Vec::new();
    for entry in value::list(text)? {
        let entry = read(entry)?;
        if !found.contains(&entry) {
            found.push(entry);
        }
    }
    Ok(found)
}

fn conflict(text: &str) -> Result<Conflict, Wrong> {
    match text {
        "keep" => Ok(Conflict::Keep),
        "override" => Ok(Conflict::Override),
        "deny" => Ok(Conflict::Deny),
        _ => Err("is none of: keep, override, deny".to_owned()),
    }
}

fn missing(text: &str) -> Result<Missing, Wrong> {
    match text {
        "deny" => Ok(Missing::Deny),
        "wait" => Ok(Missing::Wait),
        "ignore" => Ok(Missing::Ignore),
        _ => Err("is none of: deny, wait, ignore".to_owned()),
    }
}
