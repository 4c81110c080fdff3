//! `gtm check`: why does it not work.

use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use super::output::{Form, print};
use super::{ConfigFile, Failure};
use crate::config::{self, Flags};
use crate::domain::intent::{Key, Kind};
use crate::domain::name::{NAMES, is_namespace, is_object_name};
use crate::domain::quote;
use crate::run::{self, Link, Section, Subject, Verdict};

/// The arguments of `gtm check`.
#[derive(clap::Args)]
pub struct CheckArgs {
    #[command(flatten)]
    config: ConfigFile,

    /// What is checked beside the operator's own App
    #[arg(value_name = "KIND", requires = "name")]
    kind: Option<CheckedKind>,

    /// NAMESPACE/NAME of a token, NAME of a clustertoken
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// Manifests of Tokens or ClusterTokens instead, - for standard input; needs no cluster, unless one names an App
    #[arg(short, long = "filename", value_name = "FILE", conflicts_with = "kind")]
    file: Option<PathBuf>,

    /// The operator's own namespace [default: POD_NAMESPACE, then the service account's, then github-token-manager]
    #[arg(long, value_name = "NAME", env = "GTM_NAMESPACE", value_parser = super::namespace())]
    namespace: Option<String>,

    /// text: a line for each check; json: for programs
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Form,
}

/// A kind that can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum CheckedKind {
    /// A Token.
    Token,
    /// A ClusterToken.
    Clustertoken,
}

impl CheckArgs {
    fn subjects(&self) -> Result<Vec<Subject>, Failure> {
        if let Some(file) = &self.file {
            return Ok(manifests(file)?.into_iter().map(Subject::Manifest).collect());
        }
        let (Some(kind), Some(name)) = (self.kind, &self.name) else {
            return Ok(vec![Subject::App]);
        };
        let key = match (kind, name.split_once('/')) {
            (CheckedKind::Token, Some((namespace, name))) => Key {
                kind: Kind::Token,
                namespace: Some(namespace.into()),
                name: name.into(),
            },
            (CheckedKind::Clustertoken, None) => Key {
                kind: Kind::ClusterToken,
                namespace: None,
                name: name.as_str().into(),
            },
            (CheckedKind::Token, None) => return Err(Failure::Usage(format!("{name}: give NAMESPACE/NAME"))),
            (CheckedKind::Clustertoken, Some(_)) => {
                return Err(Failure::Usage(format!(
                    "{name}: a ClusterToken has no namespace; give NAME"
                )));
            }
        };
        // Anything else would change the URL that it becomes part of.
        let namespace = key.namespace.as_deref();
        if !is_object_name(&key.name) || !namespace.is_none_or(is_namespace) {
            let name = quote(name);
            return Err(Failure::Usage(format!("'{name}' names no object: {NAMES}")));
        }
        Ok(vec![Subject::Object(key)])
    }
}

/// The Tokens and ClusterTokens of a file.
fn manifests(file: &Path) -> Result<Vec<serde_json::Value>, Failure> {
    let unreadable = |error: io::Error| Failure::Usage(format!("{} cannot be read: {error}", file.display()));
    let mut text = String::new();
    if file == Path::new("-") {
        io::stdin().read_to_string(&mut text).map_err(unreadable)?;
    } else {
        text = std::fs::read_to_string(file).map_err(unreadable)?;
    }
    let documents = serde_saphyr::from_multiple::<serde_json::Value>(&text)
        .map_err(|error| Failure::Usage(format!("{} is no YAML: {error}", file.display())))?;
    let mut found = Vec::new();
    documents.into_iter().for_each(|document| gather(document, &mut found));
    if found.is_empty() {
        let file = file.display();
        return Err(Failure::Usage(format!("{file} holds no Token and no ClusterToken")));
    }
    Ok(found)
}

/// Takes the Token or ClusterToken that a document is, or each of a list, as `kubectl get -o yaml` writes it.
fn gather(mut document: serde_json::Value, found: &mut Vec<serde_json::Value>) {
    match document.get("kind").and_then(serde_json::Value::as_str) {
        Some("Token" | "ClusterToken") => found.push(document),
        Some("List" | "TokenList" | "ClusterTokenList") => {
            let items = document.get_mut("items").and_then(serde_json::Value::as_array_mut);
            let items = items.map(std::mem::take).unwrap_or_default();
            items.into_iter().for_each(|item| gather(item, found));
        }
        _ => {}
    }
}

fn write(sections: &[Section], output: Form, to: &mut impl Write) -> io::Result<()> {
    match output {
        Form::Json => {
            let all: Vec<_> = sections.iter().flat_map(json).collect();
            writeln!(to, "{:#}", serde_json::Value::from(all))
        }
        Form::Text => sections.iter().enumerate().try_for_each(|(index, section)| {
            if let Some(object) = section.object.as_ref().filter(|_| sections.len() > 1) {
                let gap = if index > 0 { "\n" } else { "" };
                writeln!(to, "{gap}{object}")?;
            }
            text(&section.links, to)
        }),
    }
}

fn json(section: &Section) -> impl Iterator<Item = serde_json::Value> {
    section.links.iter().map(|link| {
        let mut line =
            serde_json::json!({"check": link.name, "verdict": link.verdict.as_str(), "message": link.message});
        if let Some(object) = &section.object {
            line["object"] = object.as_str().into();
        }
        line
    })
}

fn text(links: &[Link], to: &mut impl Write) -> io::Result<()> {
    links.iter().try_for_each(|link| {
        let mark = match link.verdict {
            Verdict::Good => "ok",
            Verdict::Doubtful => "??",
            Verdict::Bad => "NO",
        };
        writeln!(to, "{mark} {}: {}", link.name, link.message)
    })
}

/// Each check that failed, by its first broken link.
fn broken(sections: &[Section]) -> Vec<String> {
    let first = |section: &Section| {
        let link = section.links.iter().find(|link| link.verdict == Verdict::Bad)?;
        Some(match section.object.as_ref().filter(|_| sections.len() > 1) {
            Some(object) => format!("the check of {} failed for {object}", link.name),
            None => format!("the check of {} failed", link.name),
        })
    };
    sections.iter().filter_map(first).collect()
}

pub(super) fn run(args: CheckArgs) -> Result<(), Failure> {
    let environment = config::environment();
    let subjects = args.subjects()?;
    let (config, warnings) = args.config.load(&environment, &Flags::default())?;
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    let own = config::namespace(args.namespace.as_deref(), &environment);
    let sections = super::block_on(async {
        let mut sections = Vec::new();
        for subject in subjects {
            sections.push(run::check(&config, subject, &own).await);
        }
        sections
    })?;
    print(|to| write(&sections, args.output, to))?;
    let broken = broken(&sections);
    if broken.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(broken.join("\n")))
}
