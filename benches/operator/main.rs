//! What the operator costs and how fast it is, on a real API server and the GitHub stand-in, beside what it is compared with.
//!
//! `cargo bench --bench operator -- [--json] [--gtm PROGRAM] [--scale N] [SCENARIO]...`; all scenarios take about ten minutes on two
//! cores. Times depend on the machine and on what else it does; the ratios are taken within one run. See [`report::Row`].

mod limits;
mod load;
mod memory;
mod rate;
mod report;
mod restart;
mod world;
mod writes;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use report::Report;
use world::Setting;

/// What went wrong, for people.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Requests for one issue, from the audit log
    Writes,
    /// Tokens issued a second, beside a bare loop that makes the same writes
    Rate,
    /// A restart with thousands of healthy Tokens
    Restart,
    /// Relabelling, a restarted API server, another leader: nothing is issued
    Calm,
    /// Memory with thousands of Tokens and large unrelated Secrets
    Memory,
    /// The share of github.com's limits that is used
    Limits,
}

/// Measures the operator; exit code 1 if a target is missed.
#[derive(Parser)]
struct Arguments {
    /// What to measure; default: everything
    scenarios: Vec<Scenario>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// The operator to measure; default: the one of this build
    #[arg(long, default_value = env!("CARGO_BIN_EXE_gtm"))]
    gtm: PathBuf,
    /// Per cent of the usual number of objects; the targets are meant for 100
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    scale: u32,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let setting = Setting {
        gtm: arguments.gtm,
        scale: arguments.scale,
    };
    let mut report = Report::default();
    let mut failed = false;
    for scenario in Scenario::value_variants() {
        if !arguments.scenarios.is_empty() && !arguments.scenarios.contains(scenario) {
            continue;
        }
        eprintln!("{scenario:?} ...");
        let measured = match scenario {
            Scenario::Writes => writes::measure(&setting, &mut report).await,
            Scenario::Rate => rate::measure(&setting, &mut report).await,
            Scenario::Restart => restart::measure(&setting, &mut report).await,
            Scenario::Calm => restart::stay_calm(&setting, &mut report).await,
            Scenario::Memory => memory::measure(&setting, &mut report).await,
            Scenario::Limits => limits::measure(&setting, &mut report).await,
        };
        if let Err(error) = measured {
            eprintln!("{scenario:?} could not be measured: {error}");
            failed = true;
        }
    }
    println!("{}", if arguments.json { report.json() } else { report.table() });
    if failed || report.missed() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
