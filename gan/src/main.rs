//! The `faster-projected-gan` program.

use std::process::ExitCode;

use faster_projected_gan::bench::Meter;
use growthpath_kernels::memory::Keeping;
use mimalloc::MiMalloc;

/// Keeps large blocks between steps, and counts them: `bench` reads peak memory here.
#[global_allocator]
static ALLOCATOR: Keeping<MiMalloc> = Keeping::new(MiMalloc);

fn main() -> ExitCode {
    faster_projected_gan::cli::main(Meter { mark: || ALLOCATOR.mark(), most: || ALLOCATOR.most() })
}
