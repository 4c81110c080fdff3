//! Finds or builds the programs that the lab runs, and prints where each is, one a line: those of a cluster, and with the argument
//! `keys` those of the key services as well.

use std::{env::args, path::PathBuf, process::ExitCode};

use lab::{error::Error, keys::Ministack, tools::Tool};

fn main() -> ExitCode {
    let cluster = Tool::CLUSTER.into_iter().map(Tool::find);
    let keys = [|| Tool::Vault.find(), Ministack::install];
    let keys = keys
        .into_iter()
        .filter(|_| args().any(|arg| arg == "keys"))
        .map(|find| find());
    for found in cluster.chain(keys) {
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
