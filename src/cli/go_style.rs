//! A command line as the peer's manifests write it: flags as Go programs have them, `-leader-elect=false` for `--leader-elect=false`, and
//! no word for the one command.

use std::ffi::OsString;

use clap::CommandFactory as _;

use super::Cli;

/// Gives every known long flag that has one dash its second one, and `manager` to a command line that begins with a flag; anything else
/// is left alone.
pub(super) fn normalise(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let command = Cli::command();
    let known: Vec<&str> = command
        .get_subcommands()
        .flat_map(|command| command.get_arguments())
        .flat_map(|flag| {
            flag.get_long()
                .into_iter()
                .chain(flag.get_all_aliases().unwrap_or_default())
        })
        .collect();
    let mut arguments: Vec<_> = arguments
        .into_iter()
        .map(|argument| double(&known, &argument).unwrap_or(argument))
        .collect();
    let first = arguments.get(1).and_then(|first| first.to_str());
    if first.is_some_and(|first| first.starts_with('-') && !OF_THE_PROGRAM.contains(&first)) {
        arguments.insert(1, "manager".into());
    }
    arguments
}

/// The flags that need no command.
const OF_THE_PROGRAM: [&str; 4] = ["-h", "--help", "-V", "--version"];

fn double(known: &[&str], argument: &OsString) -> Option<OsString> {
    let text = argument.to_str()?.strip_prefix('-')?;
    let name = text.split('=').next()?;
    known.contains(&name).then(|| OsString::from(format!("--{text}")))
}
