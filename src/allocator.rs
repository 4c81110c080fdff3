//! The allocator of the program, and of benchmarks that stand for it.

/// What jemalloc is told: one arena, small hoards of threads (the webhook answers twice as many reviews with them), and what is free
/// goes back after a moment, also when nothing happens any more. This is a program of many small jobs on one or two cores
/// (<https://jemalloc.net/jemalloc.3.html#tuning>).
pub const OPTIONS: &Options = b"narenas:1,tcache_max:8192,dirty_decay_ms:500,muzzy_decay_ms:0,background_thread:true\0";

/// The text of [`OPTIONS`], which C reads up to the zero.
pub type Options = [u8; 85];

/// Sets a program's allocator, which no library can: the system's keeps what thousands of short jobs have left in holes between
/// what lives long.
#[macro_export]
macro_rules! set_allocator {
    () => {
        #[global_allocator]
        static ALLOCATOR: ::tikv_jemallocator::Jemalloc = ::tikv_jemallocator::Jemalloc;

        #[doc = "jemalloc's `malloc_conf`."]
        #[unsafe(export_name = "_rjem_malloc_conf")]
        pub static ALLOCATOR_OPTIONS: &$crate::allocator::Options = $crate::allocator::OPTIONS;
    };
}

pub use set_allocator as set;
