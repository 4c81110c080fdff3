//! Finds or builds the programs that the lab runs, and prints where each is, one a line: those of a cluster; with the argument `keys`
//! those of the key services as well, with `guides` those that the guides are tested with.

use std::{env::args, path::PathBuf, process::ExitCode};

use lab::{error::Error, keys::Ministack, tools::Tool};

fn main() -> ExitCode {
    let cluster = Tool::CLUSTER.into_iter().map(Tool::find);
    let keys = [|| Tool::Vault.find(), Ministack::install];
    let asked = |name: &str| args().any(|arg| arg == name);
    let keys = keys.into_iter().filter(|_| asked("keys")).map(|find| find());
    let guides = Tool::GUIDES.into_iter().filter(|_| asked("guides")).map(Tool::find);
    for found in cluster.chain(keys).chain(guides) {
        let found: Result<PathBuf, Error> = found;
        match found {
            Ok(path) => println!("{}", path.display()),
            Err(error) => {
                eprintln!("lab-tools: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
