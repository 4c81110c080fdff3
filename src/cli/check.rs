//! `gtm check`: why does it not work.

use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use super::output::{Form, print};
use super::{ConfigFile, Failure};
use crate::config::{self, Flags};
use crate::domain::intent::{Key, Kind};
use crate::run::{self, Link, Subject, Verdict};

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

    /// A manifest of a Token or ClusterToken instead, - for standard input; needs no cluster
    #[arg(short, long = "filename", value_name = "FILE", conflicts_with = "kind")]
    file: Option<PathBuf>,

    /// The operator's own namespace [default: POD_NAMESPACE, then the service account's, then github-token-manager]
    #[arg(long, value_name = "NAME", env = "GTM_NAMESPACE")]
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
    fn subject(&self) -> Result<Subject, Failure> {
        if let Some(file) = &self.file {
            return manifest(file).map(Subject::Manifest);
        }
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
        Ok(Subject::Object(key))
    }
}

/// The first Token or ClusterToken of a file.
fn manifest(file: &Path) -> Result<serde_json::Value, Failure> {
    let unreadable = |error: io::Error| Failure::Usage(format!("{} cannot be read: {error}", file.display()));
    let mut text = String::new();
    if file == Path::new("-") {
        io::stdin().read_to_string(&mut text).map_err(unreadable)?;
    } else {
        text = std::fs::read_to_string(file).map_err(unreadable)?;
    }
    let wanted = |object: &serde_json::Value| {
        let kind = object.get("kind").and_then(serde_json::Value::as_str);
        matches!(kind, Some("Token" | "ClusterToken"))
    };
    let documents = serde_saphyr::from_multiple::<serde_json::Value>(&text)
        .map_err(|error| Failure::Usage(format!("{} is no YAML: {error}", file.display())))?;
    let found = documents.into_iter().find(wanted);
    found.ok_or_else(|| Failure::Usage(format!("{} holds no Token and no ClusterToken", file.display())))
}

fn write(links: &[Link], output: Form, to: &mut impl Write) -> io::Result<()> {
    match output {
        Form::Json => {
            let each = |link: &Link| serde_json::json!({"check": link.name, "verdict": link.verdict.as_str(), "message": link.message});
            let all: Vec<_> = links.iter().map(each).collect();
            writeln!(to, "{:#}", serde_json::Value::from(all))
        }
        Form::Text => links.iter().try_for_each(|link| {
            let mark = match link.verdict {
                Verdict::Good => "ok",
                Verdict::Doubtful => "??",
                Verdict::Bad => "NO",
            };
            writeln!(to, "{mark} {}: {}", link.name, link.message)
        }),
    }
}

pub(super) fn run(args: CheckArgs) -> Result<(), Failure> {
    let environment = config::environment();
    let subject = args.subject()?;
    let (config, warnings) = args.config.load(&environment, &Flags::default())?;
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    let own = config::namespace(args.namespace.as_deref(), &environment);
    let links = super::block_on(run::check(&config, subject, &own))?;
    print(|to| write(&links, args.output, to))?;
    match links.iter().find(|link| link.verdict == Verdict::Bad) {
        None => Ok(()),
        Some(link) => Err(Failure::Failed(format!("the check of {} failed", link.name))),
    }
}
