//! `gtm`: arguments -> command.

use std::process::ExitCode;

github_token_manager::allocator::set!();

fn main() -> ExitCode {
    github_token_manager::cli::main(std::env::args_os())
}
