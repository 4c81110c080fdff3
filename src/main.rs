//! `gtm`: arguments -> command.

use std::process::ExitCode;

fn main() -> ExitCode {
    github_token_manager::cli::main(std::env::args_os())
}
