//! What the operator costs, on a real API server, with the GitHub stand-in: `cargo bench --bench operator -- --help`.
//!
//! Nothing here passes or fails: times depend on the machine, so what counts are the ratios of one run, and counts.

mod floor;
mod keys;
mod limits;
mod memory;
mod rate;
mod report;
mod restart;
mod upheaval;
mod world;
mod writes;

use std::path::PathBuf;
use std::process::ExitCode;

use report::Report;

const HELP: &str = "\
cargo bench --bench operator -- [SCENARIO...] [--json] [--scale PERCENT] [--gtm PROGRAM]

  writes    API requests for one issue and one refresh, from the audit log
  rate      tokens issued a second with GitHub at 100 ms and no limit, against a bare loop of the same two writes
  restart   a restart with 5,000 healthy Tokens
  upheaval  failover, API server restart, relabelling, status edits: no mints
  limits    github.com's limits with more Tokens due than it lets through (7 minutes)
  keys      from start to the first token with each provider, and signatures for 1,000 tokens
  memory    resident memory with 0 and 10,000 Tokens, and 3,000 unrelated Secrets of 20 kB

Without a SCENARIO: all of them. --scale 10 runs with a tenth of the objects. --gtm measures another program.";

/// What any step may fail with: it ends the run.
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What was asked for.
pub struct Options {
    scenarios: Vec<String>,
    json: bool,
    scale: usize,
    /// The operator's program.
    pub gtm: PathBuf,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Options {
            scenarios: Vec::new(),
            json: false,
            scale: 100,
            gtm: env!("CARGO_BIN_EXE_gtm").into(),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n\n{HELP}"));
            match word.as_str() {
                // What `cargo bench` itself says to every benchmark.
                "--bench" => {}
                "--json" => options.json = true,
                "--scale" => {
                    options.scale = value()?
                        .parse()
                        .map_err(|_| format!("--scale: not a number\n\n{HELP}"))?
                }
                "--gtm" => options.gtm = value()?.into(),
                name if ALL.contains(&name) => options.scenarios.push(word),
                _ => return Err(HELP.to_owned()),
            }
        }
        if options.scenarios.is_empty() {
            options.scenarios = ALL.map(str::to_owned).to_vec();
        }
        Ok(options)
    }

    /// So many objects, by `--scale`.
    pub fn scaled(&self, count: usize) -> usize {
        (count * self.scale / 100).max(1)
    }
}

const ALL: [&str; 7] = ["writes", "rate", "restart", "upheaval", "limits", "keys", "memory"];

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    match runtime
        .map_err(Failed::from)
        .and_then(|runtime| runtime.block_on(run(&options)))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), Failed> {
    let mut report = Report::new(options.json);
    for scenario in &options.scenarios {
        eprintln!("{scenario} ...");
        report.begin(scenario);
        match scenario.as_str() {
            "writes" => writes::run(options, &mut report).await?,
            "rate" => rate::run(options, &mut report).await?,
            "restart" => restart::run(options, &mut report).await?,
            "upheaval" => upheaval::run(options, &mut report).await?,
            "limits" => limits::run(options, &mut report).await?,
            "keys" => keys::run(options, &mut report).await?,
            _ => memory::run(options, &mut report).await?,
        }
        report.end();
    }
    report.print();
    Ok(())
}
