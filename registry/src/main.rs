//! `berth-registry`: the registry server and its tools.

use std::process::ExitCode;

/// The allocator of musl, which the image is linked with, is slow when threads share memory.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    berth_registry::command::main()
}
