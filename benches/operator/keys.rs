//! What a key in a key service costs: the time from start to the first token, memory, signatures.

use github_token_manager::signer::Provider;
use lab::keys::{Azure, Env, Gcp, Ministack, Vault};
use tokio::time::Instant;

use crate::report::Report;
use crate::world::{World, cluster, mib};
use crate::{Failed, Options};

const TOKENS: usize = 1000;

pub async fn run(options: &Options, report: &mut Report) -> Result<(), Failed> {
    let world = World::new(options, cluster()?).await?;
    let key = world.github.key().ok_or("the App has no key")?;
    // The first operator of a run reads its program from the disk.
    measure(&world, &mut Report::new(false), "none", &Vec::new()).await?;
    measure(&world, report, "file", &Vec::new()).await?;

    let aws = Ministack::start().await?;
    let name = aws.import(&key).await?;
    with_key(&world, report, Provider::Aws, &name, aws.env()).await?;

    let azure = Azure::start().await?;
    azure.set("0001", &key);
    with_key(&world, report, Provider::Azure, Azure::KEY, azure.env()).await?;

    let gcp = Gcp::start().await?;
    gcp.set(1, "ENABLED", "RSA_SIGN_PKCS1_2048_SHA256", &key);
    with_key(&world, report, Provider::Gcp, Gcp::KEY, gcp.env()).await?;

    let vault = Vault::start().await?;
    vault.import("github", &key).await?;
    let before = vault.front.count("sign/github");
    let count = options.scaled(TOKENS);
    let env = with_name(Provider::Vault, "github", vault.env());
    measure(&world, report, "vault", &env).await?;
    let operator = start(&world, &env)?.start().await?;
    let (minted, start) = (world.github.mint_count(), Instant::now());
    world.create_tokens("many", count).await?;
    world.minted(minted + count).await?;
    world.all_ready().await?;
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    drop(operator);
    let signatures = vault.front.count("sign/github") - before;
    // One for each operator that ran, and one for each four minutes.
    report.at_most(
        format!("signatures for {count} tokens"),
        signatures as f64,
        "",
        2.0 + (minutes / 4.0).ceil(),
    );
    Ok(())
}

async fn with_key(world: &World, report: &mut Report, provider: Provider, key: &str, env: Env) -> Result<(), Failed> {
    measure(world, report, provider.as_str(), &with_name(provider, key, env)).await
}

fn with_name(provider: Provider, key: &str, mut env: Env) -> Env {
    env.extend(
        [("GTM_PROVIDER", provider.as_str()), ("GTM_KEY", key)].map(|(name, value)| (name.into(), value.into())),
    );
    env
}

fn start(world: &World, env: &Env) -> Result<lab::gtm::Builder, Failed> {
    let operator = world.operator("rate_limit: off")?;
    Ok(env
        .iter()
        .fold(operator, |operator, (name, value)| operator.env(name, value)))
}

/// A Token waits for an operator that is started.
async fn measure(world: &World, report: &mut Report, provider: &str, env: &Env) -> Result<(), Failed> {
    world.create_tokens(provider, 1).await?;
    let (minted, begun) = (world.github.mint_count(), Instant::now());
    let operator = start(world, env)?.spawn()?;
    world.minted(minted + 1).await?;
    report.tell(
        format!("{provider}: from start to the first token"),
        begun.elapsed().as_secs_f64() * 1000.0,
        "ms",
    );
    world.all_ready().await?;
    report.tell("  resident then", mib(operator.usage()?.resident), "MiB");
    Ok(())
}
