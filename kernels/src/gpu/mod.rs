//! A CUDA device: memory, launches of this crate's kernels, matrix products, statistics on their way to the host.
//!
//! The driver, cuBLAS and (where the build embedded no PTX) NVRTC are opened when a device is asked for, so a program
//! with the `cuda` feature starts anywhere and needs no CUDA toolkit to build. Everything runs on one stream. Device
//! memory is reached through [`Slice`]s that know their length and element type: an operation checks both before it
//! launches, so that safe code cannot make a kernel leave its buffers.
//!
//! Launchers stand beside the CPU twins, in each operation's `gpu` module.

mod beside;
mod blas;
mod blas64;
mod branch;
mod device;
mod graph;
mod graphs;
mod launch;
mod memory;
mod module;
mod profile;
mod profiling;
mod rates;
mod readback;
pub mod reduce;
mod stopwatch;

pub use blas::Matrix;
pub use blas64::Panel;
pub use device::Gpu;
pub use graph::{Graph, Recording};
pub(crate) use launch::{Arg, Grid};
pub use memory::{Buffer, Elem, Slice};
pub use profile::{KernelUse, Submitted};
pub use readback::{Readback, Staging};
pub use stopwatch::Stopwatch;

use crate::error::{Error, Result};

/// What a failed driver call becomes.
pub(crate) fn failed(what: impl Into<String>, error: impl std::fmt::Display) -> Error {
    Error::Gpu { what: what.into(), message: error.to_string() }
}

/// A number as the 32-bit integer that kernels take.
pub(crate) fn int(op: &'static str, n: usize) -> Result<i32> {
    i32::try_from(n).map_err(|_| Error::Unsupported {
        op,
        message: format!("a size of {n} does not fit the kernels' 32-bit integers: use a smaller batch"),
    })
}
