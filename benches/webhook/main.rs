//! What a review costs, beside an empty handler of the same stack: `cargo bench --bench webhook`.
//!
//! Nothing here passes or fails: times depend on the machine, so what counts are the ratios of one run.

mod cluster;
mod load;
mod peer;
#[path = "../operator/report.rs"]
mod report;
mod server;

use std::process::ExitCode;
use std::time::Duration;

use load::Load;
use peer::Peer;
use report::Report;
use server::{Handler, Server};

// The handlers are measured as the program would run them.
github_token_manager::allocator::set!();

const HELP: &str = "\
cargo bench --bench webhook -- [SCENARIO...] [--json]

  review    rate and latency of an inject review of a pod of 4 containers, against an empty TLS handler and HashiCorp's vault-k8s,
            at 1, 16, 128 connections
  minute    a minute of reviews at 128 connections: errors, and memory at the end against that after five seconds
  cluster   500 pods through a real API server: plain ones with and without the webhook registered, and those that asked

Without a SCENARIO: all of them.";

/// What any step may fail with: it ends the run.
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// How long each measurement takes, and how often it is taken: the handlers take turns, so that what else happens hits both.
const TURN: Duration = Duration::from_secs(1);
const TURNS: usize = 9;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let Ok(runtime) = runtime else { return ExitCode::FAILURE };
    let done = match words.as_slice() {
        ["serve", handler] => runtime.block_on(server::run(handler)),
        _ if words.contains(&"--help") => {
            println!("{HELP}");
            Ok(())
        }
        words => runtime.block_on(measure(words)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(words: &[&str]) -> Result<(), Failed> {
    let mut report = Report::new(words.contains(&"--json"));
    let named: Vec<&str> = words.iter().copied().filter(|word| !word.starts_with("--")).collect();
    for scenario in ["review", "minute", "cluster"] {
        if named.is_empty() || named.contains(&scenario) {
            report.begin(scenario);
            match scenario {
                "review" => review(&mut report).await?,
                "minute" => minute(&mut report).await?,
                _ => cluster::pods(&mut report).await?,
            }
            report.end();
        }
    }
    report.print();
    Ok(())
}

async fn review(report: &mut Report) -> Result<(), Failed> {
    let (inject, empty) = (
        Server::start(Handler::Inject).await?,
        Server::start(Handler::Empty).await?,
    );
    let peer = Peer::start().await?;
    for connections in [1, 16, 128] {
        let mut loads = [Load::default(), Load::default(), Load::default()];
        for _ in 0..TURNS {
            for (load, target) in loads.iter_mut().zip([&inject.target, &empty.target, &peer.target]) {
                load.add(load::run(target, connections, TURN).await?);
            }
        }
        compare(report, connections, &loads);
    }
    let mib = |bytes: f64| bytes / 1_048_576.0;
    report.tell("resident memory", mib(inject.resident()?), "MiB");
    report.tell("resident memory of vault-k8s", mib(peer.resident()?), "MiB");
    Ok(())
}

fn compare(report: &mut Report, connections: usize, [ours, floor, peer]: &[Load; 3]) {
    let what = |what: &str| format!("{connections} connections: {what}");
    report.tell(what("reviews a second"), ours.rate(), "/s");
    let (rate, tail) = (ours.rate() / floor.rate(), ours.quantile(0.99) / floor.quantile(0.99));
    report.at_least(what("rate of the empty handler's"), rate, "", 0.5);
    report.tell(what("p50"), ours.quantile(0.5), "ms");
    report.tell(what("p99"), ours.quantile(0.99), "ms");
    report.at_most(what("p99 of the empty handler's"), tail, "", 2.0);
    report.tell(what("vault-k8s: reviews a second"), peer.rate(), "/s");
    report.at_least(what("rate of vault-k8s's"), ours.rate() / peer.rate(), "", 1.0);
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        report.tell(what(&format!("vault-k8s: {name}")), peer.quantile(share), "ms");
        let of = ours.quantile(share) / peer.quantile(share);
        report.at_most(what(&format!("{name} of vault-k8s's")), of, "", 1.0);
    }
}

async fn minute(report: &mut Report) -> Result<(), Failed> {
    let server = Server::start(Handler::Inject).await?;
    load::run(&server.target, 128, Duration::from_secs(5)).await?;
    let early = server.resident()?;
    let load = load::run(&server.target, 128, Duration::from_secs(55)).await?;
    let late = server.resident()?;
    report.tell("resident memory after five seconds", early / 1_048_576.0, "MiB");
    report.at_most("resident memory after a minute, of that", late / early, "", 1.1);
    report.at_most("errors", load.errors as f64, "", 0.0);
    Ok(())
}
