//! The `growthpath` program.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A training step works in memory reserved once; what probes and analyses allocate goes through pages that mimalloc keeps.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    growthpath::cli::main()
}
