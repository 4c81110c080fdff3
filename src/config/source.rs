//! The places where a value can be given, and which of them wins.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::problem::{Origin, Problem, Warning};
use crate::domain::nearest;

/// Environment variables by name. It may hold a private key: there is no `Debug`.
#[derive(Clone, Default)]
pub struct Environment(pub BTreeMap<String, String>);

impl Environment {
    /// The variable without blanks around it, unless it is absent or empty: the peer's reader takes an empty variable for an absent
    /// one, too. What comes from a Secret often ends with the line end of whoever wrote it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    }
}

/// What flags say; a flag that is absent leaves the word to the environment and the file. A key may be a private key:
/// there is no `Debug`.
#[derive(Clone, Default)]
pub struct Flags {
    /// `--app-id`
    pub app_id: Option<String>,
    /// `--client-id`
    pub client_id: Option<String>,
    /// `--installation-id`
    pub installation_id: Option<String>,
    /// `--owner`
    pub owner: Option<String>,
    /// `--provider`
    pub provider: Option<String>,
    /// `--key`
    pub key: Option<String>,
    /// `--base-url`
    pub base_url: Option<String>,
    /// `--ca-bundle`
    pub ca_bundle: Option<String>,
}

/// A key of `gtm.yaml` and the other names it goes by.
pub(super) struct Key {
    pub name: &'static str,
    /// In the order in which they win.
    pub variables: &'static [&'static str],
    pub flag: Option<(&'static str, ReadFlag)>,
    /// The key that says the same in another way: of the two, the one from the stronger place counts.
    pub rival: Option<&'static Key>,
}

type ReadFlag = fn(&Flags) -> Option<&String>;

macro_rules! keys {
    ($($id:ident = $name:literal, [$($variable:literal),+] $(, $flag:literal $field:ident)? $(, not $rival:ident)?;)+) => {
        $(pub(super) static $id: Key = Key {
            name: $name,
            variables: &[$($variable),+],
            flag: keys!(@flag $($flag $field)?),
            rival: keys!(@rival $($rival)?),
        };)+
        /// Every key, in the order in which problems are told.
        pub(super) static KEYS: &[&Key] = &[$(&$id),+];
    };
    (@flag $flag:literal $field:ident) => { Some(($flag, |flags| flags.$field.as_ref())) };
    (@flag) => { None };
    (@rival $rival:ident) => { Some(&$rival) };
    (@rival) => { None };
}

keys! {
    APP_ID = "app_id", ["GTM_APP_ID", "GITHUB_APP_ID"], "--app-id" app_id, not CLIENT_ID;
    CLIENT_ID = "client_id", ["GTM_CLIENT_ID"], "--client-id" client_id, not APP_ID;
    INSTALLATION_ID = "installation_id", ["GTM_INSTALLATION_ID", "GITHUB_INSTALLATION_ID"], "--installation-id" installation_id, not OWNER;
    OWNER = "owner", ["GTM_OWNER"], "--owner" owner, not INSTALLATION_ID;
    PROVIDER = "provider", ["GTM_PROVIDER", "KMS_PROVIDER"], "--provider" provider;
    KEY = "key", ["GTM_KEY", "KMS_KEY", "GITHUB_PRIVATE_KEY"], "--key" key;
    VALIDATE_KEY = "validate_key", ["GTM_VALIDATE_KEY"];
    BASE_URL = "base_url", ["GTM_BASE_URL"], "--base-url" base_url;
    API_VERSION = "api_version", ["GTM_API_VERSION"];
    CA_BUNDLE = "ca_bundle", ["GTM_CA_BUNDLE"], "--ca-bundle" ca_bundle;
    ALLOWED_KEYS = "allowed_keys", ["GTM_ALLOWED_KEYS"];
    RATE_LIMIT = "rate_limit", ["GTM_RATE_LIMIT"];
    PROBE_TOKENS = "probe_tokens", ["GTM_PROBE_TOKENS"];
}

/// A value and where it was given.
pub(super) struct Given {
    pub value: Value,
    pub origin: Origin,
}

/// All places together.
pub(super) struct Sources<'a> {
    file: Map<String, Value>,
    environment: &'a Environment,
    flags: &'a Flags,
}

impl<'a> Sources<'a> {
    /// Reads the file's text: YAML, of which JSON is a part.
    ///
    /// # Errors
    /// The text is not a map of keys.
    pub fn new(
        text: Option<&str>,
        environment: &'a Environment,
        flags: &'a Flags,
    ) -> Result<(Self, Vec<Warning>), Problem> {
        let mut file = Map::new();
        let mut warnings = Vec::new();
        for (key, value) in text.map_or_else(|| Ok(Map::new()), read)? {
            // The peer's reader (viper) does not tell upper case from lower case in keys.
            let name = key.to_lowercase();
            if !is_known(&name) {
                let nearest = nearest(&name, KEYS.iter().map(|key| key.name));
                warnings.push(Warning::UnknownKey { nearest, key });
            } else if file.contains_key(&name) {
                return Err(of_file(format!("{name} is given twice: keep one")));
            } else {
                file.insert(name, value);
            }
        }
        Ok((
            Sources {
                file,
                environment,
                flags,
            },
            warnings,
        ))
    }

    /// Whether there is no file, or one that says nothing.
    pub fn file_is_empty(&self) -> bool {
        self.file.is_empty()
    }

    /// The value that counts: the one that wins, unless the key's rival is given in a stronger place.
    pub fn get(&self, key: &Key) -> Option<Given> {
        let given = self.winner(key)?;
        let rival = key.rival.and_then(|rival| self.winner(rival));
        let stronger = rival.is_some_and(|rival| rival.origin.strength() > given.origin.strength());
        (!stronger).then_some(given)
    }

    /// The value that wins, a text without blanks around it, unless none is given anywhere; `null` in the file counts as not given.
    fn winner(&self, key: &Key) -> Option<Given> {
        let flag = || {
            let (name, get) = key.flag?;
            let value = get(self.flags)?;
            Some(Given {
                value: Value::String(value.trim().to_owned()),
                origin: Origin::Flag(name),
            })
        };
        let variable = || {
            let (name, value) = key
                .variables
                .iter()
                .find_map(|name| Some((*name, self.environment.get(name)?)))?;
            Some(Given {
                value: Value::String(value.to_owned()),
                origin: Origin::Variable(name),
            })
        };
        let file = || {
            let value = self.file.get(key.name).filter(|value| !value.is_null())?;
            Some(Given {
                value: value.as_str().map_or_else(|| value.clone(), |text| text.trim().into()),
                origin: Origin::File,
            })
        };
        flag().or_else(variable).or_else(file)
    }
}

/// The file's top level. The parser's own words are not repeated: they may quote the text, and the text may hold a key.
fn read(text: &str) -> Result<Map<String, Value>, Problem> {
    match parsed(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err(of_file(
            "it must be a map of keys, such as `app_id: 1234`, one a line".to_owned(),
        )),
        Err(error) => Err(of_file(unread(&error))),
    }
}

/// Why the file's text cannot be read, and the cure.
fn unread(error: &serde_saphyr::Error) -> String {
    let place = place(error);
    match error.without_snippet() {
        serde_saphyr::Error::MultipleDocuments { .. } => {
            format!("it holds several documents{place}: keep one, and remove the lines `---` between them")
        }
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
            let known = key.as_deref().filter(|key| is_known(&key.to_lowercase()));
            format!("{} is given twice{place}: keep one", known.unwrap_or("a key"))
        }
        _ => format!(
            "it is not YAML or JSON{place}: write `key: value`, one a line and each key once; \
             a PEM goes below `key: |`, indented"
        ),
    }
}

fn place(error: &serde_saphyr::Error) -> String {
    error.location().map_or_else(String::new, |place| {
        format!(" (line {}, column {})", place.line(), place.column())
    })
}

fn is_known(name: &str) -> bool {
    KEYS.iter().any(|known| known.name == name)
}

/// Parses YAML; a text of blanks is nothing.
fn parsed(text: &str) -> Result<Value, serde_saphyr::Error> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_saphyr::from_str(text)
}

/// Parses YAML, if it is any.
pub(super) fn yaml(text: &str) -> Option<Value> {
    parsed(text).ok()
}

fn of_file(text: String) -> Problem {
    Problem {
        key: "",
        origin: Some(Origin::File),
        text,
    }
}
