//! Finds or builds the programs that the lab runs, and prints where each is, one a line: those of a cluster; with the argument `keys`
//! those of the key services as well, with `guides` those that the guides are tested with, with `node` those of a node and its images,
//! with `cert-manager` cert-manager and Helm.

use std::{env::args, path::PathBuf, process::ExitCode};

use lab::{error::Error, keys::Ministack, node::image, tools::Tool};

type Find = fn() -> Result<PathBuf, Error>;

fn main() -> ExitCode {
    let asked = |what: &str| args().any(|arg| arg == what);
    let mut tools = Tool::CLUSTER.to_vec();
    let mut others: Vec<Find> = Vec::new();
    if asked("keys") {
        others.extend([(|| Tool::Vault.find()) as Find, Ministack::install]);
    }
    if asked("guides") {
        tools.extend(Tool::GUIDES);
    }
    if asked("cert-manager") {
        tools.extend(Tool::CERT_MANAGER);
    }
    if asked("node") {
        tools.extend(Tool::NODE);
        others.extend([image::pause as Find, image::git]);
    }
    let others = others.into_iter().map(|find| find());
    for found in tools.into_iter().map(Tool::find).chain(others) {
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
