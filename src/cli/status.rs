//! `gtm status`: the tokens of a cluster as a table.

use std::io::{self, Write};

use jiff::Timestamp;

use super::output::{Form, print};
use super::{ClusterFile, Failure};
use crate::api::Time;
use crate::domain::overview::{Line, State, relative};
use crate::domain::quote;
use crate::run::{self, Overview};

/// The arguments of `gtm status`.
#[derive(clap::Args)]
pub struct StatusArgs {
    /// Tokens of this namespace, and ClusterTokens that keep their Secret in it [default: all]
    #[arg(short, long, value_name = "NAME", value_parser = super::namespace())]
    namespace: Option<String>,

    #[command(flatten)]
    cluster: ClusterFile,

    /// text: a table, those in trouble first; json: for programs
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Form,
}

const HEADINGS: [&str; 7] = ["NAMESPACE", "NAME", "STATE", "EXPIRES", "NEXT", "SECRET", "WHY"];

/// Longer names are cut in the table, which one of them would widen for all; JSON has them whole.
const WIDEST: usize = 63;

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(WIDEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A line of the table. A ClusterToken has no namespace; the Secret's is told where it is another.
fn cells(line: &Line, now: Timestamp) -> [String; HEADINGS.len()] {
    let time = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| relative(at, now));
    let namespace = line.key.namespace.as_deref();
    let secret = line.secret.as_ref().map(|secret| {
        if Some(&*secret.namespace) == namespace {
            secret.name.to_string()
        } else {
            secret.to_string()
        }
    });
    let why = match (line.reason.as_str(), line.message.as_str()) {
        _ if line.state == State::Ready => String::new(),
        (reason, "") => reason.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    };
    [
        namespace.unwrap_or("(cluster)").to_owned(),
        cut(line.key.name.to_string()),
        line.state.as_str().to_owned(),
        time(line.expires),
        time(line.next),
        // Its name is whatever the spec says: nobody has checked it where the Secret could not be written.
        secret.map_or_else(|| "-".to_owned(), |secret| cut(quote(&secret))),
        quote(&why),
    ]
}

fn table(lines: &[Line], now: Timestamp, to: &mut impl Write) -> io::Result<()> {
    if lines.is_empty() {
        return writeln!(to, "no Tokens");
    }
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(lines.iter().map(|line| cells(line, now)));
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| Some(row.get(column)?.chars().count()))
            .max()
    };
    let widths: Vec<usize> = (0..HEADINGS.len()).map(|at| width(at).unwrap_or_default()).collect();
    for row in &rows {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(to, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn json(line: &Line) -> serde_json::Value {
    let secret = line.secret.as_ref();
    let secret = secret.map(|secret| serde_json::json!({"namespace": secret.namespace, "name": secret.name}));
    serde_json::json!({
        "kind": line.key.kind.as_str(), "namespace": line.key.namespace, "name": line.key.name,
        "state": line.state.as_str(), "reason": line.reason, "message": line.message, "secret": secret,
        "expiresAt": line.expires.map(Time::from), "nextAttemptAt": line.next.map(Time::from),
    })
}

/// How many there are of each state, the worst first.
fn summary(lines: &[Line]) -> String {
    let count = |state: State| lines.iter().filter(|line| line.state == state).count();
    let counted = State::ALL.map(|state| (count(state), state.as_str().to_lowercase()));
    let parts = counted.iter().filter(|(count, _)| *count > 0);
    parts
        .map(|(count, word)| format!("{count} {word}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn write(overview: &Overview, output: Form, to: &mut impl Write) -> io::Result<()> {
    match output {
        Form::Json => {
            let all: Vec<_> = overview.lines.iter().map(json).collect();
            writeln!(to, "{:#}", serde_json::Value::from(all))
        }
        Form::Text => table(&overview.lines, overview.at, to),
    }
}

pub(super) fn run(args: &StatusArgs) -> Result<(), Failure> {
    let work = run::status(args.cluster.kubeconfig.as_deref(), args.namespace.as_deref());
    let overview = super::block_on(work)?.map_err(Failure::Failed)?;
    for warning in &overview.warnings {
        eprintln!("warning: {warning}");
    }
    print(|to| write(&overview, args.output, to))?;
    if overview.lines.iter().all(|line| line.state.is_ready()) {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "not all are ready: {}",
        summary(&overview.lines)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::intent::{Key, Kind, SecretKey};

    fn line(name: &str, secret: &str) -> Line {
        Line {
            key: Key {
                kind: Kind::Token,
                namespace: Some("team-a".into()),
                name: name.into(),
            },
            state: State::Failing,
            reason: "SecretWriteFailed".to_owned(),
            message: "a\u{1b}[2Jb".to_owned(),
            secret: Some(SecretKey {
                namespace: "team-a".into(),
                name: secret.into(),
            }),
            expires: None,
            next: None,
        }
    }

    fn printed(lines: &[Line]) -> String {
        let mut text = Vec::new();
        table(lines, Timestamp::UNIX_EPOCH, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn what_an_object_says_cannot_command_the_terminal() {
        let text = printed(&[line("one", "x\u{1b}]0;title\u{7}\u{9b}2J\nteam-b  all-good  Ready")]);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert_eq!(text.lines().count(), 2, "{text:?}");
    }

    #[test]
    fn a_long_name_widens_the_table_no_further_than_it_can_be_read() {
        let long = line(&"n".repeat(253), &"s".repeat(253));
        let text = printed(&[long.clone(), line("two", "short")]);
        assert!(text.contains(&format!("  {}…  ", "n".repeat(63))), "{text}");
        let widest = text.lines().map(|row| row.chars().count()).max().unwrap_or_default();
        assert!(widest < 220, "{text}");
        assert_eq!(json(&long)["name"], "n".repeat(253));
    }

    #[test]
    fn columns_are_aligned_whatever_letters_a_name_has() {
        let text = printed(&[line("one", "é"), line("two", "e")]);
        let at = |row: &str| {
            row.split("SecretWriteFailed")
                .next()
                .map(|before| before.chars().count())
        };
        let rows: Vec<_> = text.lines().skip(1).map(at).collect();
        assert_eq!(rows.first(), rows.last(), "{text}");
    }
}
