//! The places where a value can be given, and which of them wins.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::problem::{Origin, Problem, Warning};

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
}

type ReadFlag = fn(&Flags) -> Option<&String>;

macro_rules! keys {
    ($($id:ident = $name:literal, [$($variable:literal),+] $(, $flag:literal $field:ident)?;)+) => {
        $(pub(super) const $id: Key = Key {
            name: $name,
            variables: &[$($variable),+],
            flag: keys!(@flag $($flag $field)?),
        };)+
        /// Every key, in the order in which problems are told.
        pub(super) const KEYS: &[&Key] = &[$(&$id),+];
    };
    (@flag $flag:literal $field:ident) => { Some(($flag, |flags| flags.$field.as_ref())) };
    (@flag) => { None };
}

keys! {
    APP_ID = "app_id", ["GTM_APP_ID", "GITHUB_APP_ID"], "--app-id" app_id;
    CLIENT_ID = "client_id", ["GTM_CLIENT_ID"], "--client-id" client_id;
    INSTALLATION_ID = "installation_id", ["GTM_INSTALLATION_ID", "GITHUB_INSTALLATION_ID"], "--installation-id" installation_id;
    OWNER = "owner", ["GTM_OWNER"], "--owner" owner;
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
            if !KEYS.iter().any(|known| known.name == name) {
                warnings.push(Warning::UnknownKey {
                    nearest: nearest(&name),
                    key,
                });
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

    /// The value that wins, a text without blanks around it, unless none is given anywhere; `null` in the file counts as not given.
    pub fn get(&self, key: &Key) -> Option<Given> {
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
    match yaml(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err(of_file(
            "it must be a map of keys, such as `app_id: 1234`, one a line".to_owned(),
        )),
        Err(place) => Err(of_file(format!(
            "it is not YAML or JSON{place}: write `key: value`, one a line and each key once; \
             a PEM goes below `key: |`, indented"
        ))),
    }
}

/// Parses YAML, or says where it stops to be YAML.
pub(super) fn yaml(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_saphyr::from_str(text).map_err(|error| {
        error.location().map_or_else(String::new, |place| {
            format!(" (line {}, column {})", place.line(), place.column())
        })
    })
}

fn of_file(text: String) -> Problem {
    Problem {
        key: "",
        origin: Some(Origin::File),
        text,
    }
}

/// The known key with the fewest edits between it and `name`.
fn nearest(name: &str) -> &'static str {
    KEYS.iter()
        .map(|key| key.name)
        .min_by_key(|known| distance(name, known))
        .unwrap_or(APP_ID.name)
}

/// Levenshtein's distance; dashes, underscores and dots are not told apart nor counted, so that `app-id` is near `app_id`.
fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| {
        text.chars()
            .filter(|c| !matches!(c, '_' | '-' | '.'))
            .take(64)
            .collect::<Vec<_>>()
    };
    let (a, b) = (letters(a), letters(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
