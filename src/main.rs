//! The `growthpath` program.

use std::process::ExitCode;

use growthpath_kernels::memory::Keeping;
use mimalloc::MiMalloc;

/// Large activations are allocated and freed every step; the system allocator gives them back to the
/// kernel each time, which costs a third of a step, and mimalloc does every second.
#[global_allocator]
static ALLOCATOR: Keeping<MiMalloc> = Keeping::new(MiMalloc);

fn main() -> ExitCode {
    growthpath::cli::main()
}
