//! What is wrong with a configuration, in words: the key, where it was given, its value, and what would be right.

use std::fmt;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration file.
    File,
    /// An environment variable.
    Variable(&'static str),
    /// A flag.
    Flag(&'static str),
}

impl Origin {
    /// Which wins of two: the flag, the variable of our own name, its alias, the file.
    pub(super) fn strength(&self) -> u8 {
        match self {
            Origin::Flag(_) => 3,
            Origin::Variable(name) if name.starts_with("GTM_") => 2,
            Origin::Variable(_) => 1,
            Origin::File => 0,
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key of `gtm.yaml`, or empty where the file as a whole is meant.
    pub key: &'static str,
    /// Where it was given; `None` where it is missing.
    pub origin: Option<Origin>,
    /// What is wrong and what would be right, with the value where it is no secret.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { key, origin, text } = self;
        match origin {
            Some(Origin::File) if key.is_empty() => write!(f, "configuration file: {text}"),
            Some(Origin::File) => write!(f, "{key} in the configuration file: {text}"),
            Some(Origin::Variable(name)) => write!(f, "{key} in the environment ({name}): {text}"),
            Some(Origin::Flag(name)) => write!(f, "{key} ({name}): {text}"),
            None => write!(f, "{key}: {text}"),
        }
    }
}

/// Everything that is wrong with a configuration: at least one [`Problem`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The problems, in the order of the keys.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    /// One line for each problem.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Something that is probably not meant as it is written, and does not stop the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The file has a key that means nothing to us.
    UnknownKey {
        /// The key as it is written.
        key: String,
        /// The known key that was meant, if one is like it.
        nearest: Option<&'static str>,
    },
    /// `owner` is given beside an `installation_id` of the same place.
    OwnerUnused,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::UnknownKey { key, nearest } => {
                let key = shown(&serde_json::Value::String(key.clone()));
                write!(f, "configuration file: unknown key {key} is ignored; ")?;
                match nearest {
                    Some(nearest) => write!(f, "did you mean {nearest}?"),
                    None => f.write_str("gtm manager --help names the keys that there are"),
                }
            }
            Warning::OwnerUnused => f.write_str(
                "owner: it is not used, since installation_id is given in the same place; keep the one that is meant",
            ),
        }
    }
}

/// A value as it may be shown: quoted, on one line, never long, and never anything that looks like a key.
pub(super) fn shown(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "nothing".to_owned(),
        serde_json::Value::Array(_) => "a list".to_owned(),
        serde_json::Value::Object(_) => "a map".to_owned(),
        serde_json::Value::String(text) if is_plain(text) => format!("{text:?}"),
        serde_json::Value::String(text) => format!("a text of {} characters", text.chars().count()),
        other => other.to_string(),
    }
}

/// Whether a text is short, on one line, and nothing that looks like a part of a PEM.
pub(super) fn is_plain(text: &str) -> bool {
    text.chars().nth(60).is_none() && !text.contains("-----") && !text.contains('\n')
}
