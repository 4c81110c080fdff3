//! Flags as Go programs write them: `-leader-elect=false` is `--leader-elect=false`, since the peer's manifests may say so.

use std::ffi::OsString;

use clap::CommandFactory as _;

use super::Cli;

/// Gives every known long flag that has one dash its second one; anything else is left alone.
pub(super) fn normalise(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let command = Cli::command();
    let known: Vec<&str> = command
        .get_subcommands()
        .flat_map(|command| command.get_arguments())
        .filter_map(|flag| flag.get_long())
        .collect();
    arguments
        .into_iter()
        .map(|argument| double(&known, &argument).unwrap_or(argument))
        .collect()
}

fn double(known: &[&str], argument: &OsString) -> Option<OsString> {
    let text = argument.to_str()?.strip_prefix('-')?;
    let name = text.split('=').next()?;
    known.contains(&name).then(|| OsString::from(format!("--{text}")))
}
