//! The `growthpath` program.

use std::process::ExitCode;

/// Large activations are allocated and freed every step; the system allocator gives them back to the
/// kernel each time, which costs a third of a step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    growthpath::cli::main()
}
