//! More Tokens due than github.com lets through.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use lab::github::Limits;
use serde_json::json;

use crate::report::Report;
use crate::world::{World, cluster};
use crate::{Failed, Options};

/// Three full minutes: 180 at once, 180 after one minute, 180 after two, 1 after three.
const TOKENS: usize = 541;
/// What github.com lets through in a minute.
const RATE: usize = 180;

const HASHED_TOKEN: &str = "github.as-code.io/hashed-token";

pub async fn run(options: &Options, report: &mut Report) -> Result<(), Failed> {
    let count = options.scaled(TOKENS);
    let world = World::new(options, cluster()?).await?;
    let operator = world.operator("rate_limit: off")?.start().await?;
    let shuffle = tokio::spawn(shuffle_lifetimes(world.github.clone()));
    world.issued(&operator, count).await?;
    shuffle.abort();
    drop(operator);

    let deadlines = secrets_by_token(&world, count).await?;
    for number in 0..count {
        let request = json!({"metadata": {"annotations": {"github.as-code.io/refresh-requested-at": "now"}}});
        let (name, params) = (format!("token-{number}"), PatchParams::default());
        world.tokens().patch(&name, &params, &Patch::Merge(&request)).await?;
    }
    // The mints so far are out of the window: for GitHub, and for the operator, which reads them off the Secrets.
    world.github.set_clock_offset(SignedDuration::from_secs(120));
    world.github.set_limits(Limits::github_com());
    world.github.set_token_lifetime(Duration::from_secs(3600));
    let operator = world.operator(&format!("rate_limit: {RATE}"))?.start().await?;
    world.minted(2 * count).await?;
    world.all_ready().await?;
    let issued = world.github.mints_since(count);
    let counts = world.github.counts();
    drop(operator);

    let violations = counts.secondary_violations + counts.primary_violations;
    report.at_most(
        format!("limits exceeded, {count} Tokens due"),
        violations as f64,
        "",
        0.0,
    );
    report.tell("most requests at once", f64::from(counts.most_at_once), "");
    let span = |first: &Timestamp, last: &Timestamp| last.duration_since(*first).as_secs_f64();
    if let (Some(first), Some(last)) = (issued.first(), issued.last()) {
        let ideal = 60.0 * ((count - 1) / RATE) as f64;
        let took = span(&first.at, &last.at);
        report.tell("from the first token to the last", took, "s");
        report.tell("the same with every limit used to the full", ideal, "s");
        if ideal > 0.0 {
            report.at_least("share of the allowed rate", 100.0 * ideal / took, "%", 95.0);
        }
    }
    let now = secrets_by_token(&world, count).await?;
    let names: HashMap<&str, &str> = now
        .iter()
        .map(|(name, (hash, _))| (hash.as_str(), name.as_str()))
        .collect();
    let name = |token: &str| names.get(lab::github::hashed(token).as_str()).copied();
    let order: Vec<Timestamp> = issued
        .iter()
        .filter_map(|mint| deadlines.get(name(&mint.token)?).map(|(_, deadline)| *deadline))
        .collect();
    tell_order(&order, report);
    Ok(())
}

/// How far the order in which tokens were issued is from that of their deadlines.
fn tell_order(order: &[Timestamp], report: &mut Report) {
    let later = |from: usize| order[from..].iter().filter(move |other| **other < order[from]).count();
    let inverted: usize = (0..order.len()).map(later).sum();
    let pairs = order.len() * order.len().saturating_sub(1) / 2;
    report.tell("pairs in the wrong order", inverted as f64, "");
    report.at_most(
        "share of all pairs",
        100.0 * inverted as f64 / pairs.max(1) as f64,
        "%",
        1.0,
    );
    // The mints of one burst are under way together: whoever waits for a later minute must not expire sooner.
    let bursts: Vec<&[Timestamp]> = order.chunks(RATE).collect();
    let wrong = bursts
        .windows(2)
        .filter(|two| two[0].iter().max() > two[1].iter().min());
    report.at_most(
        "minutes in which a later deadline overtook an earlier one",
        wrong.count() as f64,
        "",
        0.0,
    );
}

/// Gives each token another life, so that their deadlines are in no order of the Tokens.
async fn shuffle_lifetimes(github: lab::github::GitHub) {
    let mut seconds = 1800;
    loop {
        seconds = 1200 + (seconds * 7919) % 2399;
        github.set_token_lifetime(Duration::from_secs(seconds));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Hash and expiry of the token in each Secret.
async fn secrets_by_token(world: &World, count: usize) -> Result<HashMap<String, (String, Timestamp)>, Failed> {
    let mut found = HashMap::new();
    for secret in world.secrets().list(&ListParams::default()).await? {
        let notes = secret.annotations();
        let (hash, expires) = (notes.get(HASHED_TOKEN), notes.get("github.as-code.io/expires-at"));
        if let (Some(hash), Some(expires)) = (hash, expires) {
            found.insert(secret.name_any(), (hash.clone(), expires.parse()?));
        }
    }
    if found.len() < count {
        return Err(format!("{} Secrets of {count} hold a token", found.len()).into());
    }
    Ok(found)
}
