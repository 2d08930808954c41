//! The `growthpath` program.

use std::process::ExitCode;

use growthpath_kernels::memory::Keeping;
use mimalloc::MiMalloc;

/// A probe allocates and frees large matrices, a training step works in memory reserved once: without the shelf a step at micro
/// takes as long, a probe an eighth longer.
#[global_allocator]
static ALLOCATOR: Keeping<MiMalloc> = Keeping::new(MiMalloc);

fn main() -> ExitCode {
    growthpath::cli::main()
}
