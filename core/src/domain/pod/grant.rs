//! An ask whose Secret is known, with what each container gets of it alike.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::ask::Ask;
use super::git::{self, FILE, Setting};
use super::item::{File, Is, Literal, Mount, Projected, Projection, SecretFiles, SecretKeyRef, Source, Variable};
use super::value::real;

/// What our volumes' names start with; the ID follows.
pub(super) const VOLUME_PREFIX: &str = "github-token-";
/// Where the file is, for programs.
const FILE_VARIABLE: &str = "GITHUB_TOKEN_FILE";

/// An ask whose Secret is known.
pub(super) struct Granted<'a> {
    pub ask: &'a Ask,
    /// The Secret's name.
    pub secret: Box<str>,
    /// The name of the volume.
    pub volume: String,
    /// The folder, as the node finds it.
    pub place: String,
    /// Git's settings; none where git is not asked for.
    pub settings: Vec<Setting>,
    /// The Secret's key with the bare token.
    key: Cow<'static, str>,
    /// The file's path.
    file: Literal,
    /// The variable with the file's path, where the ask has an ID.
    own_variable: Option<String>,
}

impl<'a> Granted<'a> {
    /// # Errors
    /// As [`Literal::new`].
    pub fn new(ask: &'a Ask, secret: Box<str>, key: Cow<'static, str>) -> Result<Self, serde_json::Error> {
        let mut settings = Vec::new();
        for host in ask.hosts.iter().filter(|_| ask.git) {
            settings.extend(git::settings(host, &ask.folder, ask.ssh_rewrite)?);
        }
        let upper = || ask.id.to_ascii_uppercase().replace('-', "_");
        Ok(Granted {
            ask,
            secret,
            key,
            volume: format!("{VOLUME_PREFIX}{}", ask.id),
            place: real(&ask.folder).into_owned(),
            settings,
            file: Literal::new(format!("{}/{FILE}", ask.folder))?,
            own_variable: (!ask.is_default()).then(|| format!("{FILE_VARIABLE}_{}", upper())),
        })
    }

    /// Where the volume's file comes from.
    pub fn projected(&self, mode: u32) -> Projected<'_> {
        let items = [File {
            key: Cow::Borrowed(&self.key),
            path: Cow::Borrowed(FILE),
            mode: IgnoredAny,
        }];
        let secret = SecretFiles {
            items,
            name: Cow::Borrowed(&self.secret),
            optional: false,
        };
        Projected {
            default_mode: mode,
            sources: [Projection { secret }],
        }
    }

    /// Where a container finds it.
    pub fn mount(&self) -> Mount<'_> {
        Mount {
            mount_path: &self.ask.folder,
            name: &self.volume,
            read_only: true,
            place: &self.place,
            is_there: false,
        }
    }

    fn source(&self) -> Source<'_> {
        Source {
            secret_key_ref: SecretKeyRef {
                key: Cow::Borrowed(&self.key),
                name: Cow::Borrowed(&self.secret),
                optional: false,
            },
        }
    }
}

/// A variable, and who asks for it.
pub(super) type Wanted<'a> = (Variable<'a>, &'a Ask);

/// The variables but git's of a container that gets these.
pub(super) fn variables<'a>(granted: &[&'a Granted<'a>]) -> Vec<Wanted<'a>> {
    let variable = |name: &'a str, is| Variable { name: name.into(), is };
    let mut found = Vec::new();
    for grant in granted.iter().filter(|grant| grant.ask.file) {
        let path = || Is::Value(Cow::Borrowed(&grant.file));
        // The first token's file has the plain name; each with an ID of its own has its own name, too.
        if found.is_empty() {
            found.push((variable(FILE_VARIABLE, path()), grant.ask));
        }
        if let Some(name) = &grant.own_variable {
            found.push((variable(name, path()), grant.ask));
        }
    }
    for grant in granted.iter().filter(|grant| grant.ask.env) {
        for name in &grant.ask.variables {
            found.push((variable(name, Is::ValueFrom(grant.source())), grant.ask));
        }
    }
    found
}
