//! The last links: a token of its own, and what it may do.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;

use crate::controller::App;
use crate::domain::Problem;
use crate::domain::intent::Intent;
use crate::github::{ACTIVATION, Error, Minted};
use crate::signer::Signer;

use super::{Broken, Chain, Verdict};

/// How long the token that was issued for the check may take to be revoked.
const REVOCATION: Duration = Duration::from_secs(10);

/// A token is issued as the operator would, looked at, and revoked.
pub(super) async fn of_token(chain: &mut Chain, app: &App<Signer>, intent: &Intent) -> Result<(), Broken> {
    let installation = app
        .facts
        .installation_of(intent)
        .ok_or_else(|| app.facts.no_installation(intent));
    let installation = chain.need("installation", installation)?;
    chain.good("installation", format!("{installation}"));
    let turn = app.client.mint_turn().await;
    let minted = app.client.mint(installation, &(&intent.scope).into(), turn).await;
    let minted = minted.map_err(|error| Problem::new(error.reason(), error.retry(), error.to_string()));
    let minted = chain.need("permissions", minted)?;
    granted(chain, &minted);
    let verdict = accepted(chain, app, &minted.token).await;
    rights(chain, &minted.permissions);
    let turn = app.client.revocation_turn().await;
    if let Err(error) = app.client.revoke(&minted.token, REVOCATION, turn).await {
        let message = format!("the token of this check could not be revoked and expires within the hour: {error}");
        chain.say("revocation", Verdict::Doubtful, message);
    }
    verdict
}

fn granted(chain: &mut Chain, minted: &Minted) {
    let all: Vec<_> = minted
        .permissions
        .iter()
        .map(|(name, level)| format!("{name}: {level}"))
        .collect();
    chain.good("permissions", format!("GitHub grants {}", all.join(", ")));
    if minted.repositories.is_empty() {
        chain.good("repositories", "all of the installation's");
    } else {
        chain.good("repositories", minted.repositories.join(", "));
    }
}

async fn accepted(chain: &mut Chain, app: &App<Signer>, token: &SecretString) -> Result<(), Broken> {
    match activated(app, token).await {
        Ok(()) => {
            let message = "GitHub takes the token. Where a client says \"Authentication failed\", it reads another Secret, has read an older token, or sends another username than x-access-token";
            chain.good("authentication", message);
            Ok(())
        }
        Err(error @ Error::TokenNotActive { status: 403, .. }) => {
            let message = format!(
                "the token may not list its repositories, as one that has permissions of an organization alone: {error}"
            );
            chain.say("authentication", Verdict::Doubtful, message);
            Ok(())
        }
        Err(error) => {
            chain.say(
                "authentication",
                Verdict::Bad,
                format!("GitHub does not take its own token: {error}"),
            );
            Err(Broken)
        }
    }
}

/// Whether GitHub takes its new token, which it is given some seconds for.
async fn activated(app: &App<Signer>, token: &SecretString) -> Result<(), Error> {
    let mut pauses = ACTIVATION.into_iter().take(2);
    loop {
        let result = app.client.verify(token).await;
        match (&result, pauses.next()) {
            (Err(Error::TokenNotActive { .. }), Some(pause)) => tokio::time::sleep(pause).await,
            _ => return result,
        }
    }
}

/// What people want to do with a token, and what each takes.
fn rights(chain: &mut Chain, granted: &BTreeMap<String, String>) {
    let may = |name: &str, levels: &[&str]| granted.get(name).is_some_and(|level| levels.contains(&level.as_str()));
    let mut say = |name: &'static str, can: bool, yes: &str, no: &str| {
        let verdict = if can { Verdict::Good } else { Verdict::Doubtful };
        chain.say(name, verdict, if can { yes } else { no });
    };
    let (read, write) = (may("contents", &["read", "write"]), may("contents", &["write"]));
    say(
        "can read",
        read,
        "clone and fetch work",
        "clone and fetch of private repositories do not work: add contents: read to spec.permissions, and to the App where it lacks it",
    );
    say(
        "can push",
        write,
        "push works, unless a branch is protected: then let the App bypass the rule. \"Cannot push to branch\" below .github/workflows takes workflows: write as well",
        "\"Cannot push to branch\": add contents: write to spec.permissions, and to the App where it lacks it",
    );
    say(
        "can open a pull request",
        read && may("pull_requests", &["write"]),
        "pull requests can be opened",
        "\"Cannot create PR\": add pull_requests: write and contents: read (write, to push the branch) to spec.permissions, and to the App where it lacks them",
    );
}
