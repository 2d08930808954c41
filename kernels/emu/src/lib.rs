//! Runs the project's CUDA kernels on the host, thread by thread, without a GPU.
//!
//! The unmodified `.cu` files are compiled by the host's C++ compiler. The threads of a block are fibers that switch
//! only at barriers and warp collectives, in a chosen [`Schedule`]; a launch that a GPU would hang on or leave
//! undefined (a barrier that not every thread reaches, a warp collective with lanes missing) is refused with an
//! [`Error`]. Shared memory starts as NaN, and each shared variable is an allocation of its own, so the `sanitize`
//! feature sees every access past an end. What it cannot show: races between blocks, the memory model, speed.

mod bf16;
mod launch;

pub use bf16::Bf16;
pub use launch::{Arg, Error, Launch, Schedule, argument_sizes, kernels};
