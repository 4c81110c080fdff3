//! `gtm status`: the Tokens and ClusterTokens of a cluster, as their status says they are.

use std::path::Path;

use jiff::Timestamp;

use super::clock::now;
use super::connection::{connect_by, cure};
use crate::cluster::{ClusterError, Scope, TokenRecord, Tokens};
use crate::domain::intent::{Kind, SecretKey};
use crate::domain::overview::{Line, Seen, sort};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// When they were looked at: what their states and times are counted from.
    pub at: Timestamp,
    /// The objects, those in trouble first.
    pub lines: Vec<Line>,
    /// What could not be looked at, though nobody asked for it by name.
    pub warnings: Vec<String>,
}

/// The Tokens of a namespace and the ClusterTokens that keep their Secret there, or all of the cluster, which `kubeconfig` leads to or the
/// environment does. It only lists these two kinds.
///
/// # Errors
/// A text: what the API server said, and the cure.
pub async fn status(kubeconfig: Option<&Path>, namespace: Option<&str>) -> Result<Overview, String> {
    let tokens = Tokens::new(connect_by(kubeconfig).await?, Scope::new(&[]));
    let mut overview = Overview {
        at: now(),
        ..Overview::default()
    };
    let found = tokens.list(Kind::Token, namespace).await;
    overview.add(found.map_err(|error| wrong("tokens", &error, namespace))?, None);
    match (tokens.list(Kind::ClusterToken, None).await, namespace) {
        (Ok(found), _) => overview.add(found, namespace),
        (Err(ClusterError::Forbidden(why)), Some(_)) => {
            let text = format!("ClusterTokens that keep their Secret here are not shown: {why}");
            overview.warnings.push(text);
        }
        (Err(error), _) => return Err(wrong("clustertokens", &error, namespace)),
    }
    sort(&mut overview.lines);
    Ok(overview)
}

impl Overview {
    /// Takes those that keep their Secret in `place`; all, where that is `None`.
    fn add(&mut self, found: Vec<TokenRecord>, place: Option<&str>) {
        for record in found {
            let (intent, status) = record.read();
            let seen = Seen {
                key: (*record.key).clone(),
                generation: record.generation,
                deleting: record.deleting,
                intent: &intent,
                status: &status,
            };
            let line = Line::new(seen, self.at);
            // Where one keeps its Secret whose spec cannot be read, nobody knows: it may be here.
            let here = |secret: &SecretKey| place.is_none_or(|place| *secret.namespace == *place);
            if line.secret.as_ref().is_none_or(here) {
                self.lines.push(line);
            }
        }
    }
}

fn wrong(plural: &str, error: &ClusterError, namespace: Option<&str>) -> String {
    let cure = match (error, namespace) {
        (ClusterError::Forbidden(_), None) => "; name a namespace that you may look into with -n".to_owned(),
        _ => cure(error, "list them"),
    };
    format!("{plural}.github.as-code.io cannot be listed: {error}{cure}")
}
