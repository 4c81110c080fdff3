//! `gtm`: arguments -> command.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

// The system's allocator keeps what thousands of short jobs have left in holes between what lives long.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// One arena, no hoards of threads, and what is free goes back after a moment, also when nothing happens any more: this is a
/// program of many small jobs on one or two cores (<https://jemalloc.net/jemalloc.3.html#tuning>).
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8; 82] =
    b"narenas:1,tcache:false,dirty_decay_ms:500,muzzy_decay_ms:0,background_thread:true\0";

fn main() -> ExitCode {
    github_token_manager::cli::main(std::env::args_os())
}
