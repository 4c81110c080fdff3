//! `gtm`: arguments -> command.

use std::process::ExitCode;

github_token_manager::set_allocator!();

fn main() -> ExitCode {
    github_token_manager::cli::main(std::env::args_os())
}
