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

/// Six full minutes: 180 at once, 180 after each of five minutes, 1 after six.
const TOKENS: usize = 1081;
/// What github.com lets through in a minute.
const RATE: usize = 180;

/// What is issued within this time of another was under way with it.
const OVERTAKEN: SignedDuration = SignedDuration::from_secs(1);

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
    world.github.set_latency(Duration::from_millis(100));
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
    let order: Vec<(Timestamp, Timestamp)> = issued
        .iter()
        .filter_map(|mint| Some((mint.at, deadlines.get(name(&mint.token)?)?.1)))
        .collect();
    tell_order(&order, report);
    Ok(())
}

/// How far the order in which tokens were issued is from that of their deadlines: when each was issued, and its deadline.
fn tell_order(order: &[(Timestamp, Timestamp)], report: &mut Report) {
    let pairs = || (0..order.len()).flat_map(|first| order[first..].iter().map(move |second| (&order[first], second)));
    let wrong = || pairs().filter(|(first, second)| first.1 > second.1);
    report.tell(
        "share of pairs in the wrong order",
        100.0 * wrong().count() as f64 / pairs().count().max(1) as f64,
        "%",
    );
    // Mints that are under way together end in any order: it is whoever waits that must not expire sooner.
    let overtaken = wrong().filter(|(first, second)| second.0.duration_since(first.0) > OVERTAKEN);
    report.at_most(
        "pairs in the wrong order, over a second apart",
        overtaken.count() as f64,
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
