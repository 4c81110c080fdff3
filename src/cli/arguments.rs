//! The command line and the variables that stand for its flags: read in one place, and refused in clap's words, but for what those may
//! not show and do not know.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory as _, FromArgMatches as _};

use super::{Cli, go_style};
use crate::config::Environment;

/// What the arguments and variables ask for.
///
/// # Errors
/// Wrong arguments, and the wish for help or the version.
pub(super) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
) -> Result<Cli, clap::Error> {
    let arguments = go_style::normalise(arguments);
    let mut command = cleaned(Cli::command(), environment);
    let matches = command.try_get_matches_from_mut(&arguments);
    let parsed =
        matches.and_then(|matches| Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command)));
    parsed.map_err(|error| match key_among(&arguments, &error) {
        Some(place) => command.error(
            ErrorKind::InvalidValue,
            format!(
                "{place} is not shown, since it may be a private key, and a key is no argument: every process of the machine \
                 can read those; give the path of its file by --key, or the key itself in the variable GTM_KEY"
            ),
        ),
        None => with_variable(error, &arguments, environment),
    })
}

/// The command, to which a variable says what it says to the keys of gtm.yaml: blanks around its value are none of it, and an empty one is
/// absent.
fn cleaned(command: Command, environment: &Environment) -> Command {
    let clean = |flag: Arg| {
        let name = variable_of(&flag);
        let name = name.filter(|name| environment.0.contains_key(*name));
        match name.map(|name| (environment.0.get(name), environment.get(name))) {
            Some((_, None)) => flag.env(None),
            // clap keeps values that live as long as the process does, and this is once in it.
            Some((Some(given), Some(value))) if given != value => {
                let value: &'static str = value.to_owned().leak();
                flag.env(None).default_value(value)
            }
            _ => flag,
        }
    };
    command
        .mut_args(clean)
        .mut_subcommands(|command| cleaned(command, environment))
}

fn variable_of(flag: &Arg) -> Option<&str> {
    flag.get_env().and_then(OsStr::to_str)
}

/// Where an argument stands that may be a private key and would be shown by this error.
fn key_among(arguments: &[OsString], error: &clap::Error) -> Option<String> {
    let told = error.to_string();
    let shown = |argument: &str| {
        let value = argument.split_once('=').map_or(argument, |(_, value)| value);
        let begins = |text: &str| told.contains(&text.chars().take(BEGINNING).collect::<String>());
        may_be_key(argument) && (begins(argument) || begins(value))
    };
    let texts: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    let index = texts.iter().position(|argument| shown(argument))?;
    let flag = |text: &str| {
        let flag = text.split('=').next().unwrap_or_default();
        (flag.starts_with("--") && !may_be_key(flag)).then(|| format!("what stands after {flag}"))
    };
    let before = index.checked_sub(1).and_then(|before| texts.get(before));
    let place = flag(&texts[index]).or_else(|| flag(before?));
    Some(place.unwrap_or_else(|| "an argument".to_owned()))
}

/// So many characters of an argument tell it from others.
const BEGINNING: usize = 16;

/// Longer than what is meant to be an argument, and shorter than the base64 of a key, which has some 1,600; in bytes.
const LONGEST_ARGUMENT: usize = 1000;

fn may_be_key(text: &str) -> bool {
    let looks = text.contains("-----") || text.contains("PRIVATE KEY") || text.contains('\n');
    looks || text.len() > LONGEST_ARGUMENT
}

/// The error, with the variable that the value comes from: clap names the flag alone.
fn with_variable(mut error: clap::Error, arguments: &[OsString], environment: &Environment) -> clap::Error {
    let named = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(named)) => named.strip_prefix("--"),
        _ => None,
    };
    let flag = named.and_then(|named| named.split([' ', '=', '[']).next());
    let Some(flag) = flag.map(|flag| format!("--{flag}")) else {
        return error;
    };
    let given = |argument: &OsString| {
        argument
            .to_str()
            .is_some_and(|text| text.split('=').next() == Some(&flag))
    };
    let variable = variable_for(&Cli::command(), flag.trim_start_matches('-'));
    let variable = variable.filter(|name| environment.get(name).is_some() && !arguments.iter().any(given));
    if let Some(name) = variable {
        let tip = format!("the value is that of the variable {name}");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// The variable that stands for this flag, of whichever command.
fn variable_for(command: &Command, flag: &str) -> Option<String> {
    let own = command.get_arguments().find(|arg| arg.get_long() == Some(flag));
    let own = own.and_then(variable_of).map(str::to_owned);
    own.or_else(|| {
        command
            .get_subcommands()
            .find_map(|command| variable_for(command, flag))
    })
}

#[cfg(test)]
mod tests;
