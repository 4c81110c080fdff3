//! `gtm check`: why does it not work.

use std::io::{self, Write};
use std::path::PathBuf;

use super::manifests::Manifests;
use super::output::{Form, print};
use super::{ClusterFile, ConfigFile, Failure};
use crate::config::{self, Flags};
use crate::domain::intent::{Key, Kind};
use crate::domain::name::{NAMES, is_namespace, is_object_name};
use crate::domain::quote;
use crate::run::{self, CheckOptions, Link, Section, Subject, Verdict};

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

    /// Manifests of Tokens or ClusterTokens instead, and of the Apps that they name: a file, a folder, or - for standard input
    ///
    /// Repeat it for more. Of a folder, its .yaml, .yml and .json files are read, not those of folders in it. It needs no cluster, unless one
    /// names an App that is not among them, or whose key is in a Secret.
    #[arg(short, long = "filename", value_name = "FILE", conflicts_with = "kind")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    cluster: ClusterFile,

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
    /// What is checked where no manifest is.
    fn subject(&self) -> Result<Subject, Failure> {
        let (Some(kind), Some(name)) = (self.kind, &self.name) else {
            return Ok(Subject::App);
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
        Ok(Subject::Object(key))
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

/// The checks that failed, a line for each object.
fn broken(sections: &[Section]) -> Vec<String> {
    let all = |section: &Section| {
        let bad = section.links.iter().filter(|link| link.verdict == Verdict::Bad);
        let mut names: Vec<_> = bad.map(|link| link.name).collect();
        names.dedup();
        let which = match names.as_slice() {
            [] => return None,
            [name] => format!("the check of {name} failed"),
            names => format!("the checks of {} failed", names.join(", ")),
        };
        Some(match section.object.as_ref().filter(|_| sections.len() > 1) {
            Some(object) => format!("{which} for {object}"),
            None => which,
        })
    };
    sections.iter().filter_map(all).collect()
}

pub(super) fn run(args: CheckArgs) -> Result<(), Failure> {
    let environment = config::environment();
    let (subjects, apps) = if args.files.is_empty() {
        (vec![args.subject()?], Vec::new())
    } else {
        let found = Manifests::read(&args.files)?;
        (found.tokens.into_iter().map(Subject::Manifest).collect(), found.apps)
    };
    let (config, warnings) = args.config.load(&environment, &Flags::default())?;
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    let options = CheckOptions {
        config,
        namespace: config::namespace(args.namespace.as_deref(), &environment),
        kubeconfig: args.cluster.kubeconfig,
        apps,
    };
    let sections = super::block_on(async {
        let mut sections = Vec::new();
        for subject in subjects {
            sections.push(run::check(&options, subject).await);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_checks_that_failed_are_named_at_the_end() {
        let section = |object: Option<&str>, bad: &[&'static str]| {
            let link = |name, verdict| Link {
                name,
                verdict,
                message: String::new(),
            };
            let mut links: Vec<_> = bad.iter().map(|name| link(name, Verdict::Bad)).collect();
            links.push(link("clock", Verdict::Good));
            Section {
                object: object.map(str::to_owned),
                links,
            }
        };
        let both = section(None, &["cluster", "webhook", "webhook"]);
        assert_eq!(broken(&[both]), ["the checks of cluster, webhook failed"]);
        let (one, two) = (section(Some("Token a"), &["key"]), section(Some("Token b"), &[]));
        assert_eq!(broken(&[one, two]), ["the check of key failed for Token a"]);
    }
}
