//! What is said of pools: in an App's status, and in metrics.

use crate::controller::{App, AppName, Apps};
use crate::domain::app::Share;
use crate::domain::pool::misfit;
use crate::github::Budget;
use crate::signer::Signer;

/// Whether every member of this App's pool takes its share.
#[must_use]
pub fn share<S>(apps: &Apps<S>, name: &AppName) -> Share {
    let Some(lead) = apps.known.get(name) else {
        return Share::Unknown;
    };
    if lead.pool.is_empty() {
        return Share::Alone;
    }
    let mut skipped = Vec::new();
    for member in &lead.pool {
        let entry = apps.objects.get(&(name.0.clone(), member.clone()));
        let why = match entry {
            _ if *member == name.1 => Some("it is the App itself: leave it out".to_owned()),
            None if apps.listed => Some(format!("there is no App of this name in the namespace {}", name.0)),
            None | Some(None) => return Share::Unknown,
            Some(Some(Err(problem))) => Some(format!("it is not ready: {}", problem.message)),
            Some(Some(Ok(app))) => misfit(&lead.facts, &app.facts),
        };
        skipped.extend(why.map(|why| format!("{member}: {why}")));
    }
    if skipped.is_empty() {
        Share::All(lead.pool.len() + 1)
    } else {
        Share::Without(format!("spec.pool: {}", skipped.join("; ")))
    }
}

/// How many tokens each App that works may ask for now; `None` is no limit.
#[must_use]
pub fn budgets(apps: &Apps<Signer>) -> Vec<(String, Option<u32>)> {
    let working = apps.entries().into_iter();
    let working = working.filter_map(|(key, (entry, _))| Some((key.label(&apps.namespace), entry?.ok()?)));
    let budget = |app: &App<Signer>| match app.client.budget() {
        Budget::Left(tokens) => Some(tokens),
        Budget::Unlimited => None,
    };
    working.map(|(label, app)| (label, budget(&app))).collect()
}
