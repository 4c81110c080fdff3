//! Finds or builds every program that the lab runs, and prints where each is, one a line.

use std::process::ExitCode;

use lab::tools::Tool;

fn main() -> ExitCode {
    for tool in Tool::ALL {
        match tool.find() {
            Ok(path) => println!("{}", path.display()),
            Err(error) => {
                eprintln!("lab-tools: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
