//! github.com's limits: none is hit, nearly all of what they allow is used, and the earliest deadline comes first.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lab::github::{Installation, Limits, Mint, Repository, Settings};

use crate::report::{Report, Target};
use crate::world::{Setting, World, end};
use crate::{Result, load};

/// Two minutes' worth, and some.
const TOKENS: usize = 420;
/// Token requests in a minute: 900 points, of which each costs 5.
const ALLOWED: usize = 180;
/// So many groups of Tokens expire at different times, a minute apart.
const GROUPS: usize = 10;
/// How far GitHub's clock is put forward: every token is due, and none has expired.
const AHEAD: SignedDuration = SignedDuration::from_mins(52);
/// Two requests that were sent this close to one another may arrive the other way round.
const CLOSE: SignedDuration = SignedDuration::from_millis(500);

/// Four hundred tokens that are all due.
pub async fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let world = World::new(setting, settings(), "180", false).await?;
    let deadlines = due(&world).await?;
    world.github.reset_limits();
    world.github.set_latency(Duration::from_millis(100));
    world.github.set_limits(Limits::github_com());
    world.github.set_clock_offset(AHEAD);
    let operator = world.operator().start().await?;
    lab::wait::wait_for(
        Duration::from_secs(240),
        "every token is replaced",
        async || match world.github.mint_count() {
            count if count < 2 * TOKENS => Err(format!("{count} of {}", 2 * TOKENS)),
            _ => Ok(()),
        },
    )
    .await?;
    end(operator).await?;

    let mints = world.github.mints_since(TOKENS);
    let counts = world.github.counts();
    let hits = counts.secondary_violations + counts.primary_violations;
    report.add(
        "limits",
        "limits of github.com hit",
        hits as f64,
        "times",
        Target::AtMost(0.0),
    );
    report.add(
        "limits",
        "requests at once, at most",
        f64::from(counts.most_at_once),
        "",
        Target::AtMost(100.0),
    );
    // From one burst's first to another burst's first: whole periods, however the operator spreads its requests.
    let two_minutes = mints
        .get(..=2 * ALLOWED)
        .and_then(|all| Some((all.first()?.at, all.last()?.at)));
    let (first, last) = two_minutes.ok_or("fewer tokens than two minutes' worth")?;
    let minutes = last.duration_since(first).as_secs_f64() / 60.0;
    let share = 100.0 * (2 * ALLOWED) as f64 / (minutes * ALLOWED as f64);
    report.add(
        "limits",
        "share of the allowed rate that is used",
        share,
        "%",
        Target::AtLeast(95.0),
    );
    let late = inversions(&mints, &deadlines);
    report.add(
        "limits",
        "pairs that went out of the order of their deadlines",
        late as f64,
        "",
        Target::AtMost(0.0),
    );
    Ok(())
}

/// A repository for each Token, so that a mint tells whose it is.
fn settings() -> Settings {
    let repository = |n| Repository {
        id: 1_000 + n as u64,
        name: load::name(n),
        private: true,
    };
    let installation = Installation {
        repositories: (0..TOKENS).map(repository).collect(),
        ..Installation::default()
    };
    Settings {
        installations: vec![installation],
        ..Settings::default()
    }
}

/// Issues tokens of different lives, without limits; returns when each expires. The order of the names is not that of the deadlines.
async fn due(world: &World) -> Result<HashMap<String, Timestamp>> {
    let operator = world.operator_without_limits().start().await?;
    let group = TOKENS / GROUPS;
    for round in 0..GROUPS {
        let namespace = world.cluster.namespace("due").await?;
        let life = 60 + (round * 7) % GROUPS;
        world.github.set_token_lifetime(Duration::from_secs(life as u64 * 60));
        let spec = |n| serde_json::json!({"repositories": [load::name(round * group + n)]});
        load::tokens(&world.client, &namespace, group, spec).await?;
        world.all_ready(&namespace, group, (round + 1) * group).await?;
    }
    end(operator).await?;
    let mints = world.github.mints();
    Ok(mints.iter().map(|mint| (whose(mint), mint.expires_at)).collect())
}

fn whose(mint: &Mint) -> String {
    mint.requested.repositories.iter().flatten().cloned().collect()
}

/// Pairs of which the one that expires later was served first, although the other one waited.
fn inversions(mints: &[Mint], deadlines: &HashMap<String, Timestamp>) -> usize {
    let deadline = |mint: &Mint| deadlines.get(&whose(mint)).copied().unwrap_or(Timestamp::MAX);
    let wrong = |first: &Mint, then: &Mint| {
        then.at.duration_since(first.at) > CLOSE && deadline(first).duration_since(deadline(then)) > CLOSE * 120
    };
    let pairs = mints
        .iter()
        .enumerate()
        .flat_map(|(n, first)| mints.iter().skip(n + 1).map(move |then| (first, then)));
    pairs.filter(|(first, then)| wrong(first, then)).count()
}
