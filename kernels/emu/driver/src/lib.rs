//! NVIDIA's driver, cuBLAS and NVRTC, as far as growthpath calls them, with the host as the device.
//!
//! Put the library's folder on `LD_LIBRARY_PATH` and a program built with the `cuda` feature trains on the emulator,
//! through the same calls that it makes on a GPU. Work is queued and done only when something waits for it, so a host
//! that reads a result too early, or reuses the source of a copy too early, gets wrong numbers here too. New memory
//! holds NaN. Copies and products outside an allocation are refused; kernels are checked by the `sanitize` feature,
//! for which every allocation is a heap block of its own. `GROWTHPATH_EMU_SCHEDULE` (forward, reverse, or a number that
//! seeds a permutation) sets the order of a block's threads. A failure is explained on standard error.
#![allow(non_snake_case, clippy::missing_safety_doc)]

mod blas;
mod driver;
mod memory;
mod nvrtc;
mod queue;

/// CUDA's status codes, those that are given out.
pub(crate) mod status {
    use std::ffi::c_int;

    pub(crate) const SUCCESS: c_int = 0;
    pub(crate) const INVALID_VALUE: c_int = 1;
    pub(crate) const OUT_OF_MEMORY: c_int = 2;
    pub(crate) const INVALID_DEVICE: c_int = 101;
    pub(crate) const INVALID_CONTEXT: c_int = 201;
    pub(crate) const NOT_FOUND: c_int = 500;
    pub(crate) const LAUNCH_FAILED: c_int = 719;
}
